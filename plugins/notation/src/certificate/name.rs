//! A name as Go's `pkix.Name` prints it. Reports, trusted identities and messages hold it, so it is
//! part of v1's contract, with what is odd about it: the nine usual attributes come in an order of
//! their own, several of one kind are joined, of several common names the last one counts.

use std::fmt::Write as _;

use x509_cert::{
    attr::AttributeTypeAndValue,
    der::{Tag, Tagged as _, asn1::ObjectIdentifier},
    name::Name,
};

/// The attributes that have names, in the order of their printing.
const NAMED: [(ObjectIdentifier, &str); 9] = [
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "POSTALCODE"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
];

/// The name; `None` where something in it is no text.
pub(super) fn go_text(name: &Name) -> Option<String> {
    let attributes = name.0.iter().flat_map(|set| set.0.iter());
    let attributes: Vec<(ObjectIdentifier, String)> = attributes
        .map(|attribute| Some((attribute.oid, text(attribute)?)))
        .collect::<Option<_>>()?;
    let mut parts = Vec::new();
    for (oid, type_) in NAMED {
        let mut values: Vec<&str> = attributes
            .iter()
            .filter(|(of, _)| *of == oid)
            .map(|(_, value)| value.as_str())
            .collect();
        if matches!(type_, "CN" | "SERIALNUMBER") {
            // Go keeps one of each, and leaves an empty one out.
            values = values.last().copied().filter(|value| !value.is_empty()).into_iter().collect();
        }
        let values: Vec<String> =
            values.into_iter().map(|value| format!("{type_}={}", escaped(value))).collect();
        if !values.is_empty() {
            parts.push(values.join("+"));
        }
    }
    let others = attributes.iter().filter(|(oid, _)| NAMED.iter().all(|(named, _)| named != oid));
    parts.extend(others.rev().map(|(oid, value)| format!("{oid}=#{}", der_hex(value))));
    Some(parts.join(","))
}

/// The text of an attribute, of the kinds of string that Go reads.
fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = attribute.value.value();
    let of_ascii = |is_allowed: fn(u8) -> bool| {
        let is_text = value.iter().copied().all(is_allowed);
        is_text.then(|| value.iter().copied().map(char::from).collect())
    };
    match attribute.value.tag() {
        Tag::Utf8String => String::from_utf8(value.to_vec()).ok(),
        Tag::PrintableString => of_ascii(|byte| is_printable(byte) || matches!(byte, b'*' | b'&')),
        Tag::Ia5String => of_ascii(|byte| byte.is_ascii()),
        Tag::NumericString => of_ascii(|byte| byte.is_ascii_digit() || byte == b' '),
        // T.61, which everybody takes for Latin-1.
        Tag::TeletexString => of_ascii(|_| true),
        Tag::BmpString => bmp(value),
        _ => None,
    }
}

fn bmp(value: &[u8]) -> Option<String> {
    if !value.len().is_multiple_of(2) {
        return None;
    }
    let value = value.strip_suffix(&[0, 0]).unwrap_or(value);
    let point = |pair: &[u8]| {
        let point = u32::from(pair[0]) << 8 | u32::from(pair[1]);
        let is_character = !matches!(point, 0xfffe | 0xffff | 0xfdd0..=0xfdef);
        char::from_u32(point).filter(|_| is_character)
    };
    value.chunks_exact(2).map(point).collect()
}

/// The characters of a PrintableString (X.680, section 41.4).
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'\''..=b')' | b'+'..=b'/' | b' ' | b':' | b'=' | b'?')
}

fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let is_special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == value.len() - 1,
            '#' => at == 0,
            _ => false,
        };
        if is_special {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A text as Go would write it in DER, in hexadecimal digits.
fn der_hex(value: &str) -> String {
    let tag = if value.bytes().all(is_printable) { 0x13 } else { 0x0c };
    let mut der = vec![tag];
    ratify_core::ber::push_length(value.len(), &mut der);
    der.extend_from_slice(value.as_bytes());
    der.iter().fold(String::new(), |mut hex, byte| {
        // A text takes whatever is written to it.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn shown(name: &str) -> String {
        go_text(&Name::from_str(name).unwrap()).unwrap()
    }

    #[test]
    fn the_usual_attributes_come_in_gos_order() {
        // From the last to the first, as RFC 4514 writes names.
        assert_eq!(
            shown("C=US,ST=WA,L=Seattle,O=Lab,OU=Unit,CN=x"),
            "CN=x,OU=Unit,O=Lab,L=Seattle,ST=WA,C=US"
        );
        assert_eq!(shown("CN=a,CN=b"), "CN=a");
        assert_eq!(shown("O=a,O=b,C=US"), "O=b+O=a,C=US");
    }

    #[test]
    fn what_has_no_name_stands_behind_as_der() {
        let shown = shown("DC=example,CN=x,DC=com");
        assert_eq!(
            shown,
            "CN=x,0.9.2342.19200300.100.1.25=#13076578616d706c65,0.9.2342.19200300.100.1.25=#1303636f6d"
        );
        assert_eq!(der_hex("a@b"), "0c03614062");
        assert_eq!(der_hex(&"a".repeat(200)).len(), 2 * 203);
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("#a, b=c "), "\\#a\\, b=c\\ ");
        assert_eq!(escaped(" "), "\\ ");
        assert_eq!(escaped("a#<>;+\"\\"), "a#\\<\\>\\;\\+\\\"\\\\");
    }

    #[test]
    fn texts_of_two_octets_a_character_are_read() {
        assert_eq!(bmp(&[0, 0x61, 0x30, 0x42, 0, 0]).as_deref(), Some("aあ"));
        for bad in [&[0][..], &[0xd8, 0][..], &[0xff, 0xff][..]] {
            assert_eq!(bmp(bad), None);
        }
    }
}
