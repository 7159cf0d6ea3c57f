//! The builtins that a policy may call: each proven to answer as OPA's does, or to fail.
//!
//! Where regorus' own answers as OPA's and its cost is bounded by its arguments, it is used. The
//! others are written here: those that make something larger than what they are given, those whose
//! cost is a product, those with a clock, and those that differ from OPA's. All are counted against
//! one budget an evaluation.
//!
//! A builtin that cannot answer fails the evaluation, and so denies. In OPA it is undefined, which
//! `not` makes true.

mod collections;
mod numbers;
mod order;
mod texts;
mod time;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use regorus::{
    Engine, Value,
    unstable::{BUILTINS, Expr, Ref, Source, Span},
};

/// `a - b`, which is arithmetic or a set.
pub(super) const MINUS: &str = "ratify__minus";
pub(super) const PLUS: &str = "ratify__plus";
pub(super) const TIMES: &str = "ratify__times";
pub(super) const DIVIDED: &str = "ratify__divided";
pub(super) const REMAINDER: &str = "ratify__remainder";
/// `a | b`.
pub(super) const UNION: &str = "ratify__union";
/// `a & b`.
pub(super) const INTERSECTION: &str = "ratify__intersection";

/// `a < b`.
pub(super) const LESS: &str = "ratify__less";
/// `a <= b`.
pub(super) const AT_MOST: &str = "ratify__at_most";

/// A collection that the policy makes, as it is: it is only counted.
pub(super) const COUNTED: &str = "ratify__counted";

/// How many bytes all builtins together may make in one evaluation.
const MAX_MADE: u64 = 64 << 20;
/// How many values may be in the collections that one evaluation makes, each counted wherever it
/// is: to compare two of them takes a step for each.
const MAX_VALUES: u64 = 16 << 20;
/// The longest text that regorus' own builtins are given; the cost of some is a product.
const MAX_TEXT: usize = 64 << 10;
/// What an element of a collection takes.
const ELEMENT_BYTES: u64 = 64;

/// What one evaluation has.
pub(super) struct Means {
    /// The time of the evaluation, in nanoseconds since 1970.
    now: i64,
    left: AtomicU64,
    values_left: AtomicU64,
}

impl Means {
    pub(super) fn new(now: i64) -> Self {
        Self { now, left: AtomicU64::new(MAX_MADE), values_left: AtomicU64::new(MAX_VALUES) }
    }

    /// Takes so many bytes of the budget, before they are made.
    fn take(&self, bytes: u64) -> Answer<()> {
        let left = self.left.load(Ordering::Relaxed);
        let after = left.checked_sub(bytes).ok_or_else(|| {
            format!("the policy makes more than {MAX_MADE} bytes of texts and collections")
        })?;
        self.left.store(after, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a collection that was made, with all that is in it.
    fn count(&self, made: &Value) -> Answer<()> {
        let mut left = self.values_left.load(Ordering::Relaxed);
        let mut open = vec![made];
        while let Some(value) = open.pop() {
            left = left.checked_sub(1).ok_or_else(|| {
                format!("the policy makes collections of more than {MAX_VALUES} values")
            })?;
            match value {
                Value::Array(array) => open.extend(array.iter()),
                Value::Set(set) => open.extend(set.iter()),
                Value::Object(object) => {
                    object.iter().for_each(|(key, value)| open.extend([key, value]));
                }
                _ => {}
            }
        }
        self.values_left.store(left, Ordering::Relaxed);
        Ok(())
    }

    fn take_elements(&self, count: usize) -> Answer<()> {
        self.take(u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(ELEMENT_BYTES))
    }

    fn take_text(&self, bytes: usize) -> Answer<()> {
        self.take(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(ELEMENT_BYTES))
    }
}

type Answer<T> = Result<T, String>;
type Ours = fn(&[Value], &Means) -> Answer<Value>;

#[derive(Clone, Copy)]
enum By {
    /// Written here.
    Us(Ours),
    /// regorus' own.
    Regorus,
}

use By::{Regorus, Us};

/// Name, number of arguments, and whose it is.
const TABLE: &[(&str, u8, By)] = &[
    ("abs", 1, Us(numbers::abs)),
    ("all", 1, Us(collections::all)),
    ("any", 1, Us(collections::any)),
    ("array.concat", 2, Us(collections::array_concat)),
    ("array.reverse", 1, Regorus),
    ("array.slice", 3, Regorus),
    ("ceil", 1, Us(numbers::ceil)),
    ("concat", 2, Us(texts::concat)),
    ("contains", 2, Regorus),
    ("count", 1, Us(collections::count)),
    ("endswith", 2, Regorus),
    ("floor", 1, Us(numbers::floor)),
    ("indexof", 2, Us(texts::indexof)),
    ("intersection", 1, Regorus),
    ("is_array", 1, Regorus),
    ("is_boolean", 1, Regorus),
    ("is_null", 1, Regorus),
    ("is_number", 1, Regorus),
    ("is_object", 1, Regorus),
    ("is_set", 1, Regorus),
    ("is_string", 1, Regorus),
    ("lower", 1, Us(texts::lower)),
    ("max", 1, Us(order::max)),
    ("min", 1, Us(order::min)),
    ("object.filter", 2, Regorus),
    ("object.get", 3, Regorus),
    ("object.keys", 1, Regorus),
    ("object.remove", 2, Regorus),
    ("object.union", 2, Us(collections::object_union)),
    ("replace", 3, Us(texts::replace)),
    ("round", 1, Us(numbers::round)),
    ("sort", 1, Us(order::sort)),
    ("split", 2, Regorus),
    ("sprintf", 2, Us(texts::sprintf)),
    ("startswith", 2, Regorus),
    ("substring", 3, Regorus),
    ("sum", 1, Us(numbers::sum)),
    ("time.now_ns", 0, Us(time::now_ns)),
    ("time.parse_duration_ns", 1, Us(time::parse_duration_ns)),
    ("time.parse_rfc3339_ns", 1, Us(time::parse_rfc3339_ns)),
    ("to_number", 1, Us(numbers::to_number)),
    ("trim", 2, Us(texts::trim)),
    ("trim_left", 2, Us(texts::trim_left)),
    ("trim_prefix", 2, Regorus),
    ("trim_right", 2, Us(texts::trim_right)),
    ("trim_space", 1, Regorus),
    ("trim_suffix", 2, Regorus),
    ("type_name", 1, Regorus),
    ("union", 1, Regorus),
    ("upper", 1, Us(texts::upper)),
    ("walk", 1, Us(collections::walk)),
    (MINUS, 2, Us(collections::minus)),
    (PLUS, 2, Us(numbers::plus)),
    (TIMES, 2, Us(numbers::times)),
    (DIVIDED, 2, Us(numbers::divided)),
    (REMAINDER, 2, Us(numbers::remainder)),
    (COUNTED, 1, Us(collections::counted)),
    (LESS, 2, Us(order::less)),
    (AT_MOST, 2, Us(order::at_most)),
    (UNION, 2, Us(collections::union)),
    (INTERSECTION, 2, Us(collections::intersection)),
];

/// The first words of the names of all of OPA's builtins (its `capabilities.json`, 0.68).
const ROOTS: &str = "abs all and any array assign base64 base64url bits cast_array cast_boolean \
    cast_null cast_object cast_set cast_string ceil concat contains count crypto div endswith eq \
    equal floor format_int glob graph graphql gt gte hex http indexof indexof_n internal \
    intersection io is_array is_boolean is_null is_number is_object is_set is_string json lower lt \
    lte max min minus mul neq net numbers object opa or plus print product providers rand re_match \
    regex rego rem replace round semver set_diff sort split sprintf startswith strings substring \
    sum time to_number trace trim trim_left trim_prefix trim_right trim_space trim_suffix \
    type_name union units upper urlquery uuid walk yaml";

/// The number of arguments of a builtin; nothing where it is not on the list.
pub(super) fn arity(name: &str) -> Option<usize> {
    let (_, arity, _) = TABLE.iter().find(|(known, ..)| *known == name)?;
    Some(usize::from(*arity))
}

/// Whether a name is the first word of a builtin's.
pub(super) fn is_root(name: &str) -> bool {
    ROOTS.split_whitespace().any(|root| root == name)
}

/// Every name that a policy may call.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, ..)| *name)
}

/// What regorus' own builtins want beside their arguments: where in a policy they stand.
#[derive(Clone)]
pub(super) struct Site {
    span: Span,
    params: Arc<[Ref<Expr>]>,
}

impl Site {
    /// # Errors
    /// Never in fact: the source is one letter.
    pub(super) fn new() -> Result<Self, String> {
        let source = Source::from_contents("builtin".to_owned(), "x".to_owned());
        let source = source.map_err(|error| error.to_string())?;
        let span = Span { source, line: 1, col: 1, start: 0, end: 1 };
        let param = || {
            let span = span.clone();
            Ref::new(Expr::Null { span, value: Value::Null, eidx: 0 })
        };
        let params = std::iter::repeat_with(param).take(4).collect();
        Ok(Self { span, params })
    }
}

/// Lets one evaluation call them.
///
/// # Errors
/// Never in fact: no name is there twice.
pub(super) fn register(engine: &mut Engine, site: &Site, means: Means) -> Result<(), String> {
    let means = Arc::new(means);
    for &(name, arity, by) in TABLE {
        let (site, means) = (site.clone(), Arc::clone(&means));
        let call = move |arguments: Vec<Value>| {
            let answer = match by {
                Us(ours) => ours(&arguments, &means),
                Regorus => theirs(name, &arguments, &site, &means),
            };
            answer.map_err(|error| site.span.error(&format!("{name}: {error}")))
        };
        let added = engine.add_extension(name.to_owned(), arity, Box::new(call));
        added.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn theirs(name: &'static str, arguments: &[Value], site: &Site, means: &Means) -> Answer<Value> {
    for argument in arguments {
        if matches!(argument, Value::String(text) if text.len() > MAX_TEXT) {
            return Err(format!("a text of more than {MAX_TEXT} bytes"));
        }
    }
    let (call, _) = BUILTINS.get(name).ok_or("regorus does not have it")?;
    let params = site.params.get(..arguments.len()).ok_or("too many arguments")?;
    let answer = call(&site.span, params, arguments, true);
    let answer = answer.map_err(|error| plain(&error.to_string()))?;
    match &answer {
        Value::String(text) => means.take_text(text.len())?,
        Value::Array(made) => means.take_elements(made.len())?,
        Value::Set(made) => means.take_elements(made.len())?,
        Value::Object(made) => means.take_elements(made.len())?,
        _ => {}
    }
    Ok(answer)
}

/// regorus shows the place in the policy, over several lines; what is wrong stands in the last.
pub(super) fn plain(message: &str) -> String {
    let last = message.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    crate::capped_line(last.unwrap_or(message), 300)
}

fn text<'a>(value: &'a Value, what: &str) -> Answer<&'a str> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("{what} is no string")),
    }
}
