//! Whoever is asked about signatures and stops speaking: before the answer, in its head, in its body, or
//! a byte at a time. Asked are responders (of the signer's certificate and of the time's), lists of revoked
//! certificates, the transparency log and the repository of what is trusted.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rcgen::{CertificateParams, CrlDistributionPoint};

use super::{
    super::{
        proxy::{Fate, Proxy},
        signed::{cosign::Cosign, notary::Notary},
    },
    *,
};
use crate::parity::{
    authority::Authority,
    cosign::sigstore::Log,
    signing::{for_timestamps, responders_at},
};

/// What is asked lasts 2 to 10 seconds by its own limits, and an hour without any. Machines are slow.
const LONGEST: Duration = Duration::from_secs(45);
/// Who is asked, which is also the repository of the image; what a verdict says of it, and what the log
/// says beside that.
const ASKED: [(&str, &str, &str); 6] = [
    ("ocsp", "revocation status is unknown", "error checking revocation status via OCSP: "),
    ("list", "revocation status is unknown", "failed to download CRL from http://"),
    ("ocsp-list", "revocation status is unknown", "failed to download CRL from http://"),
    (
        "time",
        "timestamping certificate with subject",
        "error checking revocation status via OCSP: ",
    ),
    ("log", "searching log query", ""),
    ("trusted", "what is trusted from the TUF repository http://", ""),
];
/// The root of Sigstore's repository, after whose version others may come.
const TUF_ROOT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/cosign/src/trust/sigstore_root.json");

/// Signed images, and who is asked about them, behind proxies.
struct Place {
    registry: RunningRegistry,
    home: Home,
    notary: Notary,
    authority: Proxy,
    log: Proxy,
    _servers: (Authority, Log),
}

impl Place {
    async fn new() -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let notary = Notary::without_keys();
        let servers =
            (Authority::start(notary.folder().to_owned()).await, Log::start(notary.folder()).await);
        let authority = Proxy::plain(&servers.0.address).await;
        let log = Proxy::plain(servers.1.url.trim_start_matches("http://")).await;
        let mut home = Home::new();
        let key = notary.folder().join("log.pub");
        home.set("SIGSTORE_REKOR_PUBLIC_KEY", key.to_str().unwrap());
        Self { registry, home, notary, authority, log, _servers: servers }
    }

    /// An image by tag.
    fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.registry.host())
    }

    fn put(&self, repository: &str) -> String {
        let image = self.registry.put_image(repository, "v1", repository.to_owned()).unwrap();
        format!("{}/{repository}@{}", self.registry.host(), image.digest)
    }

    /// A key whose certificate names so many responders and lists.
    fn issue(&mut self, name: &str, responders: usize, lists: usize) {
        self.issue_for(name, responders, lists, |_| ());
    }

    fn issue_for(
        &mut self,
        name: &str,
        responders: usize,
        lists: usize,
        usage: fn(&mut CertificateParams),
    ) {
        let at = |kind: &str, place: usize| {
            let more = if place == 0 { String::new() } else { format!("-{place}") };
            format!("http://{}/{kind}/{name}{more}", self.authority.address())
        };
        let responders: Vec<_> = (0..responders).map(|place| at("ocsp", place)).collect();
        let lists = (0..lists).map(|place| vec![at("crl", place)]);
        let lists = lists.map(|uris| CrlDistributionPoint { uris }).collect();
        self.notary.issue(name, |leaf| {
            if !responders.is_empty() {
                leaf.custom_extensions.push(responders_at(&responders));
            }
            leaf.crl_distribution_points = lists;
            usage(leaf);
        });
    }

    /// Signs an image for each who is asked, and one about which nobody is.
    async fn sign(&mut self, cosign: &Cosign) {
        for (name, responders, lists) in
            [("plain", 0, 0), ("ocsp", 1, 0), ("list", 0, 1), ("ocsp-list", 1, 1)]
        {
            self.issue(name, responders, lists);
            self.notary.sign(&self.put(name), name, false).await;
        }
        let stamps = |leaf: &mut CertificateParams| leaf.custom_extensions.push(for_timestamps());
        self.issue_for("tsa", 1, 0, stamps);
        let tsa = format!("http://{}/tsa", self.authority.address());
        self.notary.sign_stamped(&self.put("time"), "plain", [&tsa, "tsa"]).await;
        for name in ["log", "trusted"] {
            cosign.sign("cosign", &self.put(name), "release").await;
        }
        self.configure(cosign).await;
        self.enter_into_log().await;
        let folder = self.notary.folder().join("tuf");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("17.root.json"), json!({"is": "no root".repeat(100)}).to_string())
            .unwrap();
    }

    async fn configure(&self, cosign: &Cosign) {
        let (host, authority) = (self.registry.host(), self.authority.address());
        let statement = |name: &str, scope: String, stores: &[&str]| {
            json!({
                "name": name, "registryScopes": [scope], "trustStores": stores,
                "trustedIdentities": ["*"], "signatureVerification": {"level": "strict"},
            })
        };
        let statements = [
            statement("all", "*".into(), &["ca:certs"]),
            statement("time", format!("{host}/time"), &["ca:certs", "tsa:certs"]),
        ];
        let roots = ["plain", "ocsp", "list", "ocsp-list", "tsa", "many"];
        let notation = json!({
            "name": "notation", "artifactTypes": "application/vnd.cncf.notary.signature",
            "verificationCerts": roots.map(|name| self.notary.root(name)),
            "trustPolicyDoc": {"version": "1.0", "trustPolicies": statements},
        });
        let key = cosign.public("release").await;
        let policy = |name: &str| {
            json!({
                "name": name, "scopes": [format!("{host}/{name}*")], "keys": [{"file": key}],
                "rekorURL": format!("http://{}", self.log.address()),
            })
        };
        let mut trusted = policy("trusted");
        trusted["tuf"] = json!({"url": format!("http://{authority}/file/tuf"), "root": TUF_ROOT});
        let cosign = json!({
            "name": "cosign", "artifactTypes": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "trustPolicies": [policy("log"), trusted],
        });
        let mut file = config(&notation);
        file["store"]["plugins"][0]["cosignEnabled"] = true.into();
        file["verifier"]["plugins"] = json!([notation, cosign]);
        file["executor"] = json!({"verificationRequestTimeout": 600, "giveUpAfter": 1200});
        self.home.configure(&file);
    }

    /// Lets the log know the signature that it is asked about: a question holds the whole entry.
    async fn enter_into_log(&self) {
        let asked = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&asked);
        self.log.rule(move |request| {
            kept.lock().unwrap().clone_from(&request.body);
            Fate::Pass
        });
        let ran = self.home.verify(&self.image("log")).await;
        assert!(ran.stdout.contains("not found in transparency log"), "{}", ran.stdout);
        let asked: Value = serde_json::from_str(&asked.lock().unwrap()).unwrap();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let url = format!("http://{}/api/v1/log/entries", self.log.address());
        let entry = asked["entries"][0].to_string();
        let added = reqwest::Client::new().post(url).body(entry).send().await.unwrap();
        assert_eq!(added.status().as_u16(), 201);
    }

    /// Each who is asked answers so from now on; what they are asked is kept.
    fn answer(&self, fate: &Fate) -> Arc<Mutex<Vec<String>>> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        for proxy in [&self.authority, &self.log] {
            let (fate, kept) = (fate.clone(), Arc::clone(&asked));
            proxy.rule(move |request| {
                kept.lock().unwrap().push(request.path.clone());
                fate.clone()
            });
        }
        asked
    }
}

/// By `verify`, which has five minutes: each question has its own time.
async fn verify_refuses(place: &Place, silence: &str) {
    let refused = ASKED.map(async |(asked, reason, cause)| {
        let began = Instant::now();
        let ran = place.home.verify(&place.image(asked)).await;
        assert!(!ran.is_success(), "{asked}, {silence}: {}", ran.stdout);
        assert!(!ran.reason().is_empty(), "{asked}, {silence}: {}", ran.stdout);
        let said = (format!("{}{}", ran.stdout, ran.error()), &ran.stderr);
        assert!(said.0.contains(reason) && said.1.contains(cause), "{asked}, {silence}: {said:?}");
        assert!(began.elapsed() < LONGEST, "{asked}, {silence}: {:?}", began.elapsed());
    });
    join_all(refused).await;
}

/// By a server, which has no time for that; nobody else waits, and it is asked again by whoever asks.
async fn serve_refuses_and_asks_again(place: &Place, silence: &str) {
    let server = Server::start(&place.home).await;
    let refused = ASKED.map(async |(asked, ..)| {
        let said = server.ask(&place.image(asked)).await;
        assert!(!allows(&said), "{asked}, {silence}: {said}");
        assert!(said.get("value").is_none(), "it is nothing about the image: {said}");
    });
    let plain = place.image("plain");
    tokio::join!(join_all(refused), until(&server, &plain, true));
    place.answer(&Fate::Pass);
    for (asked, ..) in &ASKED[..5] {
        until(&server, &place.image(asked), true).await;
    }
    // Nobody can sign for Sigstore's repository here: it is what it says that is refused now.
    let mut said = Value::Null;
    for _ in 0..LOOKS {
        said = server.ask(&place.image("trusted")).await;
        if said.to_string().contains("malformed metadata") {
            return assert!(!allows(&said), "{said}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never asked again: {said} {}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_about_signatures_and_stops_speaking_allows_nothing_and_is_asked_again() {
    let cosign = Cosign::new();
    cosign.public("release").await;
    let silences = [
        ("no answer", Fate::Hold),
        ("half a head", Fate::After(40)),
        ("half a body", Fate::InBody(20)),
        ("a byte at a time", Fate::Drip),
    ];
    let all = silences.map(async |(silence, fate)| {
        let mut place = Place::new().await;
        place.sign(&cosign).await;
        let asked = place.answer(&fate);
        verify_refuses(&place, silence).await;
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        for path in [
            "/ocsp/ocsp/",
            "/crl/list",
            "/ocsp/ocsp-list/",
            "/crl/ocsp-list",
            "/ocsp/tsa/",
            "/api/v1/log/entries/retrieve",
            "/file/tuf/17.root.json",
        ] {
            assert!(asked.iter().any(|asked| asked.starts_with(path)), "{path}: {asked:?}");
        }
        serve_refuses_and_asks_again(&place, silence).await;
    });
    join_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_names_ten_of_each_takes_no_more_time_than_there_is() {
    let mut place = Place::new().await;
    place.issue("many", 10, 10);
    place.notary.sign(&place.put("many"), "many", false).await;
    for name in ["plain", "ocsp", "list", "ocsp-list", "tsa"] {
        place.issue(name, 0, 0);
    }
    let cosign = Cosign::new();
    place.configure(&cosign).await;
    let asked = place.answer(&Fate::Hold);
    let image = place.image("many");
    let server = Server::start(&place.home).await;
    let said = server.ask(&image).await;
    assert!(!allows(&said) && said.get("value").is_none(), "{said}");
    // Each responder has two seconds, and all together 1.2: the second would be asked soon.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let of_server = std::mem::take(&mut *asked.lock().unwrap());
    let is_first = |path: &String| path.starts_with("/ocsp/many/");
    assert!(!of_server.is_empty() && of_server.iter().all(is_first), "{of_server:?}");

    let ran = place.home.run(&["verify", "--subject", &image, "--timeout", "3s"]).await;
    assert!(!ran.is_success(), "{}", ran.stdout);
    let asked = asked.lock().unwrap();
    let is_early = |path: &String| is_first(path) || path.starts_with("/ocsp/many-1/");
    assert!(asked.iter().all(is_early), "{asked:?}");
}
