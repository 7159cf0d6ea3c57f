//! TLS and plain HTTP: what is checked, and for whom it is not.

use std::sync::Arc;

use ratify_core::Reference;
use ratify_store_oras::{
    AddressRules, Client, ConnectionRules, Connections, OrasError, TlsRoots, Transport,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::fake::{Content, Fake, Reply, Seen, options};

/// A TLS acceptor with a certificate for some names, and the certificate itself in PEM.
pub(crate) fn acceptor(names: &[&str]) -> (tokio_rustls::TlsAcceptor, String) {
    acceptor_of(names, &[])
}

/// The same that knows some protocols; a server that is told of none speaks HTTP/1.1.
pub(crate) fn acceptor_of(
    names: &[&str],
    protocols: &[&[u8]],
) -> (tokio_rustls::TlsAcceptor, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.unwrap())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), issued.cert.pem())
}

/// A certificate for some names and its key, in PEM.
pub(crate) fn certificate(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

fn client(transport: Transport) -> Client {
    let mut options = options();
    options.transport = transport;
    Client::new(options).unwrap()
}

/// Connections that may lead to 0.0.0.0.
fn listing_unspecified(roots: TlsRoots) -> Connections {
    Connections::with_rules(roots, || {
        let listed = Arc::new(["0.0.0.0".parse().unwrap()]);
        ConnectionRules::new(AddressRules::for_operator(listed))
    })
}

#[tokio::test]
async fn a_loopback_certificate_is_not_checked_as_in_v1() {
    let content = Content::new();
    let fake = Fake::start_tls(move |seen: &Seen| content.answer(seen)).await;
    client(Transport::Https).resolve(&fake.reference("app:1"), None).await.unwrap();
    let by_name = format!("localhost:{}/app:1", fake.address.port());
    let by_name = Reference::parse(&by_name).unwrap();
    client(Transport::Https).resolve(&by_name, None).await.unwrap();
    client(Transport::HttpsOrLoopbackHttp).resolve(&by_name, None).await.unwrap();
}

#[tokio::test]
async fn a_loopback_registry_in_clear_is_found_out_for_plugins_only() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let reference = fake.reference("app:1");
    let plugins = client(Transport::HttpsOrLoopbackHttp);
    plugins.resolve(&reference, None).await.unwrap();
    plugins.resolve(&reference, None).await.unwrap();
    // Found out once: a GET of /v2/, and then what was asked for.
    assert_eq!(fake.lines(), ["GET /v2/", "HEAD /v2/app/manifests/1", "HEAD /v2/app/manifests/1"]);
    let error = client(Transport::Https).resolve(&reference, None).await.unwrap_err();
    assert!(matches!(error, OrasError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn other_hosts_are_never_spoken_to_in_clear_nor_believed_unchecked() {
    // The unspecified address reaches this machine and is no loopback host.
    let content = Content::new();
    let plain = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let content = Content::new();
    let tls = Fake::start_tls(move |seen: &Seen| content.answer(seen)).await;
    for fake in [&plain, &tls] {
        let reference = format!("0.0.0.0:{}/127.0.0.1/app:1", fake.address.port());
        let reference = Reference::parse(&reference).unwrap();
        for transport in [Transport::Https, Transport::HttpsOrLoopbackHttp] {
            let mut options = options();
            options.transport = transport;
            options.connections = listing_unspecified(TlsRoots::default());
            let client = Client::new(options).unwrap();
            let error = client.resolve(&reference, None).await.unwrap_err();
            assert!(matches!(error, OrasError::Unreachable { .. }), "{error}");
        }
        assert!(fake.seen().is_empty());
    }
}

#[tokio::test]
async fn the_file_of_ssl_cert_file_is_trusted_besides_the_systems_roots() {
    // A real check of a certificate needs a host that is no loopback one.
    let (acceptor, pem) = acceptor(&["0.0.0.0"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let resolve = async |roots: TlsRoots| {
        let mut options = options();
        options.transport = Transport::Https;
        options.connections = listing_unspecified(roots);
        let reference = Reference::parse(&format!("0.0.0.0:{port}/app:1")).unwrap();
        Client::new(options).unwrap().resolve(&reference, None).await.unwrap_err()
    };
    let without = resolve(TlsRoots::default()).await;
    assert!(matches!(without, OrasError::Unreachable { .. }), "{without}");
    assert!(without.to_string().contains("certificate"), "{without}");
    let with = resolve(TlsRoots { file: Some(file), directories: vec![] }).await;
    assert!(matches!(with, OrasError::Denied { status: 403, .. }), "{with}");
    // Whatever the file's name is: OpenSSL would want the hash of its subject.
    let in_directory = vec![directory.path().to_owned()];
    let with = resolve(TlsRoots { file: None, directories: in_directory }).await;
    assert!(matches!(with, OrasError::Denied { status: 403, .. }), "{with}");
    server.abort();
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let trap = Fake::start(|_: &Seen| Reply::new(200)).await;
    let clear = format!("http://{}/x", trap.registry());
    let fake = Fake::start_tls(move |_: &Seen| Reply::new(307).with("location", &clear)).await;
    for transport in [Transport::Https, Transport::HttpsOrLoopbackHttp] {
        let error = client(transport).resolve(&fake.reference("app:1"), None).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{error}");
    }
    assert!(trap.seen().is_empty());
}

#[tokio::test]
async fn a_token_realm_in_clear_is_not_asked_by_a_registry_with_tls() {
    let trap = Fake::start(|_: &Seen| Reply::ok(r#"{"token":"T"}"#)).await;
    let challenge = format!(r#"Bearer realm="http://{}/token""#, trap.registry());
    let fake =
        Fake::start_tls(move |_: &Seen| Reply::new(401).with("www-authenticate", &challenge)).await;
    let error = client(Transport::Https).resolve(&fake.reference("app:1"), None).await.unwrap_err();
    assert!(matches!(error, OrasError::Forbidden { .. }), "{error}");
    assert!(trap.seen().is_empty());
}

#[tokio::test]
async fn clients_share_connections() {
    let content = Content::new();
    let ports = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let connections = Connections::default();
    for _ in 0..5 {
        let mut options = options();
        options.connections = connections.clone();
        let client = Client::new(options).unwrap();
        client.resolve(&fake.reference("app:1"), None).await.unwrap();
        ports.lock().unwrap().insert(open_connections(fake.address.port()));
    }
    assert_eq!(ports.lock().unwrap().iter().max(), Some(&1));
}

/// How many connections this machine holds open to a local port.
fn open_connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let established = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&remote) && fields[3] == "01"
    };
    table.lines().skip(1).filter(established).count()
}

/// Answers one request of each connection, and closes it when the next one is there.
#[tokio::test]
async fn what_was_asked_of_a_connection_that_was_just_closed_is_asked_again_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let lines = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            for answers in [true, false] {
                let mut request = vec![0; 4096];
                let Ok(read @ 1..) = stream.read(&mut request).await else { break };
                let line = String::from_utf8_lossy(&request[..read]).lines().next().map(Into::into);
                lines.lock().unwrap().extend::<Option<String>>(line);
                if answers {
                    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    let client = client(Transport::PlainHttp);
    let image = Reference::parse(&format!("{address}/app:1")).unwrap();
    for _ in 0..3 {
        let error = client.resolve(&image, None).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
    assert_eq!(asked.lock().unwrap().len(), 5, "{asked:?}");
    let error = client.push_manifest(&image, "application/json", "{}".into()).await.unwrap_err();
    assert!(matches!(error, OrasError::NotFound { .. }), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 7, "{asked:?}");
}

/// One that answers nobody is asked twice, and not for ever.
#[tokio::test]
async fn a_server_that_closes_each_connection_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _read = stream.read(&mut [0; 4096]).await;
        }
    });
    let image = Reference::parse(&format!("{address}/app:1")).unwrap();
    let error = client(Transport::PlainHttp).resolve(&image, None).await.unwrap_err();
    assert!(matches!(error, OrasError::Unreachable { .. }), "{error}");
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2);
}
