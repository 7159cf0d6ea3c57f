//! Who comes in and who does not, and that nobody holds the door.

use std::{fs, time::Duration};

use rcgen::ExtendedKeyUsagePurpose;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::parts::{ANSWER, Authority, Identity, Site, serve};

#[tokio::test]
async fn a_client_speaks_tls_1_3_and_has_a_certificate_of_the_right_authority() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let strangers = Authority::new("strangers");
    let ca = clients.pem();
    let Some(site) = Site::start(&servers.issue(), |folder| {
        fs::write(folder.join("client/ca.crt"), ca).unwrap();
    })
    .await
    else {
        return;
    };
    let good = clients.issue();
    let told = site.ask(&servers, Some(&good), &["-tls1_3"]).await;
    assert!(told.contains(ANSWER), "{told}");
    let told = site.ask(&servers, Some(&good), &["-tls1_2"]).await;
    assert!(told.contains("alert protocol version") && !told.contains(ANSWER), "{told}");
    let told = site.ask(&servers, None, &[]).await;
    assert!(told.contains("alert certificate required") && !told.contains(ANSWER), "{told}");
    for stranger in [
        strangers.issue(),
        // Of the right one, but only good for servers.
        clients.issue_for(vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ] {
        let told = site.ask(&servers, Some(&stranger), &[]).await;
        assert!(told.contains(":tlsv1 alert ") || told.contains(":sslv3 alert "), "{told}");
        assert!(!told.contains(ANSWER), "{told}");
    }
    // The client, too, knows whom it asks.
    let told = site.ask(&strangers, Some(&good), &[]).await;
    assert!(told.contains("certificate verify failed"), "{told}");
    site.until_said("http: TLS handshake error from 127.0.0.1:").await;
}

#[tokio::test]
async fn without_an_authority_anybody_comes_in_and_the_log_says_open() {
    let servers = Authority::new("servers");
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    assert!(site.answers(&servers, None).await, "{}", site.said());
    site.until_said("open: no client certificate is asked for: client/ca.crt does not exist yet")
        .await;
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_lets_nobody_in() {
    let servers = Authority::new("servers");
    for unusable in ["", "-----BEGIN CERTIFICATE-----\nMIIB", "no PEM at all"] {
        let prepare = |folder: &std::path::Path| {
            fs::write(folder.join("client/ca.crt"), unusable).unwrap();
        };
        let Some(site) = Site::start(&servers.issue(), prepare).await else { return };
        for own in [None, Some(servers.issue())] {
            assert!(!site.answers(&servers, own.as_ref()).await, "{unusable:?}");
        }
        site.until_said("nobody may come in").await;
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_dropped_and_holds_up_nobody() {
    let servers = Authority::new("servers");
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let mut silent = TcpStream::connect(&site.address).await.unwrap();
    let mut plain = TcpStream::connect(&site.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(site.answers(&servers, None).await, "{}", site.said());
    let mut bytes = Vec::new();
    for stream in [&mut plain, &mut silent] {
        let read = stream.read_to_end(&mut bytes);
        let ended = tokio::time::timeout(Duration::from_secs(30), read).await;
        assert!(ended.is_ok(), "it is still connected");
    }
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP"), "{bytes:?}");
}

/// Gatekeeper's authority has the serial number 0 and its certificate 1; it makes a connection for
/// each request, and leaves them open.
#[tokio::test]
async fn gatekeepers_client_certificate_is_good_and_its_idle_connections_shut_out_nobody() {
    let servers = Authority::new("servers");
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let run = |line: &str| site.openssl(line);
    run("genpkey -algorithm RSA -out ca.key");
    run("req -x509 -new -key ca.key -subj /O=gatekeeper/CN=gatekeeper-ca -set_serial 0 -out new");
    run("genpkey -algorithm RSA -out own.key");
    run("req -new -key own.key -subj /CN=gatekeeper-webhook-service -out own.csr");
    fs::write(site.path("usages"), "extendedKeyUsage=serverAuth,clientAuth\n").unwrap();
    run("x509 -req -in own.csr -CA new -CAkey ca.key -set_serial 1 -extfile usages -out own.crt");
    fs::rename(site.path("new"), site.path("client/ca.crt")).unwrap();
    let read = |name: &str| fs::read_to_string(site.path(name)).unwrap();
    let own = Identity { certificate: read("own.crt"), key: read("own.key") };
    site.until_answers(&servers, None, false).await;
    assert!(site.answers(&servers, Some(&own)).await, "{}", site.said());

    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pem = own.certificate.clone() + &own.key;
    let port = site.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/");
    let mut kept = Vec::new();
    for _ in 0..1200 {
        // A client of its own keeps a connection of its own.
        let trusted = reqwest::Certificate::from_pem(servers.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
        let client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        let client = client.timeout(Duration::from_secs(60)).build().unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 404);
        kept.push(client);
    }
    assert!(site.answers(&servers, Some(&own)).await, "{}", site.said());
}

#[tokio::test]
async fn a_server_asked_for_tls_does_not_come_up_without_a_pair() {
    let (servers, folder) = (Authority::new("servers"), tempfile::tempdir().unwrap());
    let (first, second) = (servers.issue(), servers.issue());
    let error = async || {
        let mut process = serve(folder.path(), &[]);
        let ended = tokio::time::timeout(Duration::from_secs(60), process.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(1));
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        log.lines().last().unwrap().to_owned()
    };
    assert_eq!(error().await, "Error: open tls/tls.crt: no such file or directory");
    first.write(&folder.path().join("tls"));
    fs::remove_file(folder.path().join("tls/tls.key")).unwrap();
    assert_eq!(error().await, "Error: open tls/tls.key: no such file or directory");
    fs::write(folder.path().join("tls/tls.key"), second.key).unwrap();
    assert_eq!(error().await, "Error: tls: private key does not match public key");
    fs::write(folder.path().join("tls/tls.crt"), "").unwrap();
    let none = "Error: tls: failed to find any PEM data in certificate input";
    assert_eq!(error().await, none);
}
