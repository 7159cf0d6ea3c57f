//! [`DistinguishedName`]: a name in the notation of RFC 4514, as trusted identities give it, compared
//! as notation-go compares it: attribute by attribute, to the letter.

use std::collections::BTreeMap;

use crate::go;

/// One value for each attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DistinguishedName(BTreeMap<String, Vec<u8>>);

/// What every name must have.
const MANDATORY: [&str; 3] = ["C", "ST", "O"];

impl DistinguishedName {
    /// Reads a name and checks the Notary Project's rules: no attribute twice or beside another, and a
    /// country, a state and an organisation.
    ///
    /// # Errors
    /// notation-go's text of why not.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let shown = go::quoted(name);
        if name.contains("=#") {
            return Err(format!(
                "unsupported distinguished name (DN) {shown}: notation does not support x509.subject identities containing \"=#\""
            ));
        }
        let parts = parts(name).map_err(|reason| format!("parsing distinguished name (DN) {shown} failed with err: {reason}. A valid DN must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum, and follow RFC 4514 standard"))?;
        let mut attributes = BTreeMap::new();
        for part in parts {
            if part.is_beside_another {
                return Err(format!(
                    "distinguished name (DN) {shown} has multi-valued RDN attributes, remove multi-valued RDN attributes as they are not supported"
                ));
            }
            let type_ = if part.type_ == "S" { "ST".to_owned() } else { part.type_ };
            // As there, an empty value is none.
            if attributes.get(&type_).is_some_and(|value: &Vec<u8>| !value.is_empty()) {
                return Err(format!(
                    "distinguished name (DN) {shown} has duplicate RDN attribute for {}, DN can only have unique RDN attributes",
                    go::quoted(&type_)
                ));
            }
            attributes.insert(type_, part.value);
        }
        for field in MANDATORY {
            if attributes.get(field).is_none_or(Vec::is_empty) {
                return Err(format!(
                    "distinguished name (DN) {shown} has no mandatory RDN attribute for {}, it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum",
                    go::quoted(field)
                ));
            }
        }
        Ok(Self(attributes))
    }

    /// Whether another name has all of this one's attributes.
    pub(crate) fn is_part_of(&self, other: &Self) -> bool {
        let empty = Vec::new();
        self.0.iter().all(|(type_, value)| other.0.get(type_).unwrap_or(&empty) == value)
    }

    /// `%q` of Go's map.
    pub(crate) fn quoted(&self) -> String {
        let entry = |(type_, value): (&String, &Vec<u8>)| {
            format!("{}:{}", go::quoted(type_), go::quoted(&String::from_utf8_lossy(value)))
        };
        let entries: Vec<String> = self.0.iter().map(entry).collect();
        format!("map[{}]", entries.join(" "))
    }
}

struct Part {
    type_: String,
    value: Vec<u8>,
    /// Whether a plus sign joins it to another.
    is_beside_another: bool,
}

/// Splits at commas, semicolons and plus signs that are not escaped, and each part at its first equals
/// sign.
fn parts(name: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    if name.trim().is_empty() {
        return Ok(parts);
    }
    let mut type_: Option<String> = None;
    let (mut start, mut is_escaped, mut is_joined) = (0, false, false);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'=' if type_.is_none() => {
                let text = String::from_utf8(unescaped(&name[start..at])?);
                type_ = Some(text.map_err(|_| "an attribute's type is no text")?)
                    .filter(|type_| !type_.is_empty());
                start = at + 1;
            }
            b',' | b';' | b'+' => {
                let type_ = type_.take().ok_or("incomplete type, value pair")?;
                let value = unescaped(&name[start..at])?;
                let joins = byte == b'+';
                parts.push(Part { type_, value, is_beside_another: joins || is_joined });
                is_joined = joins;
                start = at + 1;
            }
            _ => {}
        }
    }
    let type_ = type_.ok_or("DN ended with incomplete type, value pair")?;
    let value = unescaped(&name[start..])?;
    parts.push(Part { type_, value, is_beside_another: is_joined });
    Ok(parts)
}

/// Without the spaces around it, and with what stands behind each backslash: a special character, or
/// two hexadecimal digits.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let trimmed = text.trim_matches(' ');
    // A space that is escaped stays.
    let keeps_space = trimmed.ends_with('\\') && text.ends_with(' ');
    let mut bytes = trimmed.bytes().chain(keeps_space.then_some(b' '));
    let mut unescaped = Vec::with_capacity(trimmed.len());
    let corrupted = || format!("got corrupted escaped character: '{trimmed}'");
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            unescaped.push(byte);
            continue;
        }
        let first = bytes.next().ok_or_else(corrupted)?;
        if matches!(first, b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') {
            unescaped.push(first);
            continue;
        }
        let second = bytes.next().ok_or_else(corrupted)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(first), Some(second)) = (digit(first), digit(second)) else {
            return Err("failed to decode escaped character: invalid byte".to_owned());
        };
        // Two digits are an octet.
        unescaped.push(u8::try_from(first * 16 + second).unwrap_or_default());
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> DistinguishedName {
        DistinguishedName::parse(name).unwrap()
    }

    #[test]
    fn a_name_is_part_of_one_that_has_more() {
        let whole = parse("CN=x,O=Lab,L=Seattle,ST=WA,C=US");
        for part in ["C=US,ST=WA,O=Lab", "C=US, S=WA, O=Lab, CN=x", "O=Lab;ST=WA;C=US"] {
            assert!(parse(part).is_part_of(&whole), "{part}");
        }
        for other in ["C=US,ST=WA,O=lab", "C=US,ST=WA,O=Lab,OU=x", "C=US,ST=WA,O=Lab,CN=y"] {
            assert!(!parse(other).is_part_of(&whole), "{other}");
        }
    }

    #[test]
    fn escapes_and_spaces_are_read() {
        let name = parse(r"CN=a\,b\20c\\x,O= Lab\  ,ST=\57A,C=US");
        assert_eq!(name.quoted(), r#"map["C":"US" "CN":"a,b c\\x" "O":"Lab " "ST":"WA"]"#);
    }

    #[test]
    fn refusals_are_notation_gos() {
        let refusal = |name: &str| DistinguishedName::parse(name).unwrap_err();
        insta::assert_snapshot!(refusal("C=US,ST=WA"), @r#"distinguished name (DN) "C=US,ST=WA" has no mandatory RDN attribute for "O", it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum"#);
        insta::assert_snapshot!(refusal(""), @r#"distinguished name (DN) "" has no mandatory RDN attribute for "C", it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum"#);
        insta::assert_snapshot!(refusal("C=US,C=DE"), @r#"distinguished name (DN) "C=US,C=DE" has duplicate RDN attribute for "C", DN can only have unique RDN attributes"#);
        insta::assert_snapshot!(refusal("C=US+ST=WA,O=x"), @r#"distinguished name (DN) "C=US+ST=WA,O=x" has multi-valued RDN attributes, remove multi-valued RDN attributes as they are not supported"#);
        insta::assert_snapshot!(refusal("C=#13"), @r#"unsupported distinguished name (DN) "C=#13": notation does not support x509.subject identities containing "=#""#);
        insta::assert_snapshot!(refusal("C=US,"), @r#"parsing distinguished name (DN) "C=US," failed with err: DN ended with incomplete type, value pair. A valid DN must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum, and follow RFC 4514 standard"#);
        for bad in [r"C=\", r"C=\zz", r"C=US\4", "US", ",", "=US,C=x"] {
            assert!(DistinguishedName::parse(bad).is_err(), "{bad}");
        }
    }
}
