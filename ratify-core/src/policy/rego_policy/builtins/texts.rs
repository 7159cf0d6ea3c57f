//! Texts.

use regorus::Value;

use super::{Answer, Means, collections::elements, text};

/// The longest list of characters to trim, since each character of a text is looked up in it.
const MAX_CUTSET: usize = 256;

pub(super) fn concat(arguments: &[Value], means: &Means) -> Answer<Value> {
    let between = text(&arguments[0], "the delimiter")?;
    let parts = elements(&arguments[1])?;
    let parts = parts.into_iter().map(|part| text(part, "a part"));
    let parts: Vec<&str> = parts.collect::<Answer<_>>()?;
    let bytes = parts.iter().map(|part| part.len().saturating_add(between.len())).sum();
    means.take_text(bytes)?;
    Ok(Value::from(parts.join(between)))
}

/// In characters; -1 where it is not there.
pub(super) fn indexof(arguments: &[Value], _: &Means) -> Answer<Value> {
    let (all, part) = (text(&arguments[0], "the text")?, text(&arguments[1], "the part")?);
    if part.is_empty() {
        return Err("empty search character".to_owned());
    }
    Ok(match all.find(part) {
        Some(at) => Value::from(all[..at].chars().count()),
        None => Value::from(-1_i64),
    })
}

pub(super) fn lower(arguments: &[Value], means: &Means) -> Answer<Value> {
    mapped(&arguments[0], means, |character| one(character.to_lowercase()))
}

pub(super) fn upper(arguments: &[Value], means: &Means) -> Answer<Value> {
    mapped(&arguments[0], means, |character| one(character.to_uppercase()))
}

/// Go maps a character to one other; where that is not the whole truth there is none.
fn mapped(value: &Value, means: &Means, map: fn(char) -> Option<char>) -> Answer<Value> {
    let before = text(value, "the argument")?;
    means.take_text(before.len().saturating_mul(2))?;
    let after: Option<String> = before.chars().map(map).collect();
    let after = after.ok_or("a character whose other case is several characters")?;
    Ok(Value::from(after))
}

fn one(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next();
    characters.next().map_or(first, |_| None)
}

pub(super) fn replace(arguments: &[Value], means: &Means) -> Answer<Value> {
    let all = text(&arguments[0], "the text")?;
    let (old, new) = (text(&arguments[1], "the old")?, text(&arguments[2], "the new")?);
    if old.is_empty() {
        return Err("an empty text is replaced everywhere".to_owned());
    }
    let times = all.matches(old).count();
    means.take_text(all.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(Value::from(all.replace(old, new)))
}

fn trimmed(arguments: &[Value], means: &Means) -> Answer<(String, Vec<char>)> {
    let (all, cutset) = (text(&arguments[0], "the text")?, text(&arguments[1], "the cutset")?);
    if cutset.len() > MAX_CUTSET {
        return Err(format!("a cutset of more than {MAX_CUTSET} bytes"));
    }
    means.take_text(all.len())?;
    Ok((all.to_owned(), cutset.chars().collect()))
}

pub(super) fn trim(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (all, cutset) = trimmed(arguments, means)?;
    Ok(Value::from(all.trim_matches(&cutset[..])))
}

pub(super) fn trim_left(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (all, cutset) = trimmed(arguments, means)?;
    Ok(Value::from(all.trim_start_matches(&cutset[..])))
}

pub(super) fn trim_right(arguments: &[Value], means: &Means) -> Answer<Value> {
    let (all, cutset) = trimmed(arguments, means)?;
    Ok(Value::from(all.trim_end_matches(&cutset[..])))
}

/// Of Go's formats `%s`, `%v` and `%d`, of texts, whole numbers and booleans; as many as there are.
pub(super) fn sprintf(arguments: &[Value], means: &Means) -> Answer<Value> {
    let format = text(&arguments[0], "the format")?;
    let Value::Array(values) = &arguments[1] else {
        return Err("the values are no array".to_owned());
    };
    let mut values = values.iter();
    let mut made = String::new();
    let mut pieces = format.split('%');
    made.push_str(pieces.next().unwrap_or_default());
    while let Some(piece) = pieces.next() {
        let Some(verb) = piece.chars().next() else {
            // `%%`: what follows is after the second.
            made.push('%');
            made.push_str(pieces.next().ok_or("a format that ends in %")?);
            continue;
        };
        let value = values.next().ok_or("more verbs than values")?;
        let shown = shown(verb, value)?;
        means.take_text(shown.len())?;
        made.push_str(&shown);
        made.push_str(&piece[verb.len_utf8()..]);
    }
    if values.next().is_some() {
        return Err("more values than verbs".to_owned());
    }
    means.take_text(made.len())?;
    Ok(Value::from(made))
}

fn shown(verb: char, value: &Value) -> Answer<String> {
    match (verb, value) {
        ('s' | 'v', Value::String(text)) => Ok(text.to_string()),
        ('v', Value::Bool(value)) => Ok(value.to_string()),
        ('d' | 'v', Value::Number(_)) => match value.as_i64() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err("a number that is not whole".to_owned()),
        },
        _ => Err(format!("%{verb} of this value: %s, %v and %d of texts and whole numbers")),
    }
}
