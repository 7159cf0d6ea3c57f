//! What is less than what: scalars, in OPA's order of kinds. regorus has another order of sets and
//! objects, so collections are not compared here.

use regorus::Value;

use super::{Answer, Means, collections::elements};

fn scalar(value: &Value) -> Answer<&Value> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value),
        _ => Err("collections are not put in order".to_owned()),
    }
}

pub(super) fn less(arguments: &[Value], _: &Means) -> Answer<Value> {
    Ok(Value::Bool(scalar(&arguments[0])? < scalar(&arguments[1])?))
}

pub(super) fn at_most(arguments: &[Value], _: &Means) -> Answer<Value> {
    Ok(Value::Bool(scalar(&arguments[0])? <= scalar(&arguments[1])?))
}

fn scalars(value: &Value) -> Answer<Vec<&Value>> {
    elements(value)?.into_iter().map(scalar).collect()
}

/// Undefined of nothing.
pub(super) fn max(arguments: &[Value], _: &Means) -> Answer<Value> {
    Ok(scalars(&arguments[0])?.into_iter().max().map_or(Value::Undefined, Clone::clone))
}

/// Undefined of nothing.
pub(super) fn min(arguments: &[Value], _: &Means) -> Answer<Value> {
    Ok(scalars(&arguments[0])?.into_iter().min().map_or(Value::Undefined, Clone::clone))
}

pub(super) fn sort(arguments: &[Value], means: &Means) -> Answer<Value> {
    let mut sorted = scalars(&arguments[0])?;
    means.take_elements(sorted.len())?;
    sorted.sort();
    Ok(Value::from(sorted.into_iter().cloned().collect::<Vec<Value>>()))
}
