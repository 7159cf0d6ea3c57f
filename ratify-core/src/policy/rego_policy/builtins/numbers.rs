//! Arithmetic that is exact, or fails. OPA computes with 64 binary digits, regorus with 53; where
//! a result needs no more than either has they agree.

use regorus::Value;

use super::{Answer, Means};

/// The places behind the binary point that are kept.
const SCALE: i128 = 1 << 20;
/// Beyond this a number with a fraction is not exact in a double.
const MAX_FRACTION: i128 = 1 << 53;
/// Texts of numbers are short.
const MAX_DIGITS: usize = 18;

/// A number times [`SCALE`].
pub(super) fn scaled(value: &Value) -> Answer<i128> {
    let Value::Number(_) = value else { return Err("an operand is no number".to_owned()) };
    if let Ok(number) = value.as_i64() {
        return Ok(i128::from(number) * SCALE);
    }
    let number = value.as_f64().map_err(|_| INEXACT.to_owned())?;
    // Twenty places fit: the fraction is looked at after they are in front of the point.
    let number = number * 1_048_576.0;
    if number.fract() == 0.0 && number.abs() < 9e15 {
        #[allow(clippy::cast_possible_truncation, reason = "it has no fraction and is small")]
        return Ok(number as i128);
    }
    Err(INEXACT.to_owned())
}

const INEXACT: &str = "a number is too large, or its fraction too long, to compute with exactly";

fn unscaled(number: i128) -> Answer<Value> {
    if number % SCALE == 0 {
        let whole = i64::try_from(number / SCALE).map_err(|_| INEXACT.to_owned())?;
        return Ok(Value::from(whole));
    }
    if number.abs() >= MAX_FRACTION {
        return Err(INEXACT.to_owned());
    }
    #[allow(clippy::cast_precision_loss, reason = "it has at most 53 binary digits")]
    Ok(Value::from(number as f64 / 1_048_576.0))
}

pub(super) fn plus(arguments: &[Value], _: &Means) -> Answer<Value> {
    unscaled(scaled(&arguments[0])? + scaled(&arguments[1])?)
}

pub(super) fn minus(a: &Value, b: &Value) -> Answer<Value> {
    unscaled(scaled(a)? - scaled(b)?)
}

pub(super) fn times(arguments: &[Value], _: &Means) -> Answer<Value> {
    let product = scaled(&arguments[0])?.checked_mul(scaled(&arguments[1])?);
    let product = product.filter(|product| product % SCALE == 0);
    unscaled(product.ok_or_else(|| INEXACT.to_owned())? / SCALE)
}

pub(super) fn divided(arguments: &[Value], _: &Means) -> Answer<Value> {
    let (dividend, divisor) = (scaled(&arguments[0])?, scaled(&arguments[1])?);
    if divisor == 0 {
        return Err("divide by zero".to_owned());
    }
    let dividend = dividend.checked_mul(SCALE).ok_or_else(|| INEXACT.to_owned())?;
    if dividend % divisor != 0 {
        return Err("a quotient that is not exact: compare products instead".to_owned());
    }
    unscaled(dividend / divisor)
}

pub(super) fn remainder(arguments: &[Value], _: &Means) -> Answer<Value> {
    let (dividend, divisor) = (scaled(&arguments[0])?, scaled(&arguments[1])?);
    if dividend % SCALE != 0 || divisor % SCALE != 0 {
        return Err("modulo on floating-point number".to_owned());
    }
    if divisor == 0 {
        return Err("modulo by zero".to_owned());
    }
    unscaled(dividend % divisor)
}

pub(super) fn abs(arguments: &[Value], _: &Means) -> Answer<Value> {
    unscaled(scaled(&arguments[0])?.abs())
}

pub(super) fn ceil(arguments: &[Value], _: &Means) -> Answer<Value> {
    let number = scaled(&arguments[0])?;
    unscaled(-((-number).div_euclid(SCALE)) * SCALE)
}

pub(super) fn floor(arguments: &[Value], _: &Means) -> Answer<Value> {
    unscaled(scaled(&arguments[0])?.div_euclid(SCALE) * SCALE)
}

/// Halves go away from zero.
pub(super) fn round(arguments: &[Value], _: &Means) -> Answer<Value> {
    let number = scaled(&arguments[0])?;
    let rounded = (number.abs() + SCALE / 2) / SCALE * SCALE;
    unscaled(rounded * number.signum())
}

pub(super) fn sum(arguments: &[Value], _: &Means) -> Answer<Value> {
    let mut total = 0_i128;
    for value in super::collections::elements(&arguments[0])? {
        total = total.checked_add(scaled(value)?).ok_or_else(|| INEXACT.to_owned())?;
    }
    unscaled(total)
}

/// A number as JSON writes it, without an exponent.
pub(super) fn to_number(arguments: &[Value], _: &Means) -> Answer<Value> {
    let text = match &arguments[0] {
        Value::Number(_) => return Ok(arguments[0].clone()),
        Value::Null => return Ok(Value::from(0_i64)),
        Value::Bool(value) => return Ok(Value::from(i64::from(*value))),
        Value::String(text) => text,
        _ => return Err("neither a number nor a text of one".to_owned()),
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let are_digits = digits.len() <= MAX_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = are_digits.then(|| Value::from_json_str(text).ok()).flatten();
    match number {
        Some(number @ Value::Number(_)) => Ok(number),
        _ => Err("a text that is no number, or one too long to be exact".to_owned()),
    }
}
