//! Arrays, sets and objects.

use std::collections::BTreeSet;

use regorus::Value;

use super::{Answer, Means, numbers};

/// The elements of an array or set.
pub(super) fn elements(value: &Value) -> Answer<Vec<&Value>> {
    match value {
        Value::Array(array) => Ok(array.iter().collect()),
        Value::Set(set) => Ok(set.iter().collect()),
        _ => Err("neither an array nor a set".to_owned()),
    }
}

/// The length of a text is that of its characters (in regorus, of their UTF-16).
pub(super) fn count(arguments: &[Value], _: &Means) -> Answer<Value> {
    let count = match &arguments[0] {
        Value::String(text) => text.chars().count(),
        Value::Array(array) => array.len(),
        Value::Set(set) => set.len(),
        Value::Object(object) => object.len(),
        _ => return Err("what has no length".to_owned()),
    };
    Ok(Value::from(count))
}

pub(super) fn all(arguments: &[Value], _: &Means) -> Answer<Value> {
    let holds = elements(&arguments[0])?.into_iter().all(|one| *one == Value::Bool(true));
    Ok(Value::Bool(holds))
}

pub(super) fn any(arguments: &[Value], _: &Means) -> Answer<Value> {
    let holds = elements(&arguments[0])?.into_iter().any(|one| *one == Value::Bool(true));
    Ok(Value::Bool(holds))
}

pub(super) fn array_concat(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (Value::Array(first), Value::Array(second)) = (&arguments[0], &arguments[1]) else {
        return Err("an argument is no array".to_owned());
    };
    means.take_elements(first.len().saturating_add(second.len()))?;
    let both = Value::from(first.iter().chain(second.iter()).cloned().collect::<Vec<Value>>());
    means.count(&both)?;
    Ok(both)
}

/// Objects within objects are joined too; otherwise the second's value counts.
pub(super) fn object_union(arguments: &[Value], means: &Means) -> Answer<Value> {
    let union = joined(&arguments[0], &arguments[1], means)?;
    means.count(&union)?;
    Ok(union)
}

/// A collection as it is.
pub(super) fn counted(arguments: &[Value], means: &Means) -> Answer<Value> {
    means.count(&arguments[0])?;
    Ok(arguments[0].clone())
}

/// Its depth is bounded by that of the input and of the policy's text.
fn joined(first: &Value, second: &Value, means: &Means) -> Answer<Value> {
    let (Value::Object(first), Value::Object(second)) = (first, second) else {
        return Err("an argument is no object".to_owned());
    };
    means.take_elements(first.len().saturating_add(second.len()))?;
    let mut union = first.as_ref().clone();
    for (key, value) in second.iter() {
        let value = match (union.get(key), value) {
            (Some(before @ Value::Object(_)), Value::Object(_)) => joined(before, value, means)?,
            _ => value.clone(),
        };
        union.insert(key.clone(), value);
    }
    let mut made = Value::new_object();
    *made.as_object_mut().map_err(|error| error.to_string())? = union;
    Ok(made)
}

fn sets(arguments: &[Value]) -> Answer<(BTreeSet<&Value>, BTreeSet<&Value>)> {
    let (Value::Set(first), Value::Set(second)) = (&arguments[0], &arguments[1]) else {
        return Err("an operand is no set".to_owned());
    };
    Ok((first.iter().collect(), second.iter().collect()))
}

fn set<'a>(members: impl Iterator<Item = &'a Value>, means: &Means) -> Answer<Value> {
    let members: BTreeSet<Value> = members.cloned().collect();
    means.take_elements(members.len())?;
    Ok(Value::from(members))
}

/// Of sets, or of numbers.
pub(super) fn minus(arguments: &[Value], means: &Means) -> Answer<Value> {
    if let (Value::Number(_), Value::Number(_)) = (&arguments[0], &arguments[1]) {
        return numbers::minus(&arguments[0], &arguments[1]);
    }
    let (first, second) = sets(arguments)?;
    set(first.difference(&second).copied(), means)
}

pub(super) fn union(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (first, second) = sets(arguments)?;
    set(first.union(&second).copied(), means)
}

pub(super) fn intersection(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (first, second) = sets(arguments)?;
    set(first.intersection(&second).copied(), means)
}

/// Every value within a value, with the way to it.
pub(super) fn walk(arguments: &[Value], means: &Means) -> Answer<Value> {
    let mut found = Vec::new();
    let mut open: Vec<(Vec<Value>, &Value)> = vec![(Vec::new(), &arguments[0])];
    while let Some((path, value)) = open.pop() {
        means.take_elements(path.len().saturating_add(3))?;
        let within = |key: &Value| path.iter().chain([key]).cloned().collect::<Vec<Value>>();
        match value {
            Value::Array(array) => {
                for (index, element) in array.iter().enumerate() {
                    open.push((within(&Value::from(index)), element));
                }
            }
            Value::Set(set) => open.extend(set.iter().map(|member| (within(member), member))),
            Value::Object(object) => {
                open.extend(object.iter().map(|(key, value)| (within(key), value)));
            }
            _ => {}
        }
        found.push(Value::from(vec![Value::from(path), value.clone()]));
    }
    Ok(Value::from(found))
}
