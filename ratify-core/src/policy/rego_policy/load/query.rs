//! Statements, in the order in which they give variables their values.
//!
//! A name means one thing in a rule: a nested query takes none that stands around it, before or
//! after. So neither regorus' order of statements nor its scopes can make another policy of it.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Query, Ref, Span};

use super::{
    Refused, Result, UNSAFE,
    rules::{Kind, Translator, declares},
    value::{Place, scalar},
};

/// What is known in a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Variables that have a value, those of the enclosing queries included.
    pub(super) bound: BTreeSet<String>,
    /// Declared by `some`, without a value so far.
    pending: BTreeSet<String>,
    /// Pending in an enclosing query.
    blocked: BTreeSet<String>,
    /// Introduced here or in a nested query.
    introduced: BTreeSet<String>,
    /// Introduced in nested queries.
    nested: BTreeSet<String>,
}

impl Scope {
    pub(super) fn child(&self) -> Self {
        let blocked = self.blocked.union(&self.pending).cloned().collect();
        Self { bound: self.bound.clone(), blocked, ..Self::default() }
    }

    pub(super) fn close(&mut self, child: Self) {
        self.nested.extend(child.introduced.iter().cloned());
        self.introduced.extend(child.introduced);
    }
}

impl Translator {
    /// Whether a name stands for nothing so far.
    pub(super) fn is_fresh(&self, name: &str, scope: &Scope) -> bool {
        !scope.bound.contains(name)
            && !self.kinds.contains_key(name)
            && !matches!(name, "_" | "input" | "data")
    }

    /// A new variable.
    pub(super) fn introduce(&mut self, span: &Span, scope: &mut Scope) -> Result<String> {
        let name = span.text();
        self.check_variable(name, span)?;
        if !self.is_fresh(name, scope) {
            let what = format!("the name `{name}` is taken: a variable may hide no other");
            return Err(Refused::unproven(span, what));
        }
        if scope.nested.contains(name) || scope.blocked.contains(name) {
            let what = format!("the name `{name}` also stands in a query within this one");
            return Err(Refused::unproven(span, what));
        }
        scope.pending.remove(name);
        scope.bound.insert(name.to_owned());
        scope.introduced.insert(name.to_owned());
        Ok(name.to_owned())
    }

    pub(super) fn statements(&mut self, query: &Query, scope: &mut Scope) -> Result<Vec<String>> {
        let mut written = Vec::new();
        for statement in &query.stmts {
            written.extend(self.statement(statement, scope)?);
        }
        match scope.pending.first() {
            None => Ok(written),
            Some(name) => {
                let what = format!("var {name} is unsafe");
                Err(Refused::new(query.span.line, UNSAFE, what))
            }
        }
    }

    fn statement(&mut self, statement: &LiteralStmt, scope: &mut Scope) -> Result<Vec<String>> {
        if let Some(with) = statement.with_mods.first() {
            return Err(Refused::unproven(&with.span, "`with`"));
        }
        match &statement.literal {
            Literal::Expr { expr, .. } => self.expression(expr, scope).map(|one| vec![one]),
            Literal::NotExpr { expr, .. } => self.negation(expr, scope),
            Literal::SomeVars { vars, .. } => {
                for var in vars {
                    self.declare(var, scope)?;
                }
                Ok(Vec::new())
            }
            Literal::SomeIn { key, value, collection, .. } => {
                self.loops += 1;
                let collection = self.operand(collection, scope, Place::Inner("`some … in`"))?;
                let mut names = Vec::new();
                for pattern in key.iter().chain([value]) {
                    names.push(self.pattern(pattern, scope, false)?);
                }
                Ok(vec![format!("some {} in {collection}", names.join(", "))])
            }
            Literal::Every { key, value, domain, query, .. } => {
                self.loops += 1;
                let domain = self.operand(domain, scope, Place::Inner("`every`"))?;
                let mut child = scope.child();
                let mut names = Vec::new();
                for name in key.iter().chain([value]) {
                    names.push(match name.text() {
                        "_" => self.make_name(),
                        _ => self.introduce(name, &mut child)?,
                    });
                }
                let body = self.statements(query, &mut child)?.join("; ");
                scope.close(child);
                Ok(vec![format!("every {} in {domain} {{ {body} }}", names.join(", "))])
            }
        }
    }

    /// `some x`, which is not written: a name that nothing else has is a variable.
    fn declare(&mut self, var: &Span, scope: &mut Scope) -> Result<()> {
        let mut trial = scope.clone();
        let name = self.introduce(var, &mut trial)?;
        match scope.pending.insert(name) {
            true => Ok(()),
            false => {
                Err(Refused::new(var.line, UNSAFE, format!("var {} declared above", var.text())))
            }
        }
    }

    fn expression(&mut self, expr: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        match expr.as_ref() {
            Expr::AssignExpr { op, lhs, rhs, .. } => self.assignment(op, lhs, rhs, scope),
            Expr::Membership { key, value, collection, .. } => {
                self.membership(key.as_ref(), value, collection, scope, Place::Statement)
            }
            _ => match walk(expr) {
                Some([what, pattern]) => self.walk(what, pattern, scope),
                Some(_) => Err(Refused::unproven(
                    expr.span(),
                    "`walk` whose result has no name: write `walk(x, [path, value])`",
                )),
                None => match self.with_output(expr) {
                    Some((call, output)) => self.unified(&call, output, scope),
                    None => self.value(expr, scope, Place::Statement),
                },
            },
        }
    }

    /// Only what stands directly after `not`, or beside `==` after it, may be undefined: OPA computes
    /// whatever else is in it before, and where that is undefined the statement fails. regorus does
    /// not; so it is written as a statement of its own.
    ///
    /// regorus also runs the loops in a negated expression around it: it would ask whether there is
    /// one for which it does not hold, not whether there is none for which it does.
    fn negation(&mut self, expr: &Ref<Expr>, scope: &mut Scope) -> Result<Vec<String>> {
        let outer = std::mem::take(&mut self.before);
        let text = self.negated(expr, scope);
        let mut statements = std::mem::replace(&mut self.before, outer);
        statements.push(format!("not {}", text?));
        Ok(statements)
    }

    fn negated(&mut self, expr: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        let place = Place::Negated;
        match expr.as_ref() {
            Expr::AssignExpr { span, .. } => {
                Err(Refused::unproven(span, "`=` in `not`: write `==`, or `!=` without it"))
            }
            Expr::Membership { key, value, collection, .. } => {
                self.membership(key.as_ref(), value, collection, scope, place)
            }
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => {
                let lhs = self.may_be_undefined(lhs, scope)?;
                let rhs = self.may_be_undefined(rhs, scope)?;
                Ok(format!("{lhs} == {rhs}"))
            }
            Expr::Call { fcn, params, span, .. } => self.call(fcn, params, span, scope, place),
            Expr::BoolExpr { .. } => self.value(expr, scope, place),
            _ => self.may_be_undefined(expr, scope),
        }
    }

    fn may_be_undefined(&mut self, expr: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.reference(expr, scope, Place::Negated)
            }
            _ => self.operand(expr, scope, Place::Negated),
        }
    }

    fn assignment(
        &mut self,
        op: &AssignOp,
        lhs: &Ref<Expr>,
        rhs: &Ref<Expr>,
        scope: &mut Scope,
    ) -> Result<String> {
        // regorus gives `[path, value] := walk(x)` no results and says nothing.
        if let Some([what]) = walk(rhs) {
            return self.walk(what, lhs, scope);
        }
        if declares(op) {
            let value = self.value(rhs, scope, Place::Statement)?;
            if let Expr::Var { span, .. } = lhs.as_ref()
                && scope.pending.contains(span.text())
            {
                let what = format!("var {} declared above", span.text());
                return Err(Refused::new(span.line, UNSAFE, what));
            }
            let pattern = self.pattern(lhs, scope, false)?;
            return Ok(format!("{pattern} := {value}"));
        }
        if let Some([what]) = walk(lhs) {
            return self.walk(what, rhs, scope);
        }
        self.unified(lhs, rhs, scope)
    }

    /// `f(x, y)` of a function of one argument is `f(x) = y`.
    fn with_output<'a>(&self, expr: &'a Ref<Expr>) -> Option<(Ref<Expr>, &'a Ref<Expr>)> {
        let Expr::Call { fcn, params, span, .. } = expr.as_ref() else { return None };
        let arity = self.arity(fcn.span().text())?;
        let (output, params) = params.split_last()?;
        (params.len() == arity).then(|| {
            let (span, fcn, params) = (span.clone(), fcn.clone(), params.to_vec());
            (Ref::new(Expr::Call { span, fcn, params, eidx: 0 }), output)
        })
    }

    fn unified(&mut self, lhs: &Ref<Expr>, rhs: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        for (pattern, value) in [(lhs, rhs), (rhs, lhs)] {
            if self.is_pattern(pattern, scope) {
                let value = self.value(value, scope, Place::Statement)?;
                let is_array = matches!(pattern.as_ref(), Expr::Array { .. });
                let pattern = self.pattern(pattern, scope, true)?;
                let sign = if is_array { "=" } else { ":=" };
                return Ok(format!("{pattern} {sign} {value}"));
            }
        }
        let lhs = self.operand(lhs, scope, Place::Statement)?;
        let rhs = self.operand(rhs, scope, Place::Statement)?;
        Ok(format!("{lhs} == {rhs}"))
    }

    /// Whether it takes a value apart or gives it a name.
    fn is_pattern(&self, expr: &Ref<Expr>, scope: &Scope) -> bool {
        match expr.as_ref() {
            Expr::Var { span, .. } => span.text() == "_" || self.is_fresh(span.text(), scope),
            Expr::Array { items, .. } => items.iter().any(|item| self.is_pattern(item, scope)),
            _ => false,
        }
    }

    /// New names, one or in an array.
    fn pattern(
        &mut self,
        expr: &Ref<Expr>,
        scope: &mut Scope,
        with_constants: bool,
    ) -> Result<String> {
        match expr.as_ref() {
            Expr::Var { span, .. } if span.text() == "_" => Ok(self.make_name()),
            Expr::Var { span, .. } => self.introduce(span, scope),
            Expr::Array { items, .. } if !items.is_empty() => {
                let items = items.iter().map(|item| self.pattern(item, scope, with_constants));
                let items: Vec<String> = items.collect::<Result<_>>()?;
                Ok(format!("[{}]", items.join(", ")))
            }
            _ => match scalar(expr)? {
                Some(constant) if with_constants => Ok(constant),
                _ => {
                    let what = "a pattern other than new names and arrays of them";
                    Err(Refused::unproven(expr.span(), what))
                }
            },
        }
    }

    /// The form of `walk` that regorus is right about.
    fn walk(&mut self, what: &Ref<Expr>, pattern: &Ref<Expr>, scope: &mut Scope) -> Result<String> {
        self.called.insert("walk".to_owned());
        self.loops += 1;
        let what = self.operand(what, scope, Place::Inner("`walk`"))?;
        let pattern = self.pattern(pattern, scope, true)?;
        Ok(format!("walk({what}, {pattern})"))
    }
}

/// The arguments of a call of the builtin `walk`.
pub(super) fn walk(expr: &Ref<Expr>) -> Option<&[Ref<Expr>]> {
    let Expr::Call { fcn, params, .. } = expr.as_ref() else { return None };
    match fcn.as_ref() {
        Expr::Var { span, .. } if span.text() == "walk" => Some(params),
        _ => None,
    }
}

impl Kind {
    /// Whether it has a value of its own.
    pub(super) fn is_value(self) -> bool {
        !matches!(self, Self::Function(_))
    }
}
