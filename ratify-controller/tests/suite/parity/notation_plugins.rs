//! Signatures of the real `notation` that name a plugin of Notation, and plugins over the Notary Project's
//! own framework that do what they are called by (`xtask/go/notation-plugin`).

use serde_json::{Value, json};

use super::{
    lab::Lab, layout::Layout, notation_cases::with, rows::NOTATION_PLUGIN_ERROR, signing::Signer,
    verify_cases::Case,
};

/// The plugins that are in both hosts' directories.
pub(super) const NAMES: [&str; 22] = [
    "both-yes",
    "both-no",
    "both-shows",
    "both-silent",
    "both-careless",
    "both-garbage",
    "both-shouts",
    "both-dies",
    "both-throttled",
    "both-misnamed",
    "both-unversioned",
    "both-future",
    "both-refuses",
    "both-unreadable",
    "both-undescribed",
    "identity-yes",
    "identity-no",
    "revocation-yes",
    "revocation-no",
    "nothing-yes",
    "both-hangs",
    "both-floods",
];

/// Images besides one for each plugin: a name, the form of the signature, and what it says.
const OTHERS: [(&str, &str, &[&str]); 8] = [
    ("cose", "cose", &["plugin=both-shows", "com.example.a=1", "com.example.b=two"]),
    ("attributes", "jws", &["plugin=both-shows", "com.example.a=1", "optional=x"]),
    ("attributes-yes", "cose", &["plugin=both-yes", "com.example.a=1"]),
    ("careless", "jws", &["plugin=both-careless", "com.example.a=1"]),
    ("least", "jws", &["plugin=both-yes", "least=1.2.3-rc.1"]),
    ("least-later", "jws", &["plugin=both-yes", "least=1.10.0"]),
    ("least-none", "jws", &["plugin=both-yes", "least=two"]),
    ("absent", "cose", &["plugin=com.example.absent"]),
];

/// Plugins that neither host ends by itself, or not in the same way.
const OURS_ALONE: [&str; 2] = ["both-hangs", "both-floods"];

/// Signs an image for each plugin, and the others.
pub(super) async fn push(lab: &Lab, signer: &Signer<'_>) {
    let folder = lab.folder.join("named");
    let of_names =
        NAMES.iter().map(|name| ((*name).to_owned(), "jws", vec![format!("plugin={name}")]));
    let others = OTHERS.iter().map(|(name, form, told)| {
        let told: Vec<String> = told.iter().map(|&told| told.to_owned()).collect();
        ((*name).to_owned(), *form, told)
    });
    let all: Vec<(String, &str, Vec<String>)> = of_names.chain(others).collect();
    let layouts: Vec<Layout> =
        all.iter().map(|(name, ..)| Layout::new(&folder, &format!("by-{name}"))).collect();
    lab.push(&layouts.iter().collect::<Vec<_>>(), &lab.api).await;
    for (name, form, told) in &all {
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        signer.sign_by_plugin(&format!("by-{name}"), "p256", form, &told).await;
    }
}

pub(super) fn cases() -> Vec<Case> {
    let of = |name: &str, image: &str, changes: Value| {
        let name: &'static str = format!("plugin: {name}").leak();
        let subject: &'static str = format!("{{api}}/by-{image}:v1").leak();
        Case::new(name, subject, with("p256", changes))
    };
    let strict = NAMES.iter().filter(|name| !OURS_ALONE.contains(name)).map(|name| {
        let case = of(name, name, json!({}));
        match *name {
            "both-shouts" | "both-refuses" => case.differs(&[NOTATION_PLUGIN_ERROR]),
            _ => case,
        }
    });
    let others = OTHERS.iter().map(|(name, ..)| of(name, name, json!({})));
    let level = |level: &str, overrides: Value| json!({"signatureVerification": {"level": level, "override": overrides}});
    let named = json!({"trustedIdentities": ["arn:aws:signer:x", "x509.subject: C=DE, ST=B, O=x"]});
    strict
        .chain(others)
        .chain([
            of("identities of all kinds are its own", "both-shows", named.clone()),
            of("who is trusted is its own", "identity-yes", named.clone()),
            of("who is trusted is not its own", "revocation-yes", named),
            of("a stranger, permissive", "identity-no", level("permissive", json!({}))),
            of("a stranger, audit", "identity-no", level("audit", json!({}))),
            of("revoked, permissive", "revocation-no", level("permissive", json!({}))),
            of(
                "revocation is skipped",
                "both-shows",
                level("strict", json!({"revocation": "skip"})),
            ),
            of(
                "nothing is left to ask",
                "revocation-no",
                level("strict", json!({"revocation": "skip"})),
            ),
            of("no answer, audit", "both-silent", level("audit", json!({}))),
            of("absent, audit", "absent", level("audit", json!({}))),
            of(
                "a signer whom nobody trusts",
                "both-yes",
                json!({"trustStores": ["signingAuthority:certs"]}),
            ),
        ])
        .collect()
}
