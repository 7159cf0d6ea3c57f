//! What `ratify verify` is asked about signatures of the Notary Project, under both hosts.

use serde_json::{Value, json};

use super::{
    forms::Forms,
    notation_plugins,
    rows::*,
    signing::{KEYS, REVOCABLE, SIGNATURE},
    verify_cases::{Case, clear},
};

/// One signed image, of a key whose root is trusted.
const GOOD: &str = "{api}/p256-jws:v1";

/// As a process it has all but the lists of revoked certificates, whoever knows of them, and plugins of
/// Notation.
pub(super) const FORMS: Forms = Forms {
    type_: "notation",
    fetching: &[
        "responder-good",
        "responder-revoked",
        "list-good",
        "list-long",
        "list-revoked",
        "list-stands-in",
        "responder-unsure",
        "responder-hangs",
        "list-missing",
        "list-too-long",
        "list-too-long-in-chunks",
        "revocation that is not known, strict",
    ],
    unlike: "revocation status is unknown",
    under_v1: &["a verifier with a type", "strict and untrusted"],
};

/// A verifier whose trust store is the one of a key, with these changes to its policy statement.
fn verifier(trusted: &str, changes: &Value) -> Value {
    let mut statement = json!({
        "name": "default",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:certs"],
        "trustedIdentities": ["*"],
    });
    for (key, value) in changes.as_object().unwrap() {
        statement[key] = value.clone();
    }
    json!({
        "name": "notation",
        "artifactTypes": SIGNATURE,
        "verificationCerts": [format!("{{notary}}/{trusted}/trusted")],
        "trustPolicyDoc": {"version": "1.0", "trustPolicies": [statement]},
    })
}

pub(super) fn with(trusted: &str, changes: Value) -> Value {
    clear(json!([verifier(trusted, &changes)]))
}

/// The same with another value for a key of the verifier.
fn entry(key: &str, value: Value) -> Value {
    let mut verifier = verifier("p256", &json!({}));
    verifier[key] = value;
    clear(json!([verifier]))
}

pub(super) fn notation_cases() -> Vec<Case> {
    [
        good(),
        levels(),
        identities(),
        scopes(),
        wrong_signatures(),
        revocation(),
        timestamps(),
        wrong_configurations(),
        notation_plugins::cases(),
    ]
    .concat()
}

fn good() -> Vec<Case> {
    let of_key = |key: &'static str, form: &str| {
        let subject: &'static str = format!("{{api}}/{key}-{form}:v1").leak();
        Case::new(subject, subject, with(key, json!({})))
    };
    let all = KEYS.iter().flat_map(|key| ["jws", "cose"].map(|form| of_key(key, form)));
    let mut typed = verifier("p256", &json!({}));
    typed["type"] = "notation".into();
    typed["name"] = "signatures".into();
    all.chain([
        Case::new("a certificate that signed itself", "{api}/alone:v1", with("alone", json!({}))),
        Case::new("a signature that expires tomorrow", "{api}/expires:v1", with("p256", json!({}))),
        Case::new("a verifier with a type", GOOD, clear(json!([typed]))),
    ])
    .collect()
}

fn levels() -> Vec<Case> {
    let level = |level: Value| json!({"signatureVerification": level});
    let skip = json!({
        "signatureVerification": {"level": "skip"}, "trustStores": [], "trustedIdentities": [],
    });
    let audited = json!({"level": "audit"});
    let without_revocation = json!({"level": "strict", "override": {"revocation": "skip"}});
    vec![
        Case::new("strict and untrusted", GOOD, with("p384", json!({}))),
        Case::new(
            "permissive and untrusted",
            GOOD,
            with("p384", level(json!({"level": "permissive"}))),
        ),
        Case::new("audit and untrusted", GOOD, with("p384", level(audited.clone()))),
        Case::new(
            "audit and changed",
            "{api}/changed-jws:v1",
            with("p256", level(audited.clone())),
        ),
        Case::new("audit and another's", "{api}/of-another-jws:v1", with("p256", level(audited))),
        Case::new("skip", GOOD, with("p256", skip)).differs(&[NOTATION_SKIP]),
        Case::new(
            "revocation that is not known, strict",
            "{api}/revocable:v1",
            with("revocable", json!({})),
        )
        .differs(&[NOTATION_REVOCATION]),
        Case::new(
            "revocation that is not known, permissive",
            "{api}/revocable:v1",
            with("revocable", level(json!({"level": "permissive"}))),
        ),
        Case::new(
            "revocation that is not asked for",
            "{api}/revocable:v1",
            with("revocable", level(without_revocation)),
        ),
        Case::new(
            "a timestamp that is not there",
            GOOD,
            with("p256", json!({"trustStores": ["ca:certs", "tsa:certs"]})),
        ),
        Case::new(
            "a timestamp that is not needed yet",
            GOOD,
            with(
                "p256",
                json!({
                    "trustStores": ["ca:certs", "tsa:certs"],
                    "signatureVerification": {"level": "strict", "verifyTimestamp": "afterCertExpiry"},
                }),
            ),
        ),
        Case::new(
            "no store for the scheme",
            GOOD,
            with("p256", json!({"trustStores": ["signingAuthority:certs"]})),
        ),
    ]
}

fn identities() -> Vec<Case> {
    let named = |names: Value| with("p256", json!({"trustedIdentities": names}));
    let whole = r"x509.subject: CN=p256,O=Lab\, #1,L=Seattle,ST=WA,C=US";
    vec![
        Case::new("the identity in full", GOOD, named(json!([whole]))),
        Case::new(
            "a part of the identity",
            GOOD,
            named(json!([r"x509.subject: C=US, S=WA, O=Lab\, #1"])),
        ),
        Case::new(
            "two others' identities",
            GOOD,
            named(json!([
                "x509.subject: C=US,ST=WA,O=Lab",
                r"x509.subject: C=US,ST=WA,O=Lab\, #1,CN=x"
            ])),
        ),
        Case::new("an identity for a plugin alone", GOOD, named(json!(["arn:aws:x"]))),
        Case::new("an identity for a plugin beside ours", GOOD, named(json!(["arn:aws:x", whole]))),
    ]
}

fn scopes() -> Vec<Case> {
    let of = |scopes: Value| with("p256", json!({"registryScopes": scopes}));
    vec![
        Case::new("the scope of the image", GOOD, of(json!(["{api}/p256-jws"]))),
        Case::new("the scope of another image", GOOD, of(json!(["{api}/p256-cose"]))),
    ]
}

fn wrong_signatures() -> Vec<Case> {
    let of = |name: &'static str| {
        let subject: &'static str = format!("{{api}}/{name}:v1").leak();
        Case::new(name, subject, with("p256", json!({})))
    };
    vec![
        of("of-another-jws"),
        of("of-another-cose"),
        of("changed-jws"),
        of("changed-cose"),
        of("other-media-type"),
        of("two-layers"),
        of("no-layer"),
        of("empty-object"),
    ]
}

fn revocation() -> Vec<Case> {
    let of = |name: &'static str| {
        let subject: &'static str = format!("{{api}}/{name}:v1").leak();
        let case = Case::new(name, subject, with(name, json!({})));
        let is_known = name.ends_with("-good") || name.ends_with("-revoked");
        match is_known || ["list-stands-in", "list-long"].contains(&name) {
            true => case,
            false => case.differs(&[NOTATION_REVOCATION]),
        }
    };
    REVOCABLE.iter().map(|(name, ..)| of(name)).collect()
}

/// Cases with a store of timestamp authorities: `trusted` is whose.
fn timestamps() -> Vec<Case> {
    let of = |name: &'static str, image: &str, key: &str, trusted: &str, changes: &Value| {
        let subject: &'static str = format!("{{api}}/{image}:v1").leak();
        let mut verifier = verifier(key, changes);
        let stores = json!(["ca:certs", "tsa:certs"]);
        verifier["trustPolicyDoc"]["trustPolicies"][0]["trustStores"] = stores;
        let path = |name: &str| format!("{{notary}}/{name}/trusted");
        verifier["verificationCerts"] = json!([path(key), path(trusted)]);
        Case::new(name, subject, clear(json!([verifier])))
    };
    let strict = &json!({});
    let permissive = &json!({"signatureVerification": {"level": "permissive"}});
    vec![
        of("a time in JWS", "stamped-jws", "rsa2048", "tsa", strict),
        of("a time in COSE", "stamped-cose", "p384", "tsa", strict),
        of("a time that may be before the signature", "stamped-roughly", "p384", "tsa", strict),
        of("a time of nobody who is trusted", "stamped-jws", "rsa2048", "p384", strict)
            .differs(&[NOTATION_TIME]),
        of("a time of nobody, permissive", "stamped-jws", "rsa2048", "p384", permissive),
        of("the time of another signature", "stamped-of-another", "rsa2048", "tsa", strict),
    ]
}

fn wrong_configurations() -> Vec<Case> {
    let policy = |document: Value| entry("trustPolicyDoc", document);
    let stores = |value: Value| entry("verificationCertStores", value);
    vec![
        Case::new("no trust policy", GOOD, policy(Value::Null)),
        Case::new("an empty trust policy", GOOD, policy(json!({"version": "1.0"}))),
        Case::new(
            "an unknown level",
            GOOD,
            with("p256", json!({"signatureVerification": {"level": "x"}})),
        ),
        Case::new(
            "an identity that lacks parts",
            GOOD,
            with("p256", json!({"trustedIdentities": ["x509.subject: C=US"]})),
        ),
        Case::new(
            "a scope with a wildcard",
            GOOD,
            with("p256", json!({"registryScopes": ["a.io/*"]})),
        ),
        Case::new(
            "a store of an unknown type",
            GOOD,
            with("p256", json!({"trustStores": ["x:certs"]})),
        ),
        Case::new("stores of a null group", GOOD, stores(json!({"certs": null}))),
        Case::new("stores by type of the wrong shape", GOOD, stores(json!({"ca": {"certs": [1]}}))),
        Case::new("stores in two forms", GOOD, stores(json!({"ca": {"a": []}, "b": []})))
            .differs(&[NOTATION_MIXED]),
        Case::new("stores of an empty group", GOOD, stores(json!({"certs": []}))),
        Case::new("stores of another name", GOOD, stores(json!({"other": ["provider"]}))),
        Case::new("a provider that is not there", GOOD, stores(json!({"certs": ["provider"]})))
            .differs(&[NOTATION_PROVIDER]),
        Case::new("paths that are no list", GOOD, entry("verificationCerts", json!("x")))
            .differs(&[DECODE_TEXT]),
        Case::new(
            "a path that is not there",
            GOOD,
            entry("verificationCerts", json!(["/nowhere"])),
        ),
        Case::new(
            "a file that is no certificate",
            GOOD,
            entry("verificationCerts", json!(["{notary}/p256/key.pem"])),
        )
        .differs(&[NOTATION_FILE]),
    ]
}
