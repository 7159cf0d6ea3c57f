//! Files change under connections: at once, in halves, late, or to nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::parts::{ANSWER, Authority, Identity, Site};

#[tokio::test]
async fn a_new_pair_serves_new_connections_and_no_request_is_dropped() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let Some(site) = Site::start(&old.issue(), |_| {}).await else { return };
    // A connection that is open all the time.
    let mut kept = site.keep(&old, None);
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answer = async || kept.until_told(get, ANSWER).await;
    answer().await;
    let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = tokio::spawn(ask_until(
        format!("https://localhost:{}/", site.address.rsplit(':').next().unwrap()),
        [old.pem(), new.pem()],
        (Arc::clone(&asked), Arc::clone(&stop)),
    ));
    for round in 1..=3 {
        let authority = if round % 2 == 1 { &new } else { &old };
        authority.issue().write(&site.path("tls"));
        site.until_answers(authority, None, true).await;
        answer().await;
    }
    assert!(!site.answers(&old, None).await);
    stop.store(true, Ordering::SeqCst);
    assert_eq!(load.await.unwrap(), [""; 0]);
    assert!(asked.load(Ordering::SeqCst) > 50, "{}", asked.load(Ordering::SeqCst));
    site.until_said(r#"tls certificate rotation event: WRITE         "tls/tls.crt""#).await;
}

/// Asks, by a connection each time, until told to stop; what went wrong.
async fn ask_until(
    url: String,
    trusted: [String; 2],
    (asked, stop): (Arc<AtomicUsize>, Arc<AtomicBool>),
) -> Vec<String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trusted = trusted.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
    let client = client.pool_max_idle_per_host(0).timeout(Duration::from_secs(30)).build().unwrap();
    let mut wrong = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match client.get(&url).send().await {
            Ok(response) if response.status() == 404 => asked.fetch_add(1, Ordering::SeqCst),
            other => {
                wrong.push(format!("{other:?}"));
                0
            }
        };
    }
    wrong
}

#[tokio::test]
async fn half_a_pair_leaves_the_one_in_force_and_is_said_once() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let Some(site) = Site::start(&old.issue(), |_| {}).await else { return };
    let next = new.issue();
    let broken: [(&str, &str, &str); 5] = [
        ("tls/tls.crt", &next.certificate, "private key does not match public key"),
        ("tls/tls.crt", "", "failed to find any PEM data in certificate input"),
        ("tls/tls.crt", &next.certificate[..200], "tls: the certificate is not whole"),
        ("tls/tls.key", &next.key[..100], "tls: the certificate is not whole"),
        ("tls/tls.crt", &next.certificate, "tls: the key is not whole"),
    ];
    for (at, (file, text, why)) in broken.into_iter().enumerate() {
        fs::write(site.path(file), text).unwrap();
        site.until_said_times("error re-reading certificates: ", at + 1).await;
        let said = site.said();
        let last = said.lines().rfind(|line| line.contains("error re-reading")).unwrap();
        assert!(last.contains(why), "{why}: {last}");
        assert!(site.answers(&old, None).await, "{said}");
    }
    fs::remove_file(site.path("tls/tls.key")).unwrap();
    site.until_said("open tls/tls.key: no such file or directory").await;
    assert!(site.answers(&old, None).await);
    // Nothing of a key is in the log, and nothing is said again and again.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let said = site.said();
    assert_eq!(said.matches("error re-reading certificates: ").count(), 6, "{said}");
    let body: String = next.key.lines().nth(1).unwrap().chars().take(20).collect();
    assert!(!said.contains(&body), "{said}");
    fs::write(site.path("tls/tls.key"), &next.key).unwrap();
    site.until_answers(&new, None, true).await;
}

/// As the kubelet does: the files are links into a directory that is a link itself.
#[tokio::test]
async fn a_mounted_secret_is_followed_when_it_is_swapped() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mount = |identity: &Identity, folder: &std::path::Path, name: &str| {
        identity.write(&folder.join(name));
        symlink(name, folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    };
    let first = old.issue();
    let prepare = |folder: &std::path::Path| {
        fs::remove_dir_all(folder.join("tls")).unwrap();
        fs::create_dir(folder.join("tls")).unwrap();
        mount(&first, &folder.join("tls"), "..1");
        for file in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{file}"), folder.join("tls").join(file)).unwrap();
        }
    };
    let Some(site) = Site::start(&first, prepare).await else { return };
    assert!(site.answers(&old, None).await);
    mount(&new.issue(), &site.path("tls"), "..2");
    site.until_answers(&new, None, true).await;
}

#[tokio::test]
async fn an_authority_that_appears_later_is_asked_for_and_never_again_dispensed_with() {
    let (servers, first, second) =
        (Authority::new("servers"), Authority::new("first"), Authority::new("second"));
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let (of_first, of_second) = (first.issue(), second.issue());
    assert!(site.answers(&servers, None).await);
    site.require_clients_of(&first);
    site.until_answers(&servers, None, false).await;
    assert!(site.answers(&servers, Some(&of_first)).await, "{}", site.said());
    site.until_said("client certificates are required from now on").await;
    site.require_clients_of(&second);
    site.until_answers(&servers, Some(&of_first), false).await;
    assert!(site.answers(&servers, Some(&of_second)).await, "{}", site.said());

    let file = site.path("client/ca.crt");
    fs::write(&file, "").unwrap();
    site.until_said("there is no usable certificate in it: the one in force stays").await;
    fs::remove_file(&file).unwrap();
    site.until_said("ca.crt: no such file or directory: the one in force stays").await;
    fs::create_dir(&file).unwrap();
    site.until_said("ca.crt: it is not a regular file: the one in force stays").await;
    fs::remove_dir(&file).unwrap();
    // It changes with the pair, too.
    servers.issue().write(&site.path("tls"));
    site.until_said("rotation event: WRITE         \"tls/tls.key\"").await;
    assert!(!site.answers(&servers, None).await, "{}", site.said());
    assert!(!site.answers(&servers, Some(&of_first)).await, "{}", site.said());
    assert!(site.answers(&servers, Some(&of_second)).await, "{}", site.said());
    site.require_clients_of(&first);
    site.until_answers(&servers, Some(&of_first), true).await;
}

#[tokio::test]
async fn the_end_lets_a_request_in_progress_finish_and_waits_for_no_handshake() {
    let servers = Authority::new("servers");
    let Some(mut site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let _silent = tokio::net::TcpStream::connect(&site.address).await.unwrap();
    let idle = site.client(&servers, None).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = i32::try_from(site.process.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(site.process.wait().await.unwrap().code(), Some(0));
    site.until_said("ratify server shutdown complete").await;
    assert!(!site.said().contains("failed to shutdown"), "{}", site.said());
    drop(idle);
}
