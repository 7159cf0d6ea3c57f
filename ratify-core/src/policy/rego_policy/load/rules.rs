//! Packages, imports, and the heads and bodies of rules.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{
    AssignOp, Expr, Import, Module, Ref, Rule, RuleAssign, RuleBody, RuleHead, Span,
};

use super::{
    super::builtins, Loaded, OURS, Refused, Result, TYPE, UNPROVEN, graph, query::Scope,
    value::Place,
};

/// What a rule of a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    Complete,
    /// A set, of which each rule adds members.
    Set,
    /// A function of so many arguments.
    Function(usize),
}

/// Reads one module.
pub(super) struct Translator {
    pub(super) kinds: BTreeMap<String, Kind>,
    /// What the rule that is being read refers to.
    pub(super) uses: BTreeSet<String>,
    /// How many loops and nested queries are in it.
    pub(super) loops: usize,
    /// Variables that are named as a builtin, with their lines; and builtins that are called.
    named: BTreeMap<String, u32>,
    pub(super) called: BTreeSet<String>,
    /// Statements that must stand before the one that is being read.
    pub(super) before: Vec<String>,
    made: usize,
}

pub(super) fn translate(module: &Module) -> Result<Loaded> {
    if module.target.is_some() {
        return Err(Refused::new(1, UNPROVEN, "`__target__`"));
    }
    let package = path(&module.package.refr)?;
    for import in &module.imports {
        check_import(import)?;
    }
    let kinds = kinds(module)?;
    let mut translator = Translator::new(kinds);
    let mut text =
        format!("package {package} import future.keywords.in import future.keywords.every ");
    let mut graph = graph::Graph::default();
    for rule in &module.policy {
        // As many line ends as in the original, so that a fault names its line.
        let line = usize::try_from(rule.span().line).unwrap_or(usize::MAX);
        let written = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
        text.push_str(&"\n".repeat(line.saturating_sub(written)));
        translator.uses.clear();
        translator.loops = 0;
        let translated = translator.rule(rule)?;
        graph.add(&name_of(rule)?.0, rule.span(), &translator.uses, translator.loops);
        text.push_str(&translated);
        text.push('\n');
    }
    translator.check_variables()?;
    graph.check()?;
    let values = translator.kinds.iter().filter(|(_, kind)| !matches!(kind, Kind::Function(_)));
    Ok(Loaded { text, package, rules: values.map(|(name, _)| name.clone()).collect() })
}

/// A path of plain names: `a.b`.
fn path(refr: &Ref<Expr>) -> Result<String> {
    let mut names = Vec::new();
    let mut expr = refr;
    loop {
        match expr.as_ref() {
            Expr::Var { span, .. } => {
                names.push(span.text());
                names.reverse();
                return Ok(names.join("."));
            }
            Expr::RefDot { refr, field, .. } => {
                names.push(field.0.text());
                expr = refr;
            }
            other => return Err(Refused::unproven(other.span(), "a path in brackets")),
        }
    }
}

fn check_import(import: &Import) -> Result<()> {
    let path = path(&import.refr)?;
    let known = matches!(
        path.as_str(),
        "rego.v1"
            | "future.keywords"
            | "future.keywords.in"
            | "future.keywords.if"
            | "future.keywords.every"
            | "future.keywords.contains"
    );
    if known && import.r#as.is_none() {
        return Ok(());
    }
    let what = "imports other than those of keywords: write `input.…` in full; there is no data";
    Err(Refused::unproven(&import.span, format!("import {path}: {what}")))
}

fn kinds(module: &Module) -> Result<BTreeMap<String, Kind>> {
    let mut kinds = BTreeMap::new();
    let mut defaults = BTreeSet::new();
    for rule in &module.policy {
        let (name, kind, span) = name_of(rule)?;
        check_new_name(&name, &span)?;
        if let Rule::Default { .. } = rule.as_ref()
            && !defaults.insert(name.clone())
        {
            let what = format!("multiple default rules {name} found");
            return Err(Refused::new(span.line, TYPE, what));
        }
        if *kinds.entry(name.clone()).or_insert(kind) != kind {
            let what = format!("conflicting rules {name} found");
            return Err(Refused::new(span.line, TYPE, what));
        }
    }
    Ok(kinds)
}

fn name_of(rule: &Rule) -> Result<(String, Kind, Span)> {
    let (refr, kind) = match rule {
        Rule::Default { refr, args, span, .. } => {
            if !args.is_empty() {
                return Err(Refused::unproven(span, "a default for a function"));
            }
            (refr, Kind::Complete)
        }
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } => (refr, Kind::Complete),
        Rule::Spec { head: RuleHead::Set { refr, .. }, .. } => (refr, Kind::Set),
        Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => {
            (refr, Kind::Function(args.len()))
        }
    };
    match refr.as_ref() {
        Expr::Var { span, .. } => Ok((span.text().to_owned(), kind, span.clone())),
        Expr::RefBrack { span, .. } => {
            Err(Refused::unproven(span, "a rule with a key in brackets and a value"))
        }
        other => Err(Refused::unproven(other.span(), "a rule whose name has dots")),
    }
}

/// A name for a rule.
fn check_new_name(name: &str, at: &Span) -> Result<()> {
    if is_reserved(name) || builtins::is_root(name) {
        let what = format!("`{name}` as a name of one's own: OPA gives it a meaning");
        return Err(Refused::unproven(at, what));
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let reserved = ["input", "data", "if", "in", "every", "contains", "set", "rego", "future"];
    name.starts_with(OURS) || reserved.contains(&name)
}

impl Translator {
    fn new(kinds: BTreeMap<String, Kind>) -> Self {
        Self {
            kinds,
            uses: BTreeSet::new(),
            loops: 0,
            named: BTreeMap::new(),
            called: BTreeSet::new(),
            before: Vec::new(),
            made: 0,
        }
    }

    /// A name for a variable. It may be a builtin's that the policy does not call.
    pub(super) fn check_variable(&mut self, name: &str, at: &Span) -> Result<()> {
        if is_reserved(name) {
            let what = format!("`{name}` as a name of one's own: OPA gives it a meaning");
            return Err(Refused::unproven(at, what));
        }
        if builtins::is_root(name) {
            self.named.insert(name.to_owned(), at.line);
        }
        Ok(())
    }

    fn check_variables(&self) -> Result<()> {
        match self.named.iter().find(|(name, _)| self.called.contains(*name)) {
            None => Ok(()),
            Some((name, line)) => {
                let what = format!("`{name}` as a variable, where it is called as a function too");
                Err(Refused::new(*line, UNPROVEN, what))
            }
        }
    }

    pub(super) fn make_name(&mut self) -> String {
        self.made += 1;
        format!("{OURS}{}", self.made)
    }

    fn rule(&mut self, rule: &Rule) -> Result<String> {
        match rule {
            Rule::Default { value, .. } => {
                Ok(format!("default {} = {}", name_of(rule)?.0, constant(value)?))
            }
            Rule::Spec { head, bodies, span } => self.spec(&name_of(rule)?.0, head, bodies, span),
        }
    }

    fn spec(
        &mut self,
        name: &str,
        head: &RuleHead,
        bodies: &[RuleBody],
        span: &Span,
    ) -> Result<String> {
        let mut scope = Scope::default();
        let (head_text, value) = match head {
            RuleHead::Compr { assign, .. } => (name.to_owned(), assign.as_ref()),
            RuleHead::Func { args, assign, .. } => {
                let args = args.iter().map(|arg| self.argument(arg, &mut scope));
                let args: Vec<String> = args.collect::<Result<_>>()?;
                (format!("{name}({})", args.join(", ")), assign.as_ref())
            }
            RuleHead::Set { key, .. } => return self.member(name, key.as_ref(), bodies, span),
        };
        match bodies {
            [] => {
                let Some(value) = value else {
                    return Err(Refused::unproven(span, "a rule without a body and a value"));
                };
                self.valued(&head_text, Some(value), None, scope)
            }
            [body] => self.valued(&head_text, value, Some(body), scope),
            [_, rest @ ..] => {
                if let Some(other) = rest.iter().find(|body| !body.is_else) {
                    let what = "a rule with several bodies: write the head before each";
                    return Err(Refused::unproven(&other.span, what));
                }
                self.chain(&head_text, value, bodies, &scope)
            }
        }
    }

    /// A function takes what it is given into variables, or is asked for one constant.
    fn argument(&mut self, arg: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        match arg.as_ref() {
            Expr::Var { span, .. } if span.text() == "_" => Ok("_".to_owned()),
            Expr::Var { span, .. } => self.introduce(span, scope),
            _ => constant(arg).map_err(|_| {
                Refused::unproven(arg.span(), "an argument that is neither a name nor a constant")
            }),
        }
    }

    /// The value is computed as the last statement of the body: regorus loses the values of all
    /// other rounds of a loop where it is undefined in one.
    fn valued(
        &mut self,
        head: &str,
        value: Option<&RuleAssign>,
        body: Option<&RuleBody>,
        mut scope: Scope,
    ) -> Result<String> {
        let mut statements = match body {
            Some(body) => self.statements(&body.query, &mut scope)?,
            None => Vec::new(),
        };
        let value = match value {
            None => "true".to_owned(),
            Some(RuleAssign { value, .. }) => match constant(value) {
                Ok(constant) => constant,
                Err(_) => self.last(value, &mut scope, &mut statements, body.is_some())?,
            },
        };
        if statements.is_empty() {
            statements.push("true".to_owned());
        }
        Ok(format!("{head} = {value} {{ {} }}", statements.join("; ")))
    }

    /// Adds a statement that gives a value a name.
    pub(super) fn last(
        &mut self,
        value: &Ref<Expr>,
        scope: &mut Scope,
        statements: &mut Vec<String>,
        may_loop: bool,
    ) -> Result<String> {
        let place = if may_loop { Place::Statement } else { Place::Inner("a value") };
        let text = self.value(value, scope, place)?;
        let name = self.make_name();
        statements.push(format!("{name} := {text}"));
        Ok(name)
    }

    /// `name[key] { … }` and `name contains key if { … }`.
    fn member(
        &mut self,
        name: &str,
        key: Option<&Ref<Expr>>,
        bodies: &[RuleBody],
        span: &Span,
    ) -> Result<String> {
        let Some(key) = key else {
            return Err(Refused::unproven(span, "a rule whose name has dots"));
        };
        let mut scope = Scope::default();
        let mut statements = match bodies {
            [] => Vec::new(),
            [body] => self.statements(&body.query, &mut scope)?,
            [_, other, ..] => {
                let what = "a rule with several bodies: write the head before each";
                return Err(Refused::unproven(&other.span, what));
            }
        };
        let member = self.last(key, &mut scope, &mut statements, !bodies.is_empty())?;
        Ok(format!("{name}[{member}] {{ {} }}", statements.join("; ")))
    }

    /// A chain of `else`. The values are constants: where regorus finds one undefined it goes on
    /// in its own way.
    fn chain(
        &mut self,
        head: &str,
        value: Option<&RuleAssign>,
        bodies: &[RuleBody],
        scope: &Scope,
    ) -> Result<String> {
        let mut text = String::new();
        for (index, body) in bodies.iter().enumerate() {
            let value = if index == 0 { value } else { body.assign.as_ref() };
            let value = match value {
                None => "true".to_owned(),
                Some(assign) => constant(&assign.value).map_err(|_| {
                    let what = "in a rule with `else`, a value that is no constant";
                    Refused::unproven(assign.value.span(), what)
                })?,
            };
            let mut scope = scope.clone();
            let mut statements = self.statements(&body.query, &mut scope)?;
            if statements.is_empty() {
                statements.push("true".to_owned());
            }
            let head = if index == 0 { head } else { " else" };
            text.push_str(&format!("{head} = {value} {{ {} }}", statements.join("; ")));
        }
        Ok(text)
    }
}

/// A scalar, or an array, object or set of constants.
pub(super) fn constant(expr: &Ref<Expr>) -> Result<String> {
    let list = |items: &[Ref<Expr>]| {
        let items: Result<Vec<String>> = items.iter().map(constant).collect();
        items.map(|items| items.join(", "))
    };
    match expr.as_ref() {
        Expr::Array { items, .. } => Ok(format!("[{}]", list(items)?)),
        Expr::Set { items, .. } if items.is_empty() => Ok("set()".to_owned()),
        Expr::Set { items, .. } => Ok(format!("{{{}}}", list(items)?)),
        Expr::Object { fields, .. } => {
            let field = |(_, key, value): &(Span, Ref<Expr>, Ref<Expr>)| {
                Ok(format!("{}: {}", constant(key)?, constant(value)?))
            };
            let fields: Vec<String> = fields.iter().map(field).collect::<Result<_>>()?;
            Ok(format!("{{{}}}", fields.join(", ")))
        }
        _ => super::value::scalar(expr)?
            .ok_or_else(|| Refused::unproven(expr.span(), "a value that is no constant")),
    }
}

/// Whether it is `:=`.
pub(super) fn declares(op: &AssignOp) -> bool {
    matches!(op, AssignOp::ColEq)
}
