//! What is trusted, from a repository and from a file.

use std::{fs, sync::Arc};

use ratify_core::{Certainty, ErrorCode, VerifierReport, executor::testing::MemoryHost};
use serde_json::{Value, json};

use crate::{
    CosignVerifier, Environment,
    testing::{
        Layer, Signer, ask, authority::Authority, host_of, image, log::Log, payload,
        repository::Repository, verifier,
    },
};

const URL: &str = "https://tuf.example.com";

/// A key, a log, and a repository that says which log it is.
struct Lab {
    folder: tempfile::TempDir,
    log: Log,
    layer: Layer,
}

impl Lab {
    fn new() -> (Self, Repository) {
        let (folder, log, signer) = (tempfile::tempdir().unwrap(), Log::new(), Signer::new("p256"));
        fs::write(folder.path().join("cosign.pub"), signer.pem()).unwrap();
        let repository = Repository::new(&root_of(&log), 1, "2099-01-01T00:00:00Z");
        fs::write(folder.path().join("root.json"), repository.root()).unwrap();
        let payload = payload(image().as_str());
        let signature = signer.sign(&payload);
        let body = Log::body(&payload, &signature, &signer.pem());
        let layer = Layer::new(payload, &signature)
            .with("dev.sigstore.cosign/bundle", log.annotation(&body).to_string());
        (Self { folder, log, layer }, repository)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn verifier(&self) -> CosignVerifier {
        let tuf = json!({"url": format!("{URL}/"), "root": self.path("root.json")});
        let keys = json!([{"file": self.path("cosign.pub")}]);
        let policy = json!({"name": "default", "scopes": ["*"], "keys": keys});
        verifier(json!({"trustPolicies": [policy], "tuf": tuf}), &Environment::default())
    }

    /// A host that reads the repository.
    fn host(&self, repository: &Repository) -> Arc<MemoryHost> {
        let documents = repository.documents.clone();
        Arc::new(host_of(std::slice::from_ref(&self.layer)).fetching(move |request| {
            let path = request.url.strip_prefix(URL).unwrap().strip_prefix('/').unwrap();
            let found = documents.get(path).cloned().map(Into::into);
            found.ok_or_else(|| ErrorCode::ResourceNotFound.detail("404"))
        }))
    }
}

fn root_of(log: &Log) -> Value {
    Authority::new().trusted_root(log)
}

fn refused(report: &VerifierReport) -> String {
    assert!(!report.is_success);
    format!("{}: {}", report.message, report.error_reason)
}

#[test]
fn what_a_repository_vouches_for_is_trusted_for_as_long_and_asked_for_once() {
    let (lab, repository) = Lab::new();
    let (verifier, host) = (lab.verifier(), lab.host(&repository));
    let report = ask(&verifier, &host);
    assert!(report.is_success, "{report:?}");
    let end: std::time::SystemTime =
        "2099-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
    assert_eq!(report.standing.valid_until, Some(end));
    let asked = host.asked().len();
    assert!(ask(&verifier, &host).is_success);
    assert_eq!(host.asked().len(), asked);
}

#[test]
fn what_is_not_proven_by_the_root_is_not_trusted() {
    let (lab, repository) = Lab::new();
    let foreign = Repository::new(&root_of(&lab.log), 1, "2099-01-01T00:00:00Z");
    let late = {
        let mut repository = repository.clone();
        repository.publish(&root_of(&lab.log), 2, "2020-01-01T00:00:00Z");
        repository
    };
    let mut cut = repository.clone();
    for (path, document) in &mut cut.documents {
        if path.starts_with("targets/") {
            document.pop();
        }
    }
    for (repository, what) in [(foreign, "foreign"), (late, "late"), (cut, "cut")] {
        let report = ask(&lab.verifier(), &lab.host(&repository));
        let refused = refused(&report);
        assert!(refused.contains("Failed to fetch Rekor public keys"), "{what}: {refused}");
        assert_eq!(report.standing.certainty, Certainty::Failed, "{what}");
    }
}

#[test]
fn a_repository_that_is_not_reached_says_nothing_about_the_image() {
    let (lab, _) = Lab::new();
    let host = host_of(std::slice::from_ref(&lab.layer))
        .fetching(|_| Err(ErrorCode::Unknown.detail("no answer").passing(true)));
    let report = ask(&lab.verifier(), &Arc::new(host));
    assert!(!report.is_success);
    assert_eq!(report.standing.certainty, Certainty::Passing);
    assert_eq!(report.error_reason, "no answer");
}

#[test]
fn a_root_that_is_none_is_told_when_the_verifier_is_made() {
    let (lab, _) = Lab::new();
    let made = |root: &str| {
        fs::write(lab.path("root.json"), root).unwrap();
        std::panic::catch_unwind(|| lab.verifier()).is_ok()
    };
    assert!(!made("{}") && !made("") && !made("[]"));
}

#[test]
fn a_pinned_file_may_change_and_must_be_one() {
    let (lab, _) = Lab::new();
    let path = lab.path("trusted_root.json");
    fs::write(&path, root_of(&lab.log).to_string()).unwrap();
    let keys = json!([{"file": lab.path("cosign.pub")}]);
    let policy = json!({"name": "default", "scopes": ["*"], "keys": keys, "trustedRoot": path});
    let verifier = verifier(json!({"trustPolicies": [policy]}), &Environment::default());
    let host = Arc::new(host_of(std::slice::from_ref(&lab.layer)));
    assert!(ask(&verifier, &host).is_success);
    fs::write(&path, root_of(&Log::new()).to_string()).unwrap();
    assert!(!ask(&verifier, &host).is_success);
    fs::write(&path, root_of(&lab.log).to_string()).unwrap();
    assert!(ask(&verifier, &host).is_success);
    let root = root_of(&lab.log).to_string();
    for (contents, why) in [
        (String::new(), "EOF while parsing a value"),
        ("{}".into(), "missing field `mediaType`"),
        ("[".into(), "EOF while parsing a list"),
        ("{\"mediaType\":1}".into(), "invalid type: integer `1`, expected a string"),
        (
            root.replacen("\"tlogs\":", "\"tlogs\":[],\"tlogs\":", 1),
            "the key \"tlogs\" is given twice",
        ),
        (
            root.replacen("\"logId\":", "\"logId\":{},\"logId\":", 1),
            "the key \"logId\" is given twice",
        ),
        (
            root.replacen("\"logId\":", "\"log_id\":{},\"logId\":", 1),
            "the name \"log_id\" is not in camel case",
        ),
    ] {
        fs::write(&path, &contents).unwrap();
        let report = ask(&verifier, &host);
        assert!(!report.is_success, "{contents}");
        assert!(report.message.contains("the trusted root is malformed"), "{report:?}");
        assert!(report.error_reason.starts_with(why), "{contents}: {report:?}");
    }
    assert!(host.asked().is_empty());
}
