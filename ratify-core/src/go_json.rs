//! JSON as v1's Go program writes it, so that what reads it sees no difference.
//!
//! Two things differ from serde_json: Go writes a float that is whole without a fraction (a Go
//! `int` refuses `1000.0`), and Go's default encoder escapes `<`, `>`, `&` and two line separators.

use std::io;

use serde::Serialize;
use serde_json::{
    Map, Value,
    ser::{CompactFormatter, Formatter, PrettyFormatter},
};

/// One line as Go's `json.Marshal` writes it: compact, HTML characters escaped.
///
/// # Errors
/// When the value cannot be JSON (a map with other keys than strings).
pub fn to_string(value: &impl Serialize) -> serde_json::Result<String> {
    write(value, GoFormatter { inner: CompactFormatter, escape_html: true })
}

/// As v1's command line prints: two spaces of indentation, nothing escaped needlessly.
///
/// # Errors
/// As [`to_string`].
pub fn to_string_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    write(value, GoFormatter { inner: PrettyFormatter::with_indent(b"  "), escape_html: false })
}

/// As a v1 plugin prints its errors: four spaces of indentation.
///
/// # Errors
/// As [`to_string`].
pub fn to_string_indented_by_four(value: &impl Serialize) -> serde_json::Result<String> {
    write(value, GoFormatter { inner: PrettyFormatter::with_indent(b"    "), escape_html: true })
}

/// Appends a text as [`to_string`] writes it.
///
/// # Errors
/// Never in practice.
pub fn push_string(text: &str, to: &mut String) -> serde_json::Result<()> {
    let is_plain =
        |byte: u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
    // All of them, without an end in between, is many at a time.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        to.push('"');
        to.push_str(text);
        to.push('"');
        return Ok(());
    }
    to.push_str(&to_string(&text)?);
    Ok(())
}

/// Whether Go's decoder takes a name for a key: in any case, and two letters beyond ASCII, the long s
/// and the sign of the kelvin, for the ones that they fold to.
pub fn is_key(name: &str, key: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(key);
    }
    name.replace('\u{17f}', "s").replace('\u{212a}', "k").eq_ignore_ascii_case(key)
}

/// The member of an object that Go's decoder takes for a key.
///
/// # Errors
/// When there are two: which one is meant is a guess, and Go takes something of both.
pub fn member<'a>(
    object: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Value>, TwoSpellings> {
    let mut found = object.iter().filter(|(name, _)| is_key(name, key)).map(|(_, value)| value);
    let first = found.next();
    if found.next().is_none() { Ok(first) } else { Err(TwoSpellings(key.to_owned())) }
}

/// An object has a key in two spellings.
#[derive(Debug, thiserror::Error)]
#[error("{0} is there in two spellings")]
pub struct TwoSpellings(String);

/// Whether it is another spelling of a key: some readers take it for that one, others do not.
pub fn is_misspelt(name: &str, key: &str) -> bool {
    name != key && is_key(name, key)
}

fn write<F: Formatter>(value: &impl Serialize, formatter: F) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

struct GoFormatter<F> {
    inner: F,
    escape_html: bool,
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(go_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.escape_html {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut characters = rest[at..].chars();
            if let Some(c) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.begin_array(w)
    }
    fn end_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.end_array(w)
    }
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.inner.begin_array_value(w, first)
    }
    fn end_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.end_array_value(w)
    }
    fn begin_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.begin_object(w)
    }
    fn end_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.end_object(w)
    }
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.inner.begin_object_key(w, first)
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.begin_object_value(w)
    }
    fn end_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.inner.end_object_value(w)
    }
}

/// Go's `encoding/json` rule: the shortest digits, in exponent form below 1e-6 and from 1e21 on.
fn go_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if exponent.starts_with('-') => format!("{digits}e{exponent}"),
            Some((digits, exponent)) => format!("{digits}e+{exponent}"),
            None => text,
        };
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_found_as_go_finds_it() {
        for name in ["tasks", "TASKS", "ta\u{17f}ks", "tas\u{212a}\u{17f}"] {
            assert!(is_key(name, "tasks"), "{name}");
        }
        for name in ["task", "t\u{e4}sks", "tasks ", ""] {
            assert!(!is_key(name, "tasks"), "{name}");
        }
    }

    #[test]
    fn of_a_key_in_two_spellings_none_is_taken() {
        let object = json!({"Tasks": 1, "task": 2, "a": null, "ſ": 3, "S": 4});
        let of = |key: &str| {
            let found = member(object.as_object().unwrap(), key);
            found.map(|found| found.map(Value::to_string)).map_err(|error| error.to_string())
        };
        assert_eq!(of("tasks"), Ok(Some("1".to_owned())));
        assert_eq!(of("A"), Ok(Some("null".to_owned())));
        assert_eq!(of("b"), Ok(None));
        assert_eq!(of("s"), Err("s is there in two spellings".to_owned()));
    }

    #[test]
    fn writes_numbers_as_go_does_and_keeps_integers_exact() {
        let text = r#"[1000.0,1e3,0.1,-0.5,1e21,1.5e300,1e-7,1e20,9007199254740993,18446744073709551615,-9223372036854775808]"#;
        let value: Value = serde_json::from_str(text).unwrap();
        insta::assert_snapshot!(to_string(&value).unwrap(), @"[1000,1000,0.1,-0.5,1e+21,1.5e+300,1e-7,100000000000000000000,9007199254740993,18446744073709551615,-9223372036854775808]");
    }

    #[test]
    fn escapes_html_only_where_go_does() {
        let value = json!({"<k&>": "a<b>&c\u{2028}d\u{2029}\"e\n"});
        insta::assert_snapshot!(to_string(&value).unwrap(), @r#"{"\u003ck\u0026\u003e":"a\u003cb\u003e\u0026c\u2028d\u2029\"e\n"}"#);
        assert!(to_string_pretty(&value).unwrap().contains("a<b>&c"));
    }

    #[test]
    fn a_text_is_appended_as_it_is_written_alone() {
        for text in ["", "plain ~", "a\"b", "a\\b", "<", ">", "&", "\u{2028}", "\u{7f}", "é\n\u{0}"]
        {
            let mut appended = "x".to_owned();
            push_string(text, &mut appended).unwrap();
            assert_eq!(appended, format!("x{}", to_string(&text).unwrap()), "{text:?}");
        }
    }

    #[test]
    fn prints_as_the_command_line_and_as_a_plugins_error() {
        insta::assert_snapshot!(to_string_pretty(&json!({"a": [1, {}], "b": []})).unwrap(), @r#"
        {
          "a": [
            1,
            {}
          ],
          "b": []
        }
        "#);
        insta::assert_snapshot!(to_string_indented_by_four(&json!({"code": 6})).unwrap(), @r#"
        {
            "code": 6
        }
        "#);
    }
}
