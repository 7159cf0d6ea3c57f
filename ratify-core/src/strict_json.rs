//! JSON that means one thing: a document with a duplicate key is refused, at any depth.
//!
//! Two readers may take different values from `{"a":1,"a":2}`; what one of them proved, the other
//! does not see. Depth is bounded by serde_json (128), and so is, here, what the values take of memory:
//! an object of eight bytes of JSON becomes one of hundreds.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The values of one document take about as much memory at most. The longest manifest (4 MiB) of real
/// descriptors takes less.
const MOST_MEMORY: usize = 48 << 20;
/// What an object takes with its first eleven members, which are allotted together.
const OBJECT: usize = 11 * (size_of::<String>() + size_of::<Value>());

/// Parses one JSON document; a duplicate key anywhere is an error.
///
/// # Errors
/// When it is malformed or ambiguous, or takes too much memory.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MOST_MEMORY);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: &left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    /// How many bytes the values may still take.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| {
            E::custom(format_args!("it takes more than {MOST_MEMORY} bytes of memory"))
        })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            // A vector grows to twice what it holds.
            self.take(2 * size_of::<Value>())?;
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let members = if object.len().is_multiple_of(11) { OBJECT } else { 0 };
            self.take(members + key.len())?;
            let value = entries.next_value_seed(self)?;
            if object.contains_key(&key) {
                let key = crate::capped_line(&key, 80);
                return Err(A::Error::custom(format_args!("the key {key:?} is given twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = br#"{"a":[1,-2,3.5,null,true,"x"],"b":{"c":{}},"n":18446744073709551615}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn refuses_duplicate_keys_at_any_depth_trailing_bytes_and_deep_nesting() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"\u0061":1,"a":2}"#,
            "{} {}",
            "",
            &deep,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn a_document_takes_no_more_memory_than_it_may_and_real_ones_do_not() {
        let descriptor = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":1,"platform":{{"os":"linux","architecture":"arm64"}},"annotations":{{"a":"b"}}}}"#,
            "ab".repeat(32)
        );
        let of = |item: &str, bytes: usize| {
            format!("[{}]", vec![item; bytes / (item.len() + 1)].join(","))
        };
        assert!(parse(of(&descriptor, 4 << 20).as_bytes()).is_ok());
        for item in [r#"{"a":0}"#, r#"{"a":{"b":0}}"#, "0"] {
            let refused = parse(of(item, 4 << 20).as_bytes()).unwrap_err().to_string();
            assert!(refused.contains("more than 50331648 bytes of memory"), "{item}: {refused}");
        }
        assert!(parse(format!("\"{}\"", "x".repeat(4 << 20)).as_bytes()).is_ok());
    }
}
