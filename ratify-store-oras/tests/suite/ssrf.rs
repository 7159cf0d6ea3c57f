//! No way leads to an address that no registry should have: each route of the table ends in a
//! refusal, and the trap at its end sees no connection.
//!
//! The table runs on loopback, and again in a network of its own, where the trap is on the true
//! address of the metadata, the registry on a private one, and names are looked up.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use ratify_core::{Reference, media_type};
use ratify_store_oras::{
    AddressRules, Client, ConnectionRules, Connections, OrasError, TlsRoots, Transport,
};

use crate::fake::{Content, Fake, Reply, Seen, basic, client_over, index, options};

const METADATA: &str = "169.254.169.254";
const REGISTRY: &str = "10.99.0.1";
/// What `/etc/hosts` says in the network of its own.
const HOSTS: &str = "127.0.0.1 localhost\n169.254.169.254 bad.example.com\n\
                     10.99.0.1 good.example.com\n10.99.0.1 both.example.com\n\
                     169.254.169.254 both.example.com\n127.0.0.1 here.example.com\n";

/// Counts who connects.
struct Trap {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    fn set(address: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((address, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What the registry does with a client, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    Tag,
    Manifest,
    Referrers,
    FallbackTag,
    CosignTag,
    Blob,
    BlobIntoSink,
    SecondHop,
    Realm,
    RealmRedirect,
    Link,
    UploadLocation,
    UploadRedirect,
}

const ROUTES: [Route; 13] = [
    Route::Tag,
    Route::Manifest,
    Route::Referrers,
    Route::FallbackTag,
    Route::CosignTag,
    Route::Blob,
    Route::BlobIntoSink,
    Route::SecondHop,
    Route::Realm,
    Route::RealmRedirect,
    Route::Link,
    Route::UploadLocation,
    Route::UploadRedirect,
];

/// A registry that leads to the trap by a route.
fn misleading(route: Route, trap: &str) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let content = Content::new();
    let bad = format!("http://{trap}/latest/meta-data");
    move |seen: &Seen| {
        let away = |status: u16| Reply::new(status).with("location", &bad);
        let (method, path) = (seen.method.as_str(), seen.path.as_str());
        let is_tag = path.contains("/manifests/sha256-");
        match route {
            Route::Tag if path.ends_with("/manifests/1") => away(307),
            Route::Manifest if path.contains("/manifests/") => away(302),
            Route::Referrers if path.contains("/referrers/") => away(301),
            Route::FallbackTag if path.contains("/referrers/") => Reply::new(404),
            Route::FallbackTag | Route::CosignTag if is_tag => away(308),
            Route::Blob | Route::BlobIntoSink if path.contains("/blobs/") => away(307),
            Route::SecondHop if path.contains("/blobs/") => {
                Reply::new(307).with("location", "/elsewhere")
            }
            Route::SecondHop => away(307),
            Route::Realm => Reply::new(401)
                .with("www-authenticate", &format!(r#"Bearer realm="{bad}",service="s""#)),
            Route::RealmRedirect if path.starts_with("/token") => away(307),
            Route::RealmRedirect => {
                let host = seen.header("host").unwrap();
                let realm = format!(r#"Bearer realm="http://{host}/token",service="s""#);
                Reply::new(401).with("www-authenticate", &realm)
            }
            Route::Link if path.contains("/referrers/") => Reply::ok(index(&[&content.manifest]))
                .with("content-type", media_type::OCI_INDEX)
                .with("link", &format!(r#"<{bad}>; rel="next""#)),
            Route::UploadLocation if method == "POST" => away(202),
            Route::UploadRedirect if method == "POST" => {
                Reply::new(202).with("location", "/v2/app/blobs/uploads/1")
            }
            Route::UploadRedirect if method == "PUT" => away(307),
            Route::UploadLocation | Route::UploadRedirect => Reply::error(404, "BLOB_UNKNOWN"),
            _ => content.answer(seen),
        }
    }
}

async fn take(route: Route, client: &Client, image: &Reference) -> Result<(), OrasError> {
    let content = Content::new();
    let subject = &content.subject.digest;
    match route {
        Route::Tag => drop(client.resolve(image, None).await?),
        Route::Manifest | Route::Realm | Route::RealmRedirect => {
            drop(client.manifest_bytes(image, &content.manifest, None).await?);
        }
        Route::Referrers | Route::FallbackTag | Route::Link => {
            drop(client.referrers(image, subject, None).await?);
        }
        Route::CosignTag => drop(client.cosign_signature(image, subject, None).await?),
        Route::Blob | Route::SecondHop => {
            drop(client.blob_bytes(image, &content.blob.digest, None, None).await?);
        }
        Route::BlobIntoSink => {
            let sink = Vec::new();
            drop(client.blob_into(image, &content.blob, sink, &mut |_| {}, None).await?);
        }
        Route::UploadLocation | Route::UploadRedirect => {
            drop(client.push_blob(image, Bytes::from_static(b"blob")).await?);
        }
    }
    Ok(())
}

fn client(rules: &AddressRules, transport: Transport) -> Client {
    let rules = rules.clone();
    let mut options = options();
    options.transport = transport;
    options.auth = crate::fake::fixed(basic());
    options.connections =
        Connections::with_rules(TlsRoots::default(), move || ConnectionRules::new(rules.clone()));
    Client::new(options).unwrap()
}

/// Takes every route from a registry at one address to a trap that a text names.
async fn walk(registry: IpAddr, rules: &AddressRules, trap: &Trap, named: &str) {
    for route in ROUTES {
        let fake = Fake::start_at((registry, 0), misleading(route, named)).await;
        let client = client(rules, Transport::PlainHttp);
        let ended = take(route, &client, &fake.reference("app:1")).await;
        let error = ended.expect_err(&format!("{route:?} to {named}"));
        // A step that is none is told as a status; all others are refusals.
        let is_status = matches!(route, Route::RealmRedirect | Route::UploadRedirect)
            && matches!(error, OrasError::Status { status: 307, .. });
        let is_refused = matches!(error, OrasError::Forbidden { .. });
        assert!(is_status || is_refused, "{route:?} to {named}: {error}");
        assert!(!fake.seen().is_empty(), "{route:?}: the registry itself was not asked");
        assert_eq!(trap.connections(), 0, "{route:?} to {named}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

async fn refuse(rules: &AddressRules, trap: &Trap, registry: &str) {
    let image = Reference::parse(&format!("{registry}/app:1")).unwrap();
    for transport in [Transport::PlainHttp, Transport::Https, Transport::HttpsOrLoopbackHttp] {
        let error = client(rules, transport).resolve(&image, None).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{registry}: {error}");
        let told = error.to_string();
        assert!(told.contains("registries.allowedAddresses"), "{told}");
        assert_eq!(trap.connections(), 0, "{registry}");
    }
}

#[tokio::test]
async fn no_route_leads_to_this_machine() {
    let trap = Trap::set("127.0.0.1".parse().unwrap(), 0);
    let rules = AddressRules::for_anybody(Arc::new(["127.0.0.2".parse().unwrap()]));
    let registry = "127.0.0.2".parse().unwrap();
    let port = trap.address.port();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]"] {
        walk(registry, &rules, &trap, &format!("{host}:{port}")).await;
    }
    walk(registry, &rules, &trap, &format!("localhost:{port}")).await;
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "0.0.0.0"] {
        refuse(&rules, &trap, &format!("{host}:{port}")).await;
    }
    // The trap works: whoever may, arrives.
    let operator = client_over(Transport::PlainHttp, basic());
    let image = Reference::parse(&format!("127.0.0.1:{port}/app:1")).unwrap();
    operator.resolve(&image, None).await.unwrap_err();
    assert!(trap.connections() > 0);
}

#[tokio::test]
async fn what_is_listed_is_asked_and_a_change_of_the_list_counts_at_once() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let listed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = Arc::clone(&listed);
    let rules = move || {
        ConnectionRules::new(match now.load(Ordering::SeqCst) {
            true => AddressRules::for_anybody(Arc::new(["127.0.0.0/8".parse().unwrap()])),
            false => AddressRules::for_anybody(Arc::default()),
        })
    };
    let mut options = options();
    options.connections = Connections::with_rules(TlsRoots::default(), rules);
    let client = Client::new(options).unwrap();
    let by_name = Reference::parse(&format!("localhost:{}/app:1", fake.address.port())).unwrap();
    for image in [fake.reference("app:1"), by_name] {
        listed.store(false, Ordering::SeqCst);
        let error = client.resolve(&image, None).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{error}");
        listed.store(true, Ordering::SeqCst);
        client.resolve(&image, None).await.unwrap();
    }
}

/// Runs one of the tests below where the network is its own.
fn in_own_network(test: &str, variables: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, HOSTS).unwrap();
    let script = format!(
        "ip link set lo up && ip addr add {METADATA}/32 dev lo && ip addr add {REGISTRY}/32 dev lo \
         && mount --bind {} /etc/hosts && exec \"$@\"",
        hosts.display()
    );
    let run = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-rnm", "sh", "-c", &script, "sh"]).args(words);
        command.envs(variables.iter().copied());
        command.output().unwrap()
    };
    let tried = run(&["true"]);
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "no network of its own in CI: {why}");
        eprintln!("SKIPPED: {test}: this machine gives no network of its own: {}", why.trim());
        return;
    }
    let program = std::env::current_exe().unwrap();
    let ran = run(&[program.to_str().unwrap(), "--exact", test, "--ignored", "--nocapture"]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}{error}");
}

#[test]
fn no_route_leads_to_the_metadata_in_a_network_of_its_own() {
    in_own_network("ssrf::metadata", &[]);
}

#[test]
fn no_proxy_is_asked_for_a_forbidden_address() {
    let proxy = "http://good.example.com:3128";
    in_own_network("ssrf::proxied", &[("HTTP_PROXY", proxy), ("HTTPS_PROXY", proxy)]);
}

#[tokio::test]
#[ignore = "run in a network of its own by another test"]
async fn metadata() {
    let trap = Trap::set(METADATA.parse().unwrap(), 80);
    let rules = AddressRules::for_anybody(Arc::default());
    for rules in [&rules, &AddressRules::default()] {
        for named in [METADATA, "bad.example.com", "both.example.com", "2852039166", "0xa9fea9fe"] {
            walk(REGISTRY.parse().unwrap(), rules, &trap, named).await;
        }
        for registry in [
            METADATA,
            "bad.example.com",
            "both.example.com:80",
            "2852039166:80",
            "0xa9fea9fe:80",
            "0251.0376.0251.0376",
            "metadata.google.internal",
        ] {
            refuse(rules, &trap, registry).await;
        }
    }
    // A name that is found at a loopback address is meant where an operator wrote it alone.
    let here = Trap::set("127.0.0.1".parse().unwrap(), 80);
    refuse(&rules, &here, "here.example.com").await;
    walk(REGISTRY.parse().unwrap(), &AddressRules::default(), &here, "here.example.com").await;
    let operator = client(&AddressRules::default(), Transport::PlainHttp);
    let image = Reference::parse("here.example.com/app:1").unwrap();
    operator.resolve(&image, None).await.unwrap_err();
    assert!(here.connections() > 0);
    // A registry on a private address, by its name.
    let content = Content::new();
    let fake = Fake::start_at((REGISTRY, 0), move |seen| content.answer(seen)).await;
    let image = format!("good.example.com:{}/app:1", fake.address.port());
    let client = client(&rules, Transport::PlainHttp);
    client.resolve(&Reference::parse(&image).unwrap(), None).await.unwrap();
}

#[tokio::test]
#[ignore = "run in a network of its own by another test"]
async fn proxied() {
    let proxy = Trap::set(REGISTRY.parse().unwrap(), 3128);
    let rules = AddressRules::for_anybody(Arc::default());
    for registry in [METADATA, "0xa9fea9fe:80", "metadata.google.internal", "localhost.:80"] {
        let Ok(image) = Reference::parse(&format!("{registry}/app:1")) else { continue };
        let client = client(&rules, Transport::PlainHttp);
        let error = client.resolve(&image, None).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{registry}: {error}");
    }
    assert_eq!(proxy.connections(), 0);
    // Whatever else is asked goes to the proxy, which decides then.
    let image = Reference::parse("registry.example.com/app:1").unwrap();
    client(&rules, Transport::PlainHttp).resolve(&image, None).await.unwrap_err();
    assert!(proxy.connections() > 0);
}
