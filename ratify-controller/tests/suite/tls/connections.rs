//! Connections that are open while the authorities of clients change: who would not be let in any
//! more is not answered any more, and everybody else does not notice.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::parts::{ANSWER, Authority, Identity, Site};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEAD: &str = "POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Length: 20\r\n\r\n";
const REQUIRED: &str = "client certificates are required from now on";
const CA_WRITTEN: &str = r#"rotation event: WRITE         "client/ca.crt""#;

#[tokio::test]
async fn who_came_in_before_there_was_an_authority_leaves_when_it_appears() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let mut kept = site.keep(&servers, None);
    kept.until_told(GET, ANSWER).await;
    // One that is asking, and one that has begun to.
    let (mut asking, mut begun) = (site.keep(&servers, None), site.keep(&servers, None));
    asking.until_told(GET, ANSWER).await;
    asking.send(&format!("{HEAD}0123456789")).await;
    begun.send("GET / HTTP/1.1\r\n").await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    site.require_clients_of(&clients);
    site.until_said(REQUIRED).await;
    let told = kept.until_ended(GET).await;
    assert_eq!(told, "", "answered without a certificate");
    let told = begun.until_ended("Host: localhost\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 421 "), "{told}");
    let told = asking.until_ended("0123456789").await;
    let is_answered = told.contains("ProviderResponse") && told.contains("connection: close");
    assert!(is_answered, "what was asked before: {told}");

    assert!(!site.answers(&servers, None).await);
    site.keep(&servers, Some(&clients.issue())).until_told(GET, ANSWER).await;
}

#[tokio::test]
async fn who_came_in_by_an_authority_that_is_taken_away_leaves_and_others_stay() {
    let (servers, first, second) =
        (Authority::new("servers"), Authority::new("first"), Authority::new("second"));
    let prepare = |folder: &std::path::Path| {
        fs::write(folder.join("client/ca.crt"), first.pem()).unwrap();
    };
    let Some(site) = Site::start(&servers.issue(), prepare).await else { return };
    let mut of_first = site.keep(&servers, Some(&first.issue()));
    of_first.until_told(GET, ANSWER).await;
    // Both count for a while: nobody leaves. Nor when the server has another certificate.
    site.require_clients_of_all(&[&first, &second]);
    site.until_said(CA_WRITTEN).await;
    servers.issue().write(&site.path("tls"));
    site.until_said(r#"rotation event: WRITE         "tls/tls.key""#).await;
    of_first.until_told(GET, ANSWER).await;
    let mut of_second = site.keep(&servers, Some(&second.issue()));
    of_second.until_told(GET, ANSWER).await;

    site.require_clients_of(&second);
    site.until_said_times(CA_WRITTEN, 2).await;
    assert_eq!(of_first.until_ended(GET).await, "");
    of_second.until_told(GET, ANSWER).await;
    assert!(!site.answers(&servers, Some(&first.issue())).await);
    // What cannot be read takes nobody's place.
    fs::write(site.path("client/ca.crt"), "").unwrap();
    site.until_said("there is no usable certificate in it: the one in force stays").await;
    of_second.until_told(GET, ANSWER).await;
}

#[tokio::test]
async fn a_rotation_with_both_authorities_in_between_fails_no_request() {
    let (servers, first, second) =
        (Authority::new("servers"), Authority::new("first"), Authority::new("second"));
    let prepare = |folder: &std::path::Path| {
        fs::write(folder.join("client/ca.crt"), first.pem()).unwrap();
    };
    let Some(site) = Site::start(&servers.issue(), prepare).await else { return };
    let url = format!("https://localhost:{}/", site.address.rsplit(':').next().unwrap());
    let start = |own: &Authority, idle: usize| {
        Load::start(&url, &servers, &own.issue_for(vec![CLIENT]), idle)
    };
    // Those that keep their connection, and those that make one a request.
    let before = [start(&first, 8), start(&first, 0)];
    tokio::time::sleep(Duration::from_millis(500)).await;
    site.require_clients_of_all(&[&first, &second]);
    site.until_said(CA_WRITTEN).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = [start(&second, 8), start(&second, 0)];
    for load in before {
        load.end().await;
    }
    site.require_clients_of(&second);
    site.until_said_times(CA_WRITTEN, 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for load in after {
        load.end().await;
    }
}

const CLIENT: rcgen::ExtendedKeyUsagePurpose = rcgen::ExtendedKeyUsagePurpose::ClientAuth;

/// Requests, one after the other, until the end.
struct Load {
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(url: &str, trusted: &Authority, own: &Identity, idle: usize) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let trusted = reqwest::Certificate::from_pem(trusted.pem().as_bytes()).unwrap();
        let own = [own.certificate.as_bytes(), own.key.as_bytes()].concat();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted])
            .identity(reqwest::Identity::from_pem(&own).unwrap())
            .pool_max_idle_per_host(idle)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped, url) = (Arc::clone(&asked), Arc::clone(&stop), url.to_owned());
        let asking = tokio::spawn(async move {
            let mut wrong = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                match client.get(&url).send().await {
                    Ok(response) if response.status() == 404 => {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    other => wrong.push(format!("{other:?}")),
                }
            }
            wrong
        });
        Self { asked, stop, asking }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        assert_eq!(self.asking.await.unwrap(), [""; 0]);
        assert!(self.asked.load(Ordering::SeqCst) > 20, "{}", self.asked.load(Ordering::SeqCst));
    }
}
