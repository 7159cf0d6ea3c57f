//! What is asked about signed images.

use serde_json::{Value, json};

use super::{
    super::{forms::Forms, verify_cases::with},
    signing::{SIGNATURE, Signed},
    sigstore::{ISSUER, SUBJECT},
};

/// The summary says that the claims were compared.
pub(super) const CLAIMS: &str = "the payload is compared, and the summary says so";
/// Any one valid signature is enough.
pub(super) const ANY_LAYER: &str = "any one valid signature is enough";
/// Newer versions of cosign hash as the curve is strong.
pub(super) const NEW_HASH: &str = "keys of P-384 and P-521 sign with SHA-384 and SHA-512, too";
/// An entry of the log that is another key's.
pub(super) const LOG_TEXT: &str = "an entry of another key, in our words";
/// A signature of another image is none.
pub(super) const OTHER_IMAGE: &str = "a signature of another image is none";
/// What lies under an image's tag has to be about the image.
pub(super) const FOREIGN: &str = "a tag alone binds nothing";

/// As a process it asks no log.
pub(super) const FORMS: Forms = Forms {
    type_: "cosign",
    fetching: &["a key, in no log"],
    unlike: "this host fetches nothing for its verifiers",
    under_v1: &["signed by P-256", "signed by another key"],
};

/// One configuration and one image.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) subject: String,
    pub(super) config: Value,
    /// The differences that must occur, and no others.
    pub(super) rows: &'static [&'static str],
    /// Whether it passes here.
    pub(super) passes: bool,
    /// Whether v1 is asked, too.
    pub(super) is_of_v1_too: bool,
}

impl Case {
    fn passing(name: &'static str, subject: String, entry: Value) -> Self {
        let config = config(entry);
        Self { name, subject, config, rows: &[CLAIMS], passes: true, is_of_v1_too: true }
    }

    fn failing(name: &'static str, subject: String, entry: Value) -> Self {
        Self { passes: false, rows: &[], ..Self::passing(name, subject, entry) }
    }

    fn differs(mut self, rows: &'static [&'static str]) -> Self {
        self.rows = rows;
        self
    }

    /// v1 knows nothing of it.
    fn ours(mut self) -> Self {
        self.is_of_v1_too = false;
        self
    }
}

/// The built-in store that looks at cosign's tags, and this verifier.
fn config(mut entry: Value) -> Value {
    let object = entry.as_object_mut().unwrap();
    object.entry("name").or_insert("cosign".into());
    object.entry("artifactTypes").or_insert(SIGNATURE.into());
    let store = json!({"name": "oras", "useHttp": true, "cosignEnabled": true});
    with(store, json!({"default": "all"}), json!([entry]))
}

/// A policy of these keys for all images, without the log.
fn policy(keys: Value) -> Value {
    json!({"trustPolicies": [
        {"name": "default", "scopes": ["*"], "keys": keys, "tLogVerify": false},
    ]})
}

pub(super) fn cases(signed: &Signed) -> Vec<Case> {
    let mut all = of_keys(signed);
    all.extend(of_layers(signed));
    all.extend(of_legacy(signed));
    all.extend(of_policies(signed));
    all.extend(of_certificates(signed));
    all.extend(of_configurations(signed));
    all
}

fn of_keys(signed: &Signed) -> Vec<Case> {
    let by = |key: &str| policy(json!([{"file": signed.key(key)}]));
    let api = |name: &str| format!("{}/{name}:v1", signed.api);
    let kinds = [
        ("signed by P-256", "p256"),
        ("signed by P-384", "p384"),
        ("signed by P-521", "p521"),
        ("signed by RSA", "rsa"),
    ];
    let each = kinds.map(|(name, kind)| {
        let rows: &[&str] =
            if kind.starts_with("p2") || kind == "rsa" { &[CLAIMS] } else { &[NEW_HASH] };
        Case::passing(name, api(&format!("by-{kind}")), by(kind)).differs(rows)
    });
    let mut all = Vec::from(each);
    let older = [
        ("signed by P-384 with SHA-256", "p384"),
        ("signed by P-521 with SHA-256", "p521"),
        ("signed by Ed25519", "ed25519"),
    ];
    all.extend(
        older.map(|(name, kind)| Case::passing(name, api(&format!("older-{kind}")), by(kind))),
    );
    let both = policy(json!([{"file": signed.key("p256")}, {"file": signed.key("rsa")}]));
    all.extend([
        Case::passing("one of two keys", api("by-rsa"), both),
        Case::passing(
            "under a tag, asked with a password",
            format!("{}/by-p256:v1", signed.tags),
            by("p256"),
        ),
        Case::passing("attached as a referrer", api("attached"), by("p256")),
        Case::failing("signed by another key", api("by-p256"), by("other")),
        Case::failing("signed by a key of another kind", api("by-p256"), by("rsa")),
        Case::failing("signed by another RSA key", api("by-ed25519"), by("rsa")),
        Case::failing("signed by Ed25519ph", api("by-ed25519"), by("ed25519")),
        Case::failing("an Ed25519 key for a signature of P-256", api("by-p256"), by("ed25519")),
        Case::failing(
            "a provider that is not there",
            api("by-p256"),
            policy(json!([{"provider": "keys"}])),
        ),
    ]);
    all
}

fn of_layers(signed: &Signed) -> Vec<Case> {
    let by = |key: &str| policy(json!([{"file": signed.key(key)}]));
    let api = |name: &str| format!("{}/{name}:v1", signed.api);
    let bundles = |mut entry: Value| {
        entry["artifactTypes"] = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
        entry
    };
    let ours = |name: &str| format!("{}/{name}:v1", signed.ours.address());
    let mut all = vec![
        Case::passing("a good signature before a bad one", api("good-bad"), by("p256"))
            .differs(&[ANY_LAYER]),
        Case::passing("a good signature behind a bad one", api("bad-good"), by("p256")),
        Case::failing("what another image's signature says", api("moved"), by("p256"))
            .differs(&[OTHER_IMAGE]),
        Case::failing("another image's signature under the tag", api("unsigned"), by("p256"))
            .differs(&[FOREIGN]),
        Case::passing("a bundle of cosign 2", ours("bundle-of-2"), bundles(by("p256"))).ours(),
        Case::passing(
            "a bundle, asked with a password",
            format!("{}/bundle:v1", signed.tags),
            bundles(by("p256")),
        )
        .ours(),
        Case::failing("a bundle by Ed25519ph", ours("bundle-ed25519"), bundles(by("ed25519")))
            .ours(),
        Case::failing(
            "a bundle of cosign 2 by Ed25519ph",
            ours("bundle-of-2-ed25519"),
            bundles(by("ed25519")),
        )
        .ours(),
        Case::failing("a bundle by another key", ours("bundle-p256"), bundles(by("other"))).ours(),
        Case::failing("a bundle by a key of another kind", ours("bundle-rsa"), bundles(by("p256")))
            .ours(),
    ];
    let kinds = [
        ("a bundle by P-256", "p256"),
        ("a bundle by P-384", "p384"),
        ("a bundle by P-521", "p521"),
        ("a bundle by RSA", "rsa"),
    ];
    all.extend(kinds.map(|(name, kind)| {
        Case::passing(name, ours(&format!("bundle-{kind}")), bundles(by(kind))).ours()
    }));
    all
}

fn of_legacy(signed: &Signed) -> Vec<Case> {
    let by = |key: &str| json!({"key": signed.key(key)});
    let api = |name: &str| format!("{}/{name}:v1", signed.api);
    vec![
        Case::passing("the older form", api("by-p256"), by("p256")).differs(&[]),
        Case::passing("the older form, P-384", api("by-p384"), by("p384")).differs(&[NEW_HASH]),
        Case::passing("the older form, P-384 with SHA-256", api("older-p384"), by("p384"))
            .differs(&[]),
        Case::passing("the older form, a referrer", api("attached"), by("p256")).differs(&[]),
        Case::passing("the older form, good before bad", api("good-bad"), by("p256")).differs(&[]),
        Case::passing("the older form, bad before good", api("bad-good"), by("p256")).differs(&[]),
        Case::failing("the older form, another key", api("by-p256"), by("other")),
        Case::failing("the older form, an RSA key", api("by-rsa"), by("rsa")),
        Case::failing(
            "the older form, what another image's signature says",
            api("moved"),
            by("p256"),
        ),
        Case::failing("the older form, no such file", api("by-p256"), json!({"key": "/nowhere"})),
    ]
}

fn of_policies(signed: &Signed) -> Vec<Case> {
    let api = |name: &str| format!("{}/{name}:v1", signed.api);
    let scoped = |scopes: Value, entry: &str| {
        let one = json!({"name": "one", "scopes": scopes, "keys": [{"file": signed.key("p256")}], "tLogVerify": false});
        let other = json!({"name": "other", "scopes": [entry], "keys": [{"file": signed.key("other")}], "tLogVerify": false});
        json!({"type": "cosign", "name": "signatures", "trustPolicies": [other, one]})
    };
    let path = format!("{}/by-*", signed.api);
    vec![
        Case::passing("a scope by its start", api("by-p256"), scoped(json!([path]), "*")),
        Case::passing("a scope in full", api("by-p256"), scoped(json!([api("by-p256")]), "*")),
        Case::failing("the scope of all others", api("by-p256"), scoped(json!(["r.io/a"]), "*")),
        Case::failing("no scope", api("by-p256"), scoped(json!(["r.io/a"]), "r.io/b*")),
    ]
}

fn of_certificates(signed: &Signed) -> Vec<Case> {
    let api = |name: &str| format!("{}/{name}:v1", signed.api);
    let log = |mut entry: Value| {
        entry["trustPolicies"][0]["rekorURL"] = signed.log.url.clone().into();
        entry["trustPolicies"][0].as_object_mut().unwrap().remove("tLogVerify");
        entry
    };
    let keyless = |subject: (&str, &str), issuer: (&str, &str)| {
        let keyless = json!({(subject.0): subject.1, (issuer.0): issuer.1, "ctLogVerify": false});
        json!({"trustPolicies": [
            {"name": "default", "scopes": ["*"], "keyless": keyless, "tLogVerify": false},
        ]})
    };
    let (exact, pattern) = ("certificateIdentity", "certificateIdentityRegExp");
    let issuer = ("certificateOIDCIssuer", ISSUER);
    let dev = || keyless((exact, SUBJECT), issuer);
    let p256 = || policy(json!([{"file": signed.key("p256")}]));
    let other = || policy(json!([{"file": signed.key("other")}]));
    vec![
        Case::passing("a key, in the log", api("logged"), log(p256())),
        Case::failing("another key, in the log", api("logged"), log(other())).differs(&[LOG_TEXT]),
        Case::failing("a key, in no log", api("by-p256"), log(p256())),
        Case::passing("a certificate that is good now", api("certified"), dev()),
        Case::passing("a certificate, in the log", api("certified-logged"), log(dev())),
        Case::passing("a pattern", api("certified"), keyless((pattern, "^dev@"), issuer)),
        Case::passing(
            "a pattern of the issuer",
            api("certified-logged"),
            log(keyless((pattern, "example"), ("certificateOIDCIssuerRegExp", "^https://id[.]"))),
        ),
        Case::failing(
            "another identity",
            api("certified"),
            keyless((exact, "other@example.com"), issuer),
        ),
        Case::failing(
            "another identity, in the log",
            api("certified-logged"),
            log(keyless((exact, "other@example.com"), issuer)),
        ),
        Case::failing(
            "another issuer",
            api("certified"),
            keyless((exact, SUBJECT), (issuer.0, "https://other.example.com")),
        ),
        Case::failing(
            "a pattern that fits nobody",
            api("certified"),
            keyless((pattern, "^example"), issuer),
        ),
        Case::failing("no certificate", api("by-p256"), dev()),
        Case::passing(
            "a certificate's key",
            api("certified"),
            policy(json!([{"file": signed.key("leaf")}])),
        ),
        Case::passing("the older form, any certificate", api("certified"), json!({})).differs(&[]),
        Case::failing("the older form, no certificate", api("by-p256"), json!({})),
    ]
}

fn of_configurations(signed: &Signed) -> Vec<Case> {
    let subject = format!("{}/by-p256:v1", signed.api);
    let wrong = |name: &'static str, change: &[(&str, Value)]| {
        let mut entry = policy(json!([{"file": signed.key("p256")}]));
        for (key, value) in change {
            entry["trustPolicies"][0][key] = value.clone();
        }
        Case::failing(name, subject.clone(), entry)
    };
    let file = |name: &str| json!([{"file": signed.key(name)}]);
    let mut with_both = policy(file("p256"));
    with_both["key"] = signed.key("p256").into();
    vec![
        wrong("another version", &[("version", json!("2.0.0"))]),
        wrong("no name", &[("name", json!(""))]),
        wrong("no scope is given", &[("scopes", json!([]))]),
        wrong("no keys", &[("keys", json!([]))]),
        wrong("keys and keyless", &[("keyless", json!({"ctLogVerify": true}))]),
        wrong(
            "no identity",
            &[("keys", json!([])), ("keyless", json!({"certificateOIDCIssuer": "o"}))],
        ),
        wrong(
            "no issuer",
            &[("keys", json!([])), ("keyless", json!({"certificateIdentity": "i"}))],
        ),
        wrong("a key without a place", &[("keys", json!([{"name": "n"}]))]),
        wrong("a key with two places", &[("keys", json!([{"file": "f", "provider": "p"}]))]),
        wrong("a version of no key", &[("keys", json!([{"provider": "p", "version": "1"}]))]),
        wrong("a file that is not there", &[("keys", json!([{"file": "/nowhere"}]))]),
        wrong("a file that is empty", &[("keys", file("empty"))]),
        wrong("a file that is no PEM", &[("keys", file("bad"))]),
        wrong("scopes that meet", &[("scopes", json!(["r.io/a*", "r.io/ab"]))]),
        wrong("a scope twice", &[("scopes", json!(["r.io/a", "r.io/a"]))]),
        wrong("a scope that is none", &[("scopes", json!(["r.io/*a"]))]),
        wrong("all and some", &[("scopes", json!(["*", "r.io/a"]))]),
        Case::failing("both forms", subject.clone(), with_both),
        Case::failing("no types", subject.clone(), json!({"artifactTypes": ""})),
    ]
}
