//! Expressions: what has a value.

use regorus::unstable::{ArithOp, BinOp, BoolOp, Expr, Query, Ref, Span};

use super::{
    super::builtins,
    OURS, Refused, Result, TYPE, UNPROVEN, UNSAFE,
    query::Scope,
    rules::{Kind, Translator, constant},
};

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// It is a statement, or what one is about: `xs[_]` may run over a collection.
    Statement,
    /// Within this: it must have one value.
    Inner(&'static str),
    /// Within a negated expression, where it must have a value before that is asked.
    Negated,
}

/// The longest number, with its point: a double tells all of them apart.
const MAX_DIGITS: usize = 17;

impl Translator {
    /// An expression with its operators.
    pub(super) fn value(
        &mut self,
        expr: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        match expr.as_ref() {
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let lhs = self.operand(lhs, scope, place)?;
                let rhs = self.operand(rhs, scope, place)?;
                Ok(match op {
                    BoolOp::Eq => format!("{lhs} == {rhs}"),
                    BoolOp::Ne => format!("{lhs} != {rhs}"),
                    BoolOp::Lt => format!("{}({lhs}, {rhs})", builtins::LESS),
                    BoolOp::Gt => format!("{}({rhs}, {lhs})", builtins::LESS),
                    BoolOp::Le => format!("{}({lhs}, {rhs})", builtins::AT_MOST),
                    BoolOp::Ge => format!("{}({rhs}, {lhs})", builtins::AT_MOST),
                })
            }
            _ => self.operand(expr, scope, place),
        }
    }

    /// What may stand beside an operator, in a call or in brackets.
    pub(super) fn operand(
        &mut self,
        expr: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        if let Some(scalar) = scalar(expr)? {
            return Ok(scalar);
        }
        match (place, expr.as_ref()) {
            (Place::Statement | Place::Inner(_), _) => {}
            (_, Expr::Var { span, .. }) if scope.bound.contains(span.text()) => {}
            (_, Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. }) => {}
            (Place::Negated, _) => {
                let text = self.operand(expr, scope, Place::Inner("`not`"))?;
                let name = self.make_name();
                self.before.push(format!("{name} := {text}"));
                return Ok(name);
            }
        }
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.reference(expr, scope, place)
            }
            Expr::Call { fcn, params, span, .. } => self.call(fcn, params, span, scope, place),
            Expr::ArithExpr { op, lhs, rhs, .. } => self.arithmetic(op, lhs, rhs, scope, place),
            Expr::BinExpr { op, lhs, rhs, .. } => {
                let lhs = self.operand(lhs, scope, place)?;
                let rhs = self.operand(rhs, scope, place)?;
                let name = match op {
                    BinOp::Union => builtins::UNION,
                    BinOp::Intersection => builtins::INTERSECTION,
                };
                Ok(format!("{name}({lhs}, {rhs})"))
            }
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
                self.literal(expr, scope)
            }
            Expr::ArrayCompr { term, query, .. } => {
                let (terms, body) = self.comprehension(&[term], query, scope)?;
                Ok(counted(&format!("[{terms} | {body}]")))
            }
            Expr::SetCompr { term, query, .. } => {
                let (terms, body) = self.comprehension(&[term], query, scope)?;
                Ok(counted(&format!("{{{terms} | {body}}}")))
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                let (terms, body) = self.comprehension(&[key, value], query, scope)?;
                Ok(counted(&format!("{{{terms} | {body}}}")))
            }
            // Undefined in a collection is false here, and undefined in OPA.
            Expr::Membership { span, .. } => {
                Err(Refused::unproven(span, "`in` as a value: write it as a statement"))
            }
            Expr::BoolExpr { span, .. } => {
                Err(Refused::unproven(span, "a comparison within another expression"))
            }
            Expr::AssignExpr { span, .. } => {
                Err(Refused::unproven(span, "`=` within another expression"))
            }
            other => Err(Refused::unproven(other.span(), "an expression of this form")),
        }
    }

    /// `x in xs`. With a key regorus finds what is undefined in every collection.
    pub(super) fn membership(
        &mut self,
        key: Option<&Ref<Expr>>,
        value: &Ref<Expr>,
        collection: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        if let Some(key) = key {
            return Err(Refused::unproven(key.span(), "`k, v in xs` without `some`"));
        }
        let value = self.operand(value, scope, place)?;
        let collection = self.operand(collection, scope, place)?;
        Ok(format!("{value} in {collection}"))
    }

    fn arithmetic(
        &mut self,
        op: &ArithOp,
        lhs: &Ref<Expr>,
        rhs: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        let lhs = self.operand(lhs, scope, place)?;
        let rhs = self.operand(rhs, scope, place)?;
        // Ours are exact or fail; and of sets `-` makes a new one, which is counted.
        let name = match op {
            ArithOp::Add => builtins::PLUS,
            ArithOp::Sub => builtins::MINUS,
            ArithOp::Mul => builtins::TIMES,
            ArithOp::Div => builtins::DIVIDED,
            ArithOp::Mod => builtins::REMAINDER,
        };
        Ok(format!("{name}({lhs}, {rhs})"))
    }

    fn literal(&mut self, expr: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        if let Ok(constant) = constant(expr) {
            return Ok(constant);
        }
        let place = Place::Inner("a literal");
        let mut list = |items: &[Ref<Expr>]| {
            let items = items.iter().map(|item| self.operand(item, scope, place));
            items.collect::<Result<Vec<String>>>().map(|items| items.join(", "))
        };
        match expr.as_ref() {
            Expr::Array { items, .. } => Ok(counted(&format!("[{}]", list(items)?))),
            Expr::Set { items, .. } => Ok(counted(&format!("{{{}}}", list(items)?))),
            Expr::Object { fields, .. } => {
                let mut written = Vec::new();
                for (_, key, value) in fields {
                    let key = self.operand(key, scope, place)?;
                    written.push(format!("{key}: {}", self.operand(value, scope, place)?));
                }
                Ok(counted(&format!("{{{}}}", written.join(", "))))
            }
            other => Err(Refused::unproven(other.span(), "an expression of this form")),
        }
    }

    /// What is collected is computed as the last statements, so that it may run over something.
    fn comprehension(
        &mut self,
        terms: &[&Ref<Expr>],
        query: &Query,
        scope: &mut Scope,
    ) -> Result<(String, String)> {
        self.loops += 1;
        let mut child = scope.child();
        let mut statements = self.statements(query, &mut child)?;
        let mut names = Vec::new();
        for term in terms {
            names.push(self.last(term, &mut child, &mut statements, true)?);
        }
        scope.close(child);
        Ok((names.join(": "), statements.join("; ")))
    }

    pub(super) fn call(
        &mut self,
        function: &Ref<Expr>,
        arguments: &[Ref<Expr>],
        span: &Span,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        let name = function.span().text();
        if walk_is(function) {
            let what = "`walk` within another expression: write `walk(x, [path, value])`";
            return Err(Refused::unproven(span, what));
        }
        match self.kinds.get(name) {
            None => {
                let root = name.split('.').next().unwrap_or(name);
                self.called.insert(root.to_owned());
            }
            Some(Kind::Function(_)) => {
                self.uses.insert(name.to_owned());
            }
            Some(_) => {
                let what = format!("rule {name} is no function");
                return Err(Refused::new(span.line, TYPE, what));
            }
        }
        let arity = self.arity(name);
        let arity = arity.ok_or_else(|| Refused::unproven(span, format!("the function {name}")))?;
        if arguments.len() != arity {
            let what = format!("{name} has {arity} arguments");
            return Err(Refused::new(span.line, TYPE, what));
        }
        let arguments = arguments.iter().map(|argument| self.operand(argument, scope, place));
        let arguments: Vec<String> = arguments.collect::<Result<_>>()?;
        Ok(format!("{name}({})", arguments.join(", ")))
    }

    /// The number of arguments of a function of the policy or a builtin.
    pub(super) fn arity(&self, name: &str) -> Option<usize> {
        match self.kinds.get(name) {
            Some(Kind::Function(arity)) => Some(*arity),
            Some(_) => None,
            None if name.starts_with(OURS) => None,
            None => builtins::arity(name),
        }
    }

    /// A variable, a rule, the input or a call, and a way into it.
    pub(super) fn reference(
        &mut self,
        expr: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
    ) -> Result<String> {
        let mut steps = Vec::new();
        let mut base = expr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = base.as_ref() {
            steps.push(base);
            base = refr;
        }
        let (mut text, may_loop) = match base.as_ref() {
            Expr::Var { span, .. } => (self.root(span, scope)?, true),
            Expr::Call { .. } => (self.operand(base, scope, place)?, false),
            other => return Err(Refused::unproven(other.span(), "a way into a literal")),
        };
        for step in steps.into_iter().rev() {
            match step.as_ref() {
                Expr::RefDot { field, .. } => text = format!("{text}.{}", field.0.text()),
                Expr::RefBrack { index, .. } => {
                    let index = self.index(index, scope, place, may_loop)?;
                    text = format!("{text}[{index}]");
                }
                _ => {}
            }
        }
        Ok(text)
    }

    fn root(&mut self, span: &Span, scope: &Scope) -> Result<String> {
        let name = span.text();
        if name == "input" || scope.bound.contains(name) {
            return Ok(name.to_owned());
        }
        match (name, self.kinds.get(name)) {
            ("data", _) => Err(Refused::unproven(span, "`data`: there is none but the input")),
            (_, Some(kind)) if kind.is_value() => {
                self.uses.insert(name.to_owned());
                Ok(name.to_owned())
            }
            (_, Some(_)) => Err(Refused::unproven(span, format!("the function {name} as a value"))),
            (_, None) => {
                let what = format!("var {name} is unsafe: it has no value where it is used");
                Err(Refused::new(span.line, UNSAFE, what))
            }
        }
    }

    fn index(
        &mut self,
        index: &Ref<Expr>,
        scope: &mut Scope,
        place: Place,
        may_loop: bool,
    ) -> Result<String> {
        let is_loop = matches!(index.as_ref(), Expr::Var { span, .. }
            if span.text() == "_" || self.is_fresh(span.text(), scope));
        if !is_loop {
            let place = match place {
                Place::Negated => Place::Negated,
                _ => Place::Inner("an index"),
            };
            return self.operand(index, scope, place);
        }
        self.loops += 1;
        let span = index.span();
        match (place, may_loop) {
            (Place::Inner(_) | Place::Negated, _) => {
                let within = if let Place::Inner(within) = place { within } else { "`not`" };
                let name = span.text();
                let what = format!("`[{name}]`, which runs over a collection, in {within}");
                Err(Refused::unproven(span, what))
            }
            (Place::Statement, false) => {
                Err(Refused::unproven(span, "a loop over the result of a call: give it a name"))
            }
            (Place::Statement, true) if span.text() == "_" => Ok("_".to_owned()),
            (Place::Statement, true) => self.introduce(span, scope),
        }
    }
}

fn counted(collection: &str) -> String {
    format!("{}({collection})", builtins::COUNTED)
}

fn walk_is(function: &Ref<Expr>) -> bool {
    matches!(function.as_ref(), Expr::Var { span, .. } if span.text() == "walk")
}

/// The text of a scalar; nothing where it is none.
pub(super) fn scalar(expr: &Ref<Expr>) -> Result<Option<String>> {
    Ok(Some(match expr.as_ref() {
        Expr::String { span, .. } => format!("\"{}\"", span.text()),
        Expr::RawString { span, .. } => format!("`{}`", span.text()),
        Expr::Bool { span, .. } | Expr::Null { span, .. } => span.text().to_owned(),
        Expr::Number { span, .. } => number(span)?,
        Expr::UnaryExpr { expr, .. } => match expr.as_ref() {
            Expr::Number { span, .. } if !span.text().starts_with('-') => {
                format!("-{}", number(span)?)
            }
            other => return Err(Refused::unproven(other.span(), "`-` before what is no number")),
        },
        _ => return Ok(None),
    }))
}

fn number(span: &Span) -> Result<String> {
    let text = span.text();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = are_digits(whole)
        && are_digits(fraction)
        && (whole == "0" || !whole.starts_with('0'))
        && digits.len() <= MAX_DIGITS;
    match is_plain {
        true => Ok(text.to_owned()),
        false => Err(Refused::new(span.line, UNPROVEN, format!("a number written as {text}"))),
    }
}
