//! JSON that means one thing: a document with a duplicate key is refused, at any depth.
//!
//! Two readers may take different values from `{"a":1,"a":2}`; what one of them proved, the other
//! does not see. So a document is walked through before anything is made of it; of it only the names in
//! open objects are kept meanwhile. Depth is bounded by serde_json (128), and so is, here, what the
//! values will take of memory: an object of eight bytes of JSON becomes one of hundreds.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Error, Value};

/// The values of one document take about as much memory at most. The longest manifest (4 MiB) of real
/// descriptors takes less.
const MOST_MEMORY: usize = 48 << 20;
/// What an object takes with its first eleven members, which are allotted together.
const OBJECT: usize = 11 * (size_of::<String>() + size_of::<Value>());

/// The names of an object's members.
pub type Names<'a> = BTreeSet<Cow<'a, str>>;

/// Which names an object may have, by those of the members that it is in: none for the document
/// itself. Of lists nothing is said.
pub type Rule<'a> = dyn Fn(&[Cow<'_, str>], &Names<'_>) -> Result<(), String> + 'a;

/// Reads one JSON document; a duplicate key anywhere is an error.
///
/// # Errors
/// When it is malformed, ambiguous or something else, or takes too much memory.
pub fn read<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    read_by(json, &|_, _| Ok(()))
}

/// Reads one JSON document, all objects of which also keep a rule.
///
/// # Errors
/// As [`read`], and when one does not: the rule's own text.
pub fn read_by<'de, T: Deserialize<'de>>(json: &'de [u8], rule: &Rule<'_>) -> Result<T, Error> {
    let mut walk = Walk { rule, left: MOST_MEMORY, within: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    walk.deserialize(&mut deserializer)?;
    deserializer.end()?;
    serde_json::from_slice(json)
}

/// A walk through all values of a document.
struct Walk<'a, 'de> {
    rule: &'a Rule<'a>,
    /// How many bytes the values may still take.
    left: usize,
    /// The names of the members that it is in.
    within: Vec<Cow<'de, str>>,
}

/// A name; one without escapes is not copied.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Walk<'_, '_> {
    fn take<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            E::custom(format_args!("it takes more than {MOST_MEMORY} bytes of memory"))
        })?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(()) = items.next_element_seed(&mut *self)? {
            // A vector grows to twice what it holds.
            self.take(2 * size_of::<Value>())?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = Names::new();
        while let Some(Name(name)) = members.next_key()? {
            self.take(name.len() + if names.len().is_multiple_of(11) { OBJECT } else { 0 })?;
            if names.contains(&name) {
                let name = crate::capped_line(&name, 80);
                return Err(A::Error::custom(format_args!("the key {name:?} is given twice")));
            }
            self.within.push(name);
            members.next_value_seed(&mut *self)?;
            names.extend(self.within.pop());
        }
        (self.rule)(&self.within, &names).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &[u8]) -> Result<Value, Error> {
        read(json)
    }
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

    #[test]
    fn a_document_is_walked_through_before_anything_is_made_of_it() {
        #[derive(Debug, Deserialize)]
        struct Known {
            a: Vec<u8>,
        }
        assert_eq!(read::<Known>(br#"{"a":[1],"b":{"c":1}}"#).unwrap().a, [1]);
        let unread = read::<Known>(br#"{"a":[1],"b":{"c":1,"c":1}}"#).unwrap_err().to_string();
        assert_eq!(unread, r#"the key "c" is given twice at line 1 column 23"#);
        let other = read::<Known>(br#"{"a":[256]}"#).unwrap_err().to_string();
        assert!(other.starts_with("invalid value: integer `256`"), "{other}");
    }

    /// Why a document is refused, and how many of its bytes were read until then.
    fn refusal(json: &str) -> (String, usize) {
        let error = read::<serde::de::IgnoredAny>(json.as_bytes()).unwrap_err();
        assert_eq!(error.line(), 1, "{error}");
        (error.to_string(), error.column())
    }

    #[test]
    fn of_what_is_endless_only_a_part_is_read() {
        for open in ["[", r#"{"a":"#, r#"[{"a":"#] {
            let (refused, read) = refusal(&open.repeat((48 << 20) / open.len()));
            assert!(refused.starts_with("recursion limit exceeded"), "{refused}");
            assert!(read <= 128 * open.len(), "{open}: {read}");
        }
        // Each name takes more in an object than in a document.
        let names: Vec<String> = (0..1_000_000).map(|name| format!("\"{name}\":0")).collect();
        let (refused, read) = refusal(&format!("{{{}}}", names.join(",")));
        assert!(refused.contains("bytes of memory"), "{refused}");
        assert!(read < MOST_MEMORY / 4, "{read}");
        let (refused, read) = refusal(&format!("[{}", "0,".repeat(1 << 20)));
        assert!(refused.contains("bytes of memory"), "{refused}");
        assert!(read < MOST_MEMORY / 16, "{read}");
    }

    #[test]
    fn a_name_is_the_same_however_it_is_escaped() {
        let one = [r"\u0061/é", r"a\/é", r"a/\u00e9", r"\u0061\u002f\u00E9", r"a\u002F\u00e9"];
        for name in one {
            let (refused, read) = refusal(&format!("{{\"a/é\":0,\"{name}\":{}", "[".repeat(99)));
            assert!(refused.starts_with(r#"the key "a/é" is given twice"#), "{refused}");
            assert!(read < 12 + name.len() + 4, "{read}");
        }
        assert!(read::<Value>(br#"{"\u0061":0,"\u0041":0,"\\u0061":0,"":0,"\u0000":0}"#).is_ok());
    }

    #[test]
    fn only_names_of_open_objects_are_kept_and_a_rule_is_told_where_they_are() {
        let told = std::cell::RefCell::new(Vec::new());
        let rule = |within: &[Cow<'_, str>], names: &Names<'_>| {
            told.borrow_mut().push(format!("{within:?} {names:?}"));
            if names.contains("no") { Err("it says no".to_owned()) } else { Ok(()) }
        };
        let json = br#"{"a":[[{"b":{"c":0}}],{"\u0062":1}],"d":{}}"#;
        read_by::<Value>(json, &rule).unwrap();
        let expected = [
            r#"["a", "b"] {"c"}"#,
            r#"["a"] {"b"}"#,
            r#"["a"] {"b"}"#,
            r#"["d"] {}"#,
            r#"[] {"a", "d"}"#,
        ];
        assert_eq!(told.take(), expected);
        let refused = read_by::<Value>(br#"[{"a":{"no":0}},{"a"#, &rule).unwrap_err().to_string();
        assert_eq!(refused, "it says no at line 1 column 14");
    }
}
