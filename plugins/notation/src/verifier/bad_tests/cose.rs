//! The form of COSE, its maps written by hand, so that a label may be there twice.

use coset::cbor::{Value as Cbor, into_writer};

use super::*;
use crate::testing::{PAYLOAD, epoch, has_openssl, sign};

const MEDIA_TYPE: &str = "application/cose";
/// The number of the algorithm ES256, and the labels that are numbers.
const ES256: i64 = -7;
const ALGORITHM: i64 = 1;
const CRITICAL: i64 = 2;
const TYPE: i64 = 3;
const CHAIN: i64 = 33;
/// One of those that anybody may give a meaning.
const PRIVATE: i64 = -70_000;

fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}

fn number(number: i64) -> Cbor {
    Cbor::Integer(number.into())
}

fn texts(all: &[&str]) -> Cbor {
    Cbor::Array(all.iter().map(|one| text(one)).collect())
}

fn bytes(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    into_writer(value, &mut bytes).unwrap();
    bytes
}

/// Labels in their order, each perhaps more than once.
#[derive(Clone)]
struct Labels(Vec<(Cbor, Cbor)>);

impl Labels {
    fn map(&self) -> Cbor {
        Cbor::Map(self.0.clone())
    }

    fn get(&self, label: &Cbor) -> &Cbor {
        &self.0.iter().find(|(of, _)| of == label).unwrap().1
    }

    /// The same with another value for a label, which may be new.
    fn with(&self, label: &Cbor, value: Cbor) -> Self {
        let mut labels = self.clone();
        match labels.0.iter_mut().find(|(of, _)| of == label) {
            Some((_, kept)) => *kept = value,
            None => labels.0.push((label.clone(), value)),
        }
        labels
    }

    fn without(&self, label: &Cbor) -> Self {
        Self(self.0.iter().filter(|(of, _)| of != label).cloned().collect())
    }

    fn changed(&self, label: &Cbor, how: Change) -> Self {
        let value = self.get(label).clone();
        match how {
            Change::Twice => Self([&self.0[..], &[(label.clone(), value)]].concat()),
            Change::Removed => self.without(label),
            how => self.with(label, changed(&value, how)),
        }
    }
}

/// A value that is changed; bytes are of a signature in the end.
fn changed(value: &Cbor, how: Change) -> Cbor {
    match (value, how) {
        (_, Change::Null) => Cbor::Null,
        (_, Change::Number) => number(1),
        (Cbor::Bytes(bytes), how) => Cbor::Bytes(changed_bytes(bytes, bytes.len() - 1, how)),
        (Cbor::Text(text), how) => Cbor::Text(changed_text(text, how)),
        (Cbor::Array(items), Change::Cut) => Cbor::Array(items[..items.len() - 1].to_vec()),
        (Cbor::Array(_), Change::Empty) => Cbor::Array(Vec::new()),
        (Cbor::Array(items), how) => {
            Cbor::Array([&[changed(&items[0], how)], &items[1..]].concat())
        }
        (Cbor::Tag(_, value), Change::Cut) => (**value).clone(),
        (Cbor::Tag(_, value), Change::Flipped) => Cbor::Tag(0, value.clone()),
        (Cbor::Tag(tag, _), _) => Cbor::Tag(*tag, Box::new(text(""))),
        (_, Change::Cut) => Cbor::Bool(true),
        (Cbor::Integer(_), Change::Flipped) => number(ES256 ^ 1),
        _ => text(""),
    }
}

/// The signed headers of an envelope with everything.
fn protected() -> Labels {
    Labels(vec![
        (number(ALGORITHM), number(ES256)),
        (number(CRITICAL), texts(&[SCHEME, EXPIRY])),
        (number(TYPE), text(CONTENT_TYPE)),
        (text(SCHEME), text("notary.x509")),
        (text(SIGNING_TIME), epoch(1_714_979_289)),
        (text(EXPIRY), epoch(1_717_200_000)),
        (text("a"), text("an attribute")),
    ])
}

/// The four parts of an envelope.
#[derive(Clone)]
struct Parts {
    protected: Cbor,
    unprotected: Labels,
    payload: Cbor,
    signature: Cbor,
}

impl Parts {
    fn body(&self) -> Cbor {
        let Self { protected, unprotected, payload, signature } = self.clone();
        Cbor::Array(vec![protected, unprotected.map(), payload, signature])
    }

    fn bytes(&self) -> Vec<u8> {
        bytes(&Cbor::Tag(18, Box::new(self.body())))
    }
}

impl Lab {
    /// An envelope without a timestamp, signed as it must be, whatever is in it.
    fn cose(&self, protected: &Cbor, payload: &[u8]) -> Parts {
        let (protected, payload) = (Cbor::Bytes(bytes(protected)), Cbor::Bytes(payload.to_vec()));
        let external = Cbor::Bytes(Vec::new());
        let signed = [text("Signature1"), protected.clone(), external, payload.clone()];
        let signature = sign(&self.leaf.key, &bytes(&Cbor::Array(signed.to_vec())));
        let chain = self.chain().map(|one| Cbor::Bytes(one.der().to_vec()));
        let unprotected =
            Labels(vec![(number(CHAIN), Cbor::Array(chain.to_vec())), (text(AGENT), text("test"))]);
        Parts { protected, unprotected, payload, signature: Cbor::Bytes(signature) }
    }

    fn refusal_of_parts(&self, parts: &Parts) -> Option<String> {
        self.refusal(MEDIA_TYPE, &parts.bytes(), false)
    }

    fn refusal_of_labels(&self, protected: &Labels) -> Option<String> {
        self.refusal_of_parts(&self.cose(&protected.map(), PAYLOAD.as_bytes()))
    }

    fn refusal_of_payload(&self, payload: &[u8]) -> Option<String> {
        self.refusal_of_parts(&self.cose(&protected().map(), payload))
    }
}

/// A label as the tables show it.
fn shown(label: &Cbor) -> String {
    match label {
        Cbor::Text(text) => text.clone(),
        label => i128::from(label.as_integer().unwrap()).to_string(),
    }
}

#[test]
fn each_part_is_refused_that_is_cut_changed_empty_of_another_type_left_out_or_twice() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let mut whole = lab.cose(&protected().map(), PAYLOAD.as_bytes());
    let timestamp = Cbor::Bytes(lab.timestamp(whole.signature.as_bytes().unwrap()));
    whole.unprotected = whole.unprotected.with(&text(TIMESTAMP), timestamp);
    let timed = |parts: &Parts| lab.refusal(MEDIA_TYPE, &parts.bytes(), true);
    assert_eq!(timed(&whole), None, "all that is wrong below is what was changed");
    let mut table = Table::default();
    for (at, key) in ["protected", "unprotected", "payload", "signature"].iter().enumerate() {
        for how in CHANGES {
            let Cbor::Array(mut body) = whole.body() else { unreachable!() };
            match how {
                Change::Removed => drop(body.remove(at)),
                Change::Twice => body.insert(at, body[at].clone()),
                // What is JSON is changed where it stays JSON.
                Change::Flipped if *key == "payload" => {
                    body[at] = Cbor::Bytes(PAYLOAD.replace("abab", "cdcd").into_bytes());
                }
                Change::Cut | Change::Flipped if *key == "unprotected" => continue,
                Change::Empty if *key == "unprotected" => body[at] = Cbor::Map(Vec::new()),
                how => body[at] = changed(&body[at], how),
            }
            let changed = bytes(&Cbor::Tag(18, Box::new(Cbor::Array(body))));
            table.add(&format!("{key} {how:?}"), lab.refusal(MEDIA_TYPE, &changed, true));
        }
    }
    for label in [number(CHAIN), text(TIMESTAMP)] {
        for how in CHANGES {
            let unprotected = whole.unprotected.changed(&label, how);
            let refusal = timed(&Parts { unprotected, ..whole.clone() });
            table.add(&format!("{} {how:?}", shown(&label)), refusal);
        }
    }
    let with_chain = |chain: Cbor| {
        timed(&Parts {
            unprotected: whole.unprotected.with(&number(CHAIN), chain),
            ..whole.clone()
        })
    };
    let chain = whole.unprotected.get(&number(CHAIN)).as_array().unwrap();
    for (at, how) in (0..3).flat_map(|at| CHANGES.map(|how| (at, how))) {
        let mut chain = chain.clone();
        match how {
            Change::Removed => drop(chain.remove(at)),
            Change::Twice => chain.insert(at, chain[at].clone()),
            how => chain[at] = changed(&chain[at], how),
        }
        table.add(&format!("33[{at}] {how:?}"), with_chain(Cbor::Array(chain)));
    }
    table.add("33 of the leaf alone", with_chain(chain[0].clone()));
    table.add("33 of a text", with_chain(text("test")));
    assert_eq!(table.accepted(), Vec::<&str>::new());
    insta::assert_snapshot!(table.0);
}

/// The signer signed it so: what counts is what it says.
#[test]
fn each_label_and_field_that_is_signed_wrongly_is_refused() {
    let lab = Lab::new();
    assert_eq!(lab.refusal_of_labels(&protected()), None);
    let mut table = Table::default();
    for (label, _) in &protected().0 {
        for how in CHANGES {
            let refusal = lab.refusal_of_labels(&protected().changed(label, how));
            table.add(&format!("{} {how:?}", shown(label)), refusal);
        }
    }
    // An attribute is what the signer makes it.
    let free = CHANGES.iter().filter(|how| **how != Change::Twice).map(|how| format!("a {how:?}"));
    assert_eq!(table.accepted(), free.collect::<Vec<_>>());
    insta::assert_snapshot!(table.0);
}

#[test]
fn an_algorithm_a_critical_label_a_type_or_a_time_that_may_not_be_is_refused() {
    let lab = Lab::new();
    let mut table = Table::default();
    let algorithm = number(ALGORITHM);
    for (what, value) in [
        ("none", text("none")),
        ("ES256 by its name", text("ES256")),
        ("ES384", number(-35)),
        ("PS256", number(-37)),
        ("EdDSA", number(-8)),
        ("RS256", number(-257)),
        ("HMAC", number(5)),
        ("private", number(-65_537)),
        ("unknown", number(-9_999)),
        ("bytes", Cbor::Bytes(vec![0x26])),
        ("huge", Cbor::Integer(u64::MAX.into())),
    ] {
        table
            .add(&format!("1 {what}"), lab.refusal_of_labels(&protected().with(&algorithm, value)));
    }
    let mut elsewhere = lab.cose(&protected().without(&algorithm).map(), PAYLOAD.as_bytes());
    elsewhere.unprotected = elsewhere.unprotected.with(&algorithm, number(ES256));
    table.add("1 not signed", lab.refusal_of_parts(&elsewhere));
    let critical = |value| lab.refusal_of_labels(&protected().with(&number(CRITICAL), value));
    let with = |more: Cbor| Cbor::Array(vec![text(SCHEME), text(EXPIRY), more]);
    table.add("2 a", critical(with(text("a"))));
    table.add("2 b", critical(with(text("b"))));
    table.add("2 99", critical(with(number(99))));
    table.add("2 4", critical(with(number(4))));
    table.add("2 of a private number", critical(with(number(PRIVATE))));
    table.add("2 of a list", critical(with(Cbor::Array(Vec::new()))));
    table.add("2 of bytes", critical(with(Cbor::Bytes(b"a".to_vec()))));
    table.add("2 a text", critical(text(SCHEME)));
    for label in [4, PRIVATE] {
        let there = protected().with(&number(label), Cbor::Bytes(b"x".to_vec()));
        let there = there.with(&number(CRITICAL), with(number(label)));
        table.add(&format!("2 {label}, which is there"), lab.refusal_of_labels(&there));
    }
    for (what, value) in
        [("number", number(50)), ("unknown number", number(9_999)), ("other", text("text/plain"))]
    {
        table.add(
            &format!("3 {what}"),
            lab.refusal_of_labels(&protected().with(&number(TYPE), value)),
        );
    }
    for (what, value) in [
        ("float", Cbor::Tag(1, Box::new(Cbor::Float(1_714_979_289.5)))),
        ("negative", epoch(-1)),
        ("after the last year", epoch(253_402_300_800)),
        ("huge", Cbor::Tag(1, Box::new(Cbor::Integer(u64::MAX.into())))),
    ] {
        for label in [SIGNING_TIME, EXPIRY] {
            let refusal = lab.refusal_of_labels(&protected().with(&text(label), value.clone()));
            table.add(&format!("{label} {what}"), refusal);
        }
    }
    let clock = format!("{SIGNING_TIME} negative");
    assert_eq!(table.accepted(), [clock], "nobody has to believe a signer's clock");
    insta::assert_snapshot!(table.0);
}

#[test]
fn a_payload_that_is_none_or_not_of_the_image_is_refused() {
    let lab = Lab::new();
    let mut table = Table::default();
    for (what, payload) in [
        ("empty", String::new()),
        ("half", PAYLOAD[..40].to_owned()),
        ("null", "null".to_owned()),
        ("a list", "[]".to_owned()),
        ("of nothing", "{}".to_owned()),
        ("two", PAYLOAD.to_owned() + PAYLOAD),
        ("a key twice", PAYLOAD.replacen('{', r#"{"targetArtifact":{},"#, 1)),
        ("a field twice", PAYLOAD.replacen(r#""size":7"#, r#""size":7,"size":7"#, 1)),
        ("another digest", PAYLOAD.replace("abab", "cdcd")),
        ("another size", PAYLOAD.replace(":7", ":8")),
        ("another type", PAYLOAD.replace(".manifest.", ".index.")),
        ("size as a text", PAYLOAD.replace(":7", r#":"7""#)),
    ] {
        table.add(what, lab.refusal_of_payload(payload.as_bytes()));
    }
    let no_text = [PAYLOAD.as_bytes(), &[0xff]].concat();
    table.add("no UTF-8", lab.refusal_of_payload(&no_text));
    table.add("CBOR", lab.refusal_of_payload(&bytes(&Cbor::Map(Vec::new()))));
    assert_eq!(table.accepted(), Vec::<&str>::new());
    insta::assert_snapshot!(table.0);
}

#[test]
fn another_form_of_cbor_is_refused() {
    let lab = Lab::new();
    let whole = lab.cose(&protected().map(), PAYLOAD.as_bytes());
    let refusal = |bytes: &[u8]| lab.refusal(MEDIA_TYPE, bytes, false);
    let tagged = |tag: u64| bytes(&Cbor::Tag(tag, Box::new(whole.body())));
    let mut table = Table::default();
    table.add("untagged", refusal(&bytes(&whole.body())));
    for tag in [16, 17, 98, 55_799] {
        table.add(&format!("tag {tag}"), refusal(&tagged(tag)));
    }
    let twice = Cbor::Tag(18, Box::new(Cbor::Tag(18, Box::new(whole.body()))));
    table.add("tagged twice", refusal(&bytes(&twice)));
    table.add("a byte behind it", refusal(&[&tagged(18)[..], &[0]].concat()));
    table.add("two envelopes", refusal(&[tagged(18), tagged(18)].concat()));
    table.add("the last byte cut", refusal(&tagged(18)[..tagged(18).len() - 1]));
    table.add("in bytes", refusal(&bytes(&Cbor::Bytes(tagged(18)))));
    table.add("in a list", refusal(&bytes(&Cbor::Array(vec![Cbor::Bytes(tagged(18))]))));
    let endless = [&[0xd2, 0x9f][..], &bytes(&whole.body())[1..], &[0xff]].concat();
    table.add("a list that does not end", refusal(&endless[..endless.len() - 1]));
    let detached = Parts { payload: Cbor::Null, ..whole.clone() };
    table.add("payload detached", lab.refusal_of_parts(&detached));
    table.add(
        "headers none",
        lab.refusal_of_parts(&lab.cose(&Labels(Vec::new()).map(), PAYLOAD.as_bytes())),
    );
    table.add(
        "headers a list",
        lab.refusal_of_parts(&lab.cose(&Cbor::Array(Vec::new()), PAYLOAD.as_bytes())),
    );
    let unpacked = Parts { protected: protected().map(), ..whole.clone() };
    table.add("headers not in bytes", lab.refusal_of_parts(&unpacked));
    table.add("as JWS", lab.refusal("application/jose+json", &tagged(18), false));
    assert_eq!(table.accepted(), Vec::<&str>::new());
    insta::assert_snapshot!(table.0);
}

#[test]
fn what_is_not_signed_and_not_read_may_change_without_harm() {
    let lab = Lab::new();
    let whole = lab.cose(&protected().map(), PAYLOAD.as_bytes());
    let of = |unprotected: Labels| lab.refusal_of_parts(&Parts { unprotected, ..whole.clone() });
    for how in CHANGES.into_iter().filter(|how| *how != Change::Twice) {
        assert_eq!(
            of(whole.unprotected.changed(&text(AGENT), how)),
            None,
            "the agent's name {how:?}"
        );
    }
    let twice = whole.unprotected.changed(&text(AGENT), Change::Twice);
    assert!(of(twice).unwrap().ends_with("duplicate map key"));
    // What is said again where it is not signed has no say.
    for label in [text("x"), number(99), text(SCHEME), text(EXPIRY)] {
        assert_eq!(of(whole.unprotected.with(&label, text("none"))), None, "{label:?}");
    }
    for (label, value) in [(ALGORITHM, number(-35)), (TYPE, text("text/plain"))] {
        assert_eq!(of(whole.unprotected.with(&number(label), value)), None, "{label}");
    }
    let unended = [&[0xd2, 0x9f][..], &bytes(&whole.body())[1..], &[0xff]].concat();
    assert_eq!(lab.refusal(MEDIA_TYPE, &unended, false), None, "a list without its length");
    let private = protected().with(&number(PRIVATE), number(1));
    assert_eq!(lab.refusal_of_labels(&private), None, "an attribute");
    let critical = texts(&[SCHEME, SCHEME, EXPIRY]);
    let twice = protected().with(&number(CRITICAL), critical);
    assert_eq!(lab.refusal_of_labels(&twice), None, "critical twice is critical");
}
