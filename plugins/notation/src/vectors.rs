//! The Notary Project's own files, as its Go modules carry them: tokens of timestamps (tspclient-go),
//! envelopes (notation-go), certificates and lists of revoked ones (notation-core-go), each through our
//! readers and verifiers. What comes of each stands in a snapshot: a file that is new, gone or judged
//! otherwise changes it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use futures_util::FutureExt as _;
use ratify_core::{Descriptor, strict_json};
use serde_json::json;

use crate::{
    certificate::{Certificate, Purpose, check_chain},
    checks::Verification,
    envelope,
    moment::Moment,
    policy::TrustPolicy,
    revocation::{ListCache, RevocationList},
    testing::host_trusting,
    timestamp::Token,
    trust::{CertificateStores, TrustStores, load_files as load},
};

/// When all of it is judged.
const NOW: &str = "2024-07-01T00:00:00Z";
/// What most tokens are about.
const MESSAGE: &[u8] = b"notation";

/// The folder of a module that `cargo xtask tools` brings.
fn module(name: &str) -> Option<PathBuf> {
    let Some(list) = std::env::var_os("RATIFY_TOOLS") else {
        assert!(std::env::var_os("CI").is_none(), "RATIFY_TOOLS is not set, and this is CI");
        eprintln!("SKIPPED: RATIFY_TOOLS is not set; run `cargo xtask tools`");
        return None;
    };
    let list: serde_json::Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    let path = list[name].as_str().unwrap_or_else(|| panic!("RATIFY_TOOLS has no {name}"));
    Some(path.into())
}

/// The files below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What comes of each file of some folders of a module, a line each, and how many are good.
fn judged(
    module: &Path,
    folders: &[&str],
    judge: impl Fn(&Path, &[u8]) -> Result<String, String>,
) -> String {
    let (mut text, mut good, mut refused) = (String::new(), 0, 0);
    for file in folders.iter().flat_map(|folder| files(&module.join(folder))) {
        let name = file.strip_prefix(module).unwrap().display().to_string();
        let name = name.replace("testdata/", "");
        match judge(&file, &fs::read(&file).unwrap()) {
            Ok(what) => {
                good += 1;
                writeln!(text, "{name}: good: {what}").unwrap();
            }
            Err(why) => {
                refused += 1;
                assert!(!why.is_empty());
                let why = why.replace(&format!("{}/", module.display()), "");
                // Which plugins of Notation there are is not told here.
                let why = why.split(", make sure the plugin").next().unwrap();
                writeln!(text, "{name}: {why}").unwrap();
            }
        }
    }
    write!(text, "good {good}, refused {refused}").unwrap();
    text
}

#[test]
fn tokens_of_tspclient_are_as_it_judges_them() {
    let Some(module) = module("tspclient-module") else { return };
    let trusted = load(&module.join("testdata/GlobalSignRootCA.crt")).unwrap();
    let judge = |file: &Path, bytes: &[u8]| {
        let token = Token::parse(bytes)?;
        // Of these it is not known what they are about.
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_of_others = ["NoRoot", "CertificateV1"].iter().any(|part| name.contains(part));
        let time = match token.time_of(MESSAGE) {
            Err(_) if is_of_others => Moment::parse_rfc3339(NOW).unwrap(),
            time => time?.value,
        };
        let chain = token.prove(&trusted, time)?;
        check_chain(&chain, Purpose::Timestamping)?;
        Ok(format!("{} by {}", time.rfc3339(), chain[0].subject))
    };
    let judged = judged(&module, &["testdata", "internal/cms/testdata"], judge);
    insta::assert_snapshot!(judged);
}

#[test]
fn envelopes_of_notation_are_good_or_refused_with_a_reason() {
    let Some(module) = module("notation-go-module") else { return };
    let clocks =
        load(&module.join("verifier/testdata/truststore/x509/tsa/test-timestamp")).unwrap();
    let folders = [
        "internal/mock/testdata",
        "internal/testdata",
        "verifier/testdata/timestamp/sigEnv",
        "verifier/testdata/timestamp/countersignature",
    ];
    let judge = |file: &Path, bytes: &[u8]| judge_envelope(&clocks, file, bytes);
    insta::assert_snapshot!(judged(&module, &folders, judge));
}

/// Judges an envelope about what it says itself by whom it names itself, with its timestamp and without;
/// then about something else, and by nobody.
fn judge_envelope(clocks: &[Certificate], file: &Path, bytes: &[u8]) -> Result<String, String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let is_cose = name.starts_with("cose") || name == "timestampAfterNotAfter.sig";
    let media_type = if is_cose { envelope::COSE } else { envelope::JWS };
    let opened = envelope::open(media_type, bytes).map_err(|error| error.to_string())?;
    let payload: serde_json::Value = strict_json::read(&opened.payload).unwrap();
    let subject: Descriptor = serde_json::from_value(payload["targetArtifact"].clone()).unwrap();
    let own = opened.certificates.last().unwrap();
    let trusted: Vec<&Certificate> = clocks.iter().chain([own]).collect();
    let run = |stores: &[&str], trusted: &[&Certificate], subject: &Descriptor| {
        let document = json!({"version": "1.0", "trustPolicies": [{
            "name": "default", "registryScopes": ["*"], "trustedIdentities": ["*"],
            "signatureVerification": {"level": "strict"}, "trustStores": stores,
        }]});
        let policy = TrustPolicy::read(&document).unwrap();
        let stores = json!({"ca": {"certs": ["trusted"]}, "signingAuthority": {"authorities": ["trusted"]}, "tsa": {"clocks": ["trusted"]}});
        let stores = CertificateStores::read(stores.as_object().unwrap()).unwrap();
        let verification = Verification {
            statement: policy.statement_for("reg.io/a", "r").unwrap(),
            trust: &TrustStores::new(&[], stores, "/nowhere".as_ref()),
            host: &host_trusting(trusted).shared(),
            lists: &ListCache::default(),
            plugins: None,
            plugin_config: &serde_json::Value::Null,
            context: &ratify_core::Context::default(),
            now: Moment::parse_rfc3339(NOW).unwrap(),
        };
        let run = verification.run(media_type, bytes, subject).now_or_never().unwrap();
        run.map(drop).map_err(|refusal| refusal.to_string())
    };
    let stores = ["ca:certs", "signingAuthority:authorities", "tsa:clocks"];
    let mut other = subject.clone();
    other.size += 1;
    assert!(run(&stores[..2], &trusted, &other).is_err(), "{name}: it is about something else");
    assert!(run(&stores[..2], &[], &subject).is_err(), "{name}: nobody is trusted");
    let now = run(&stores[..2], &trusted, &subject);
    let then = run(&stores, &trusted, &subject);
    let text = |outcome: &Result<(), String>| outcome.as_ref().err().cloned();
    match (text(&now), text(&then)) {
        (None, None) => Ok("with a timestamp and without".to_owned()),
        (None, Some(then)) => Ok(format!("without a timestamp; with one: {then}")),
        (Some(now), None) => Ok(format!("by its timestamp; without one: {now}")),
        (Some(now), Some(then)) if now == then => Err(now),
        (Some(now), Some(then)) => Err(format!("{now}; with its timestamp: {then}")),
    }
}

#[test]
fn certificates_and_lists_of_notation_core_are_read_or_refused_with_a_reason() {
    let Some(module) = module("notation-core-module") else { return };
    let judge = |file: &Path, bytes: &[u8]| {
        if file.extension().is_some_and(|extension| extension == "crl") {
            let list = RevocationList::parse(bytes.to_vec().into())?;
            let end = list.next_update.ok_or("it has no end")?;
            return Ok(format!("a list until {}", end.rfc3339()));
        }
        if file.extension().is_some_and(|extension| extension == "json") {
            let media_type = if file.to_str().unwrap().contains("/jws/") {
                envelope::JWS
            } else {
                envelope::COSE
            };
            let opened = envelope::open(media_type, bytes);
            return opened.map(|_| "an envelope".to_owned()).map_err(|error| error.to_string());
        }
        if file.extension().is_some_and(|extension| extension == "p7s") {
            return Token::parse(bytes).map(|_| "a token".to_owned());
        }
        let subjects: Vec<String> =
            load(file)?.into_iter().map(|one: Certificate| one.subject).collect();
        if subjects.is_empty() { Err("no certificate".to_owned()) } else { Ok(subjects.join("; ")) }
    };
    let folders = [
        "internal/timestamp/testdata",
        "revocation/crl/testdata",
        "signature/cose/testdata",
        "signature/jws/testdata",
        "x509/testdata",
    ];
    insta::assert_snapshot!(judged(&module, &folders, judge));
}
