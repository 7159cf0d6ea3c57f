//! What a timestamp says: the time, how exact it is, and about which bytes (RFC 3161, section 2.4.2).

use x509_cert::{
    der::{
        Decode as _, Reader as _, SliceReader, Tag, Tagged as _,
        asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
    },
    spki::AlgorithmIdentifierRef,
};

use crate::{certificate::Hash, moment::Moment};

/// The policy of ETSI EN 319 421, 0.4.0.2023.1.1, under which a time is exact to a second where nothing
/// is said. It is compared as it lies there: authorities name policies that some readers take for none.
const BASELINE_POLICY: [u8; 6] = [4, 0, 0x8f, 0x67, 1, 1];

/// A time that is known up to an accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) value: Moment,
    /// In nanoseconds, to both sides.
    accuracy: i64,
}

impl Interval {
    /// It was not before that.
    pub(crate) fn earliest(&self) -> Moment {
        self.value.plus_nanos(-self.accuracy)
    }

    /// It was not after that.
    pub(crate) fn latest(&self) -> Moment {
        self.value.plus_nanos(self.accuracy)
    }

    /// As messages show it.
    pub(crate) fn shown(&self) -> String {
        format!("[{}, {}]", self.earliest().rfc3339(), self.latest().rfc3339())
    }
}

/// What is signed of a token.
pub(super) struct Info<'a> {
    version: &'a [u8],
    policy: &'a [u8],
    hash: ObjectIdentifier,
    digest: &'a [u8],
    time: Moment,
    accuracy: Option<i64>,
}

impl<'a> Info<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
        let body = AnyRef::from_der(der)?;
        body.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(body.value())?;
        let version: AnyRef<'_> = reader.decode()?;
        version.tag().assert_eq(Tag::Integer)?;
        let policy: AnyRef<'_> = reader.decode()?;
        policy.tag().assert_eq(Tag::ObjectIdentifier)?;
        let imprint: AnyRef<'_> = reader.decode()?;
        let (hash, digest) = imprint.sequence(|reader| {
            let hash: AlgorithmIdentifierRef<'_> = reader.decode()?;
            let digest: OctetStringRef<'_> = reader.decode()?;
            Ok((hash.oid, digest.as_bytes()))
        })?;
        let _serial: AnyRef<'_> = reader.decode()?;
        let time: AnyRef<'_> = reader.decode()?;
        time.tag().assert_eq(Tag::GeneralizedTime)?;
        let time = Moment::parse_generalized(time.value())
            .ok_or_else(|| Tag::GeneralizedTime.value_error())?;
        let has_accuracy = !reader.is_finished() && reader.peek_tag()? == Tag::Sequence;
        let accuracy = match has_accuracy {
            true => Some(accuracy(reader.decode()?)?),
            false => None,
        };
        // What follows, an order, a nonce, a name and extensions, is for who asked for the token.
        while !reader.is_finished() {
            let _other: AnyRef<'_> = reader.decode()?;
        }
        Ok(Self { version: version.value(), policy: policy.value(), hash, digest, time, accuracy })
    }

    /// The time, where it is about these bytes.
    pub(super) fn time_of(&self, message: &[u8]) -> Result<Interval, String> {
        if self.version != [1] {
            return Err("invalid TSTInfo: timestamp token info version must be 1".to_owned());
        }
        let digest = Hash::of(self.hash).and_then(|hash| hash.digest(message));
        let digest = digest.ok_or_else(|| {
            format!("invalid TSTInfo: unrecognized hash algorithm: {}", self.hash)
        })?;
        if digest != self.digest {
            return Err("invalid TSTInfo: mismatched message".to_owned());
        }
        let accuracy = match self.accuracy.unwrap_or_default() {
            0 if self.policy == BASELINE_POLICY => 1_000_000_000,
            accuracy => accuracy,
        };
        Ok(Interval { value: self.time, accuracy })
    }
}

/// Seconds, thousandths (`[0]`) and millionths (`[1]`) of one, each of which may be left out.
fn accuracy(body: AnyRef<'_>) -> Result<i64, x509_cert::der::Error> {
    let mut reader = SliceReader::new(body.value())?;
    let mut nanos = 0_i64;
    while !reader.is_finished() {
        let part: AnyRef<'_> = reader.decode()?;
        let unit = match u8::from(part.tag()) {
            0x02 => 1_000_000_000,
            0x80 => 1_000_000,
            0x81 => 1_000,
            _ => return Err(part.tag().value_error()),
        };
        // A day at most: whoever is less exact tells no time.
        let number = part.value().iter().try_fold(0_i64, |number, byte| {
            let number = number * 256 + i64::from(*byte);
            (number < 86_400).then_some(number)
        });
        let number = number.ok_or_else(|| part.tag().value_error())?;
        nanos += number * unit;
    }
    Ok(nanos)
}
