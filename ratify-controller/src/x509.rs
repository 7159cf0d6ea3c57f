//! As much of DER and X.509 as we have to know of a certificate ourselves: its names, its dates,
//! and whether it may sign others. Signatures are left to the library that TLS uses. The most
//! important item is [`Facts`].

use jiff::Timestamp;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tags of the version and of the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// id-ce-keyUsage, id-ce-basicConstraints.
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
/// keyCertSign is the sixth bit of the first byte.
const KEY_CERT_SIGN: u8 = 0x04;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Its subject, attribute by attribute.
    pub(crate) subject: Vec<Attribute>,
    /// Whether it is an authority that may sign certificates.
    pub(crate) may_sign: bool,
}

/// One attribute of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) oid: Vec<u64>,
    /// The tag of the string that follows.
    pub(crate) tag: u8,
    pub(crate) value: Vec<u8>,
}

/// Elements, one after another.
struct Reader<'a>(&'a [u8]);

impl Facts {
    /// Reads a certificate; `None` where it is none.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let mut outer = Reader(Reader(certificate).expect(SEQUENCE)?);
        let mut body = Reader(outer.expect(SEQUENCE)?);
        body.optional(VERSION);
        body.expect(INTEGER)?;
        body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut validity = Reader(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = name(body.expect(SEQUENCE)?)?;
        body.expect(SEQUENCE)?;
        let may_sign = match body.last(EXTENSIONS) {
            Some(extensions) => may_sign(extensions)?,
            None => false,
        };
        Some(Self { not_before, not_after, subject, may_sign })
    }
}

/// The key inside of a PKCS#8 envelope, which is PKCS#1 where it is RSA's.
pub(crate) fn inner_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let mut envelope = Reader(Reader(pkcs8).expect(SEQUENCE)?);
    envelope.expect(INTEGER)?;
    envelope.expect(SEQUENCE)?;
    envelope.expect(OCTET_STRING)
}

fn name(rdns: &[u8]) -> Option<Vec<Attribute>> {
    let (mut rdns, mut attributes) = (Reader(rdns), Vec::new());
    while !rdns.0.is_empty() {
        let mut set = Reader(rdns.expect(SET)?);
        let mut attribute = Reader(set.expect(SEQUENCE)?);
        let oid = object_identifier(attribute.expect(OBJECT_IDENTIFIER)?)?;
        let (tag, value) = attribute.next()?;
        // Two attributes side by side are no name that could be written again.
        if !set.0.is_empty() {
            return None;
        }
        attributes.push(Attribute { oid, tag, value: value.to_vec() });
    }
    Some(attributes)
}

fn object_identifier(bytes: &[u8]) -> Option<Vec<u64>> {
    let (mut numbers, mut number) = (Vec::new(), 0u64);
    for byte in bytes {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let first = numbers.first().copied()?;
    let root = (first / 40).min(2);
    numbers[0] = first.checked_sub(root * 40)?;
    numbers.insert(0, root);
    Some(numbers)
}

/// Whether basic constraints say that it is an authority, and key usages, if any, that it may sign.
fn may_sign(extensions: &[u8]) -> Option<bool> {
    let mut extensions = Reader(Reader(extensions).expect(SEQUENCE)?);
    let (mut is_authority, mut signs) = (false, true);
    while !extensions.0.is_empty() {
        let mut extension = Reader(extensions.expect(SEQUENCE)?);
        let oid = extension.expect(OBJECT_IDENTIFIER)?;
        extension.optional(BOOLEAN);
        let mut value = Reader(extension.expect(OCTET_STRING)?);
        if oid == BASIC_CONSTRAINTS {
            let mut constraints = Reader(value.expect(SEQUENCE)?);
            is_authority = constraints.optional(BOOLEAN).is_some_and(|flag| flag != [0]);
        } else if oid == KEY_USAGE {
            // The first byte counts the bits that are none.
            let bits = value.expect(BIT_STRING)?;
            signs = bits.get(1).is_some_and(|byte| byte & KEY_CERT_SIGN != 0);
        }
    }
    Some(is_authority && signs)
}

impl<'a> Reader<'a> {
    /// The next element: its tag and what is in it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (inside, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, inside))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, inside)| inside)
    }

    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }

    /// The first element of this tag among those that are left.
    fn last(&mut self, tag: u8) -> Option<&'a [u8]> {
        while let Some((found, inside)) = self.next() {
            if found == tag {
                return Some(inside);
            }
        }
        None
    }

    fn time(&mut self) -> Option<Timestamp> {
        let (tag, text) = self.next()?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year: i16 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
        let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
        let time = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms_and_nothing_else() {
        let time = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            Reader(&bytes).time().map(|time| time.to_string())
        };
        assert_eq!(time(UTC_TIME, "261125123456Z").unwrap(), "2026-11-25T12:34:56Z");
        assert_eq!(time(UTC_TIME, "991231235959Z").unwrap(), "1999-12-31T23:59:59Z");
        assert_eq!(time(GENERALIZED_TIME, "20501231235959Z").unwrap(), "2050-12-31T23:59:59Z");
        for wrong in ["", "Z", "2611251234Z", "26112512345+Z", "261325123456Z", "261125123456"] {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(time(0x16, "261125123456Z"), None);
    }

    #[test]
    fn an_object_identifier_is_taken_apart() {
        assert_eq!(object_identifier(&[0x55, 4, 3]).unwrap(), [2, 5, 4, 3]);
        let domain = [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
        assert_eq!(object_identifier(&domain).unwrap(), [0, 9, 2342, 19200300, 100, 1, 25]);
        assert_eq!(object_identifier(&[]), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert;
        let bytes = certificate.der().to_vec();
        assert!(!Facts::read(&bytes).unwrap().may_sign);
        for at in 0..bytes.len() {
            let _ = Facts::read(&bytes[..at]);
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let _ = Facts::read(&other);
                let _ = inner_key(&other);
            }
        }
    }
}
