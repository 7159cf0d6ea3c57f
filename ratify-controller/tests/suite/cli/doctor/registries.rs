//! Each fault of a registry, and its finding.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::json;

use super::{
    Expected, Found, assert_found, assert_keeps_secrets, clean, examine,
    fake::{Fake, PASSWORD, USER, Ways},
    trust,
};
use crate::{cli::Home, tls::parts::Identity};

/// Who signs the certificates of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for a name, good from one year to another.
    fn issue(&self, name: &str, years: [i32; 2]) -> Identity {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(years[0], 1, 1);
        parameters.not_after = date_time_ymd(years[1], 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// The doctor's findings about an image of a registry like this, with the right password.
async fn found(identity: &Identity, trusted: &Authority, ways: Ways) -> (crate::cli::Ran, Found) {
    let home = Home::new();
    let config = clean(&home);
    let registry = Fake::start(Some(identity), ways).await;
    let host = registry.address.to_string();
    home.log_in(&host, USER, PASSWORD);
    trust(&home, &host, &trusted.0.pem());
    home.write(".ratify/config.json", config.to_string());
    let (ran, found) = examine(&home, &[&registry.image()]).await;
    let most = registry.asked.lock().unwrap().values().copied().max().unwrap_or(0);
    assert!(most <= 3, "few requests: {:?}", registry.asked.lock().unwrap());
    (ran, found)
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_finding() {
    let [ours, others] = ["ours", "others"].map(Authority::new);
    const GOOD: [i32; 2] = [2020, 2100];
    let host = "127.0.0.1";
    let table: [(&str, Identity, Expected); 5] = [
        ("good", ours.issue(host, GOOD), &[]),
        ("ended", ours.issue(host, [2020, 2021]), &[("registry.tls", "failure")]),
        ("not begun", ours.issue(host, [2099, 2100]), &[("registry.tls", "failure")]),
        ("another name", ours.issue("other.example.com", GOOD), &[("registry.tls", "failure")]),
        ("another authority", others.issue(host, GOOD), &[("registry.tls", "failure")]),
    ];
    let mut seen = Vec::new();
    for (what, identity, expected) in table {
        let (ran, found) = found(&identity, &ours, Ways::default()).await;
        assert_found(what, &ran, &found, expected);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let of_tls = report["findings"].as_array().unwrap().iter();
        let of_tls = of_tls.filter(|finding| finding["id"] == "registry.tls");
        seen.extend(of_tls.map(|finding| finding["seen"].as_str().unwrap().to_owned()));
    }
    assert!(seen[0].starts_with("issued by CN=ours"), "{seen:?}");
    assert!(seen[1].starts_with("its certificate ended on 2021-01-01, "), "{seen:?}");
    assert_eq!(seen[2], "its certificate begins on 2099-01-01");
    assert_eq!(seen[3], "its certificate is for other.example.com, not for 127.0.0.1");
    assert_eq!(seen[4], "its certificate is issued by CN=others, whom nobody trusts here");
}

#[tokio::test]
async fn each_fault_of_the_answers_has_its_finding() {
    let authority = Authority::new("ours");
    let identity = authority.issue("127.0.0.1", [2020, 2100]);
    let with = |headers: &[(&'static str, &str)]| Ways {
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        ..Ways::default()
    };
    let table: [(&str, Ways, Expected); 8] = [
        (
            "a clock that is off",
            with(&[("date", "Mon, 01 Jan 2024 00:00:00 GMT")]),
            &[("registry.clock", "warning")],
        ),
        (
            "plenty of requests",
            with(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "90;w=21600")]),
            &[],
        ),
        (
            "few requests",
            with(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "9;w=21600")]),
            &[("registry.headroom", "warning")],
        ),
        (
            "a pause",
            Ways { status: Some(429), ..with(&[("retry-after", "60")]) },
            &[("registry.headroom", "failure")],
        ),
        (
            "a registry that fails",
            Ways { status: Some(503), ..Ways::default() },
            &[("registry.api", "failure"), ("registry.image", "failure")],
        ),
        (
            "no registry",
            Ways { status: Some(404), ..Ways::default() },
            &[("registry.api", "warning"), ("registry.image", "failure")],
        ),
        (
            "no Referrers API",
            Ways { lists_by_tag: true, ..Ways::default() },
            &[("registry.referrers", "note")],
        ),
        (
            "nothing attached",
            Ways { is_bare: true, ..Ways::default() },
            &[("registry.referrers", "note")],
        ),
    ];
    for (what, ways, expected) in table {
        let (ran, found) = found(&identity, &authority, ways).await;
        assert_found(what, &ran, &found, expected);
    }
}

#[tokio::test]
async fn each_fault_on_the_way_has_its_finding() {
    let authority = Authority::new("ours");
    let identity = authority.issue("127.0.0.1", [2020, 2100]);
    let registry = Fake::start(Some(&identity), Ways::default()).await;
    let in_clear = Fake::start(None, Ways::default()).await;
    let host = registry.address.to_string();
    let home = Home::new();
    let mut config = clean(&home);
    home.write(".ratify/config.json", config.to_string());
    trust(&home, &host, &authority.0.pem());

    let (ran, found) = examine(&home, &[&registry.image()]).await;
    let refused = [("registry.credentials", "failure"), ("registry.image", "failure")];
    // Nobody is logged in: the token service refuses.
    assert_found("no credentials", &ran, &found, &refused[1..]);
    home.log_in(&host, USER, "guessed");
    let (ran, found) = examine(&home, &[&registry.image()]).await;
    assert_found("a wrong password", &ran, &found, &refused[1..]);
    home.log_in(&host, USER, PASSWORD);
    let (ran, found) = examine(&home, &[&format!("{host}/app:none")]).await;
    assert_found("no such image", &ran, &found, &[("registry.image", "failure")]);

    let (ran, found) = examine(&home, &[&in_clear.image()]).await;
    assert_found("plain HTTP", &ran, &found, &[("registry.tls", "failure")]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ran, found) = examine(&home, &[&format!("{closed}/app:v1")]).await;
    assert_found("nobody listens", &ran, &found, &[("registry.connect", "failure")]);
    let (ran, found) = examine(&home, &["169.254.169.254/app:v1"]).await;
    assert_found("the metadata service", &ran, &found, &[("registry.address", "failure")]);
    let (ran, found) = examine(&home, &["App:v1"]).await;
    assert_found("no image", &ran, &found, &[("registry.image", "failure")]);

    config["registries"]["allowedAddresses"] = json!([]);
    home.write(".ratify/config.json", config.to_string());
    let (ran, found) = examine(&home, &[&registry.image()]).await;
    assert_found("an address that a file names", &ran, &found, &[]);
    let (ran, found) = examine(&home, &[&format!("{closed}/app:v1")]).await;
    let expected = [("registry.address", "warning"), ("registry.connect", "failure")];
    assert_found("an address that serve does not ask", &ran, &found, &expected);
    fs::write(home.path().join("hosts").join(&host).join("hosts.toml"), "server = 1").unwrap();
    let (ran, found) = examine(&home, &[&registry.image()]).await;
    assert_found("a file that is none", &ran, &found, &[("registry.hosts", "failure")]);
    let debugged = home.run(&["doctor", "--debug", &registry.image()]).await;
    assert_keeps_secrets(&debugged);
}
