//! [`load`]: the text of a policy becomes one that regorus is known to judge as OPA does, or is
//! refused by line and name.
//!
//! regorus parses the text; what it parsed is read here against a list of forms and builtins, each
//! proven by a test, and written anew while it is read. So what regorus evaluates is what was
//! proven, never the text itself.
//!
//! - `bounds`: what may be given to the parser at all;
//! - `rules`: packages, imports, heads and bodies of rules;
//! - `query`: statements, and which variable is known where;
//! - `value`: expressions;
//! - `graph`: no recursion, and how deep an evaluation goes.
//!
//! In Rego `not` turns what is undefined into true. So whatever regorus leaves undefined where OPA
//! does not is an allow that nobody wrote: a form is let in by proof only.

mod bounds;
mod graph;
mod query;
mod rules;
#[cfg(test)]
mod tests;
mod value;

use std::{fmt, num::NonZeroU32};

use regorus::unstable::{Parser, Source, Span};

#[cfg(test)]
pub(super) use graph::MAX_STACK;

/// The name of the only module, as in v1's messages.
pub(super) const FILE: &str = "policy.rego";
/// What the names begin with that are made here.
const OURS: &str = "ratify__";

/// A policy that may be evaluated.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What regorus is given.
    pub(super) text: String,
    /// The package, in dots.
    pub(super) package: String,
    /// The names of the rules that are no functions.
    pub(super) rules: Vec<String>,
}

/// Why a policy is not taken. `Display` has the form of OPA's errors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    line: u32,
    code: &'static str,
    what: String,
}

/// The text is no Rego, or not what regorus reads as such.
const UNREADABLE: &str = "rego_parse_error";
/// It is Rego, but not proven to be judged here as OPA judges it.
const UNPROVEN: &str = "rego_unproven_error";
/// OPA refuses it too.
const UNSAFE: &str = "rego_unsafe_var_error";
const TYPE: &str = "rego_type_error";
const RECURSION: &str = "rego_recursion_error";

impl Refused {
    fn new(line: u32, code: &'static str, what: impl Into<String>) -> Self {
        Self { line, code, what: crate::capped_line(&what.into(), 300) }
    }

    fn unproven(at: &Span, what: impl Into<String>) -> Self {
        Self::new(at.line, UNPROVEN, what)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, what } = self;
        write!(formatter, "1 error occurred: {FILE}:{line}: {code}: {what}")
    }
}

impl std::error::Error for Refused {}

type Result<T, E = Refused> = std::result::Result<T, E>;

/// Reads a policy.
///
/// # Errors
/// When it is no Rego, or has anything in it that is not proven.
pub(super) fn load(policy: &str) -> Result<Loaded> {
    bounds::check(policy)?;
    let unreadable = |error: &dyn fmt::Display| unreadable(&error.to_string());
    let source = Source::from_contents(FILE.to_owned(), policy.to_owned());
    let source = source.map_err(|error| unreadable(&error))?;
    let mut parser = Parser::new(&source).map_err(|error| unreadable(&error))?;
    parser.set_max_col(NonZeroU32::MAX);
    let module = parser.parse().map_err(|error| unreadable(&error))?;
    rules::translate(&module)
}

/// regorus says where as `--> policy.rego:3:5` on a line of its own, and what as `error: …`.
fn unreadable(message: &str) -> Refused {
    let marker = format!("{FILE}:");
    let line = message.split(&marker).nth(1).and_then(|rest| rest.split(':').next());
    let line = line.and_then(|line| line.trim().parse().ok()).unwrap_or(1);
    let what = message.lines().find_map(|line| line.trim().strip_prefix("error: "));
    Refused::new(line, UNREADABLE, what.unwrap_or("it is no Rego, or nested too deep"))
}
