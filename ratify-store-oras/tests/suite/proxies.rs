//! Registries behind a real proxy, tinyproxy, in a network of the test's own: through a tunnel, in
//! clear, past it, with a password, and where it refuses. What it did is in its log.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ratify_core::{Descriptor, Reference};
use ratify_store_oras::{Client, Connections, OrasError, RetryPolicy, TlsRoots, Transport};

use crate::{
    fake::{basic, fixed, options},
    network::{ADDRESS, is_own_with},
    real::{self, Registry, tool},
};

const NAMES: [&str; 3] = ["registry.example.com", "direct.example.com", "proxy.example.com"];
const PROXY: &str = "http://proxy.example.com:3128";

/// A proxy, ended with the test.
struct Proxy {
    process: Child,
    directory: tempfile::TempDir,
}

impl Proxy {
    /// One that listens where [`PROXY`] says, with more lines in its configuration.
    fn start(lines: &str) -> Option<Self> {
        let program = tool("tinyproxy")?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let config = format!(
            "Port 3128\nListen {ADDRESS}\nTimeout 60\nMaxClients 50\nLogLevel Connect\n\
             LogFile \"{}\"\n{lines}\n",
            at("log").display()
        );
        fs::write(at("tinyproxy.conf"), config).unwrap();
        let process = Command::new(program)
            .arg("-d")
            .arg("-c")
            .arg(at("tinyproxy.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self { process, directory };
        let begun = Instant::now();
        while TcpStream::connect((ADDRESS, 3128)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the proxy does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(proxy)
    }

    /// What it was asked for: the first line of each request.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        let requests = log.lines().filter_map(|line| line.split_once("): ")).map(|(_, line)| line);
        let is_request = |line: &&str| line.starts_with("CONNECT ") || line.contains(" http://");
        requests.filter(is_request).map(str::to_owned).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A registry of these names, and the certificate that makes it believed.
fn registry(tls: bool) -> Option<Registry> {
    real::with_tag_schema_at(ADDRESS, |path| match tls {
        true => real::section_of(&real::certificate_for(path, &NAMES)),
        false => String::new(),
    })
}

fn client(registry: &Registry, transport: Transport) -> Client {
    let roots =
        TlsRoots { file: Some(registry.directory.path().join("cert.pem")), ..TlsRoots::default() };
    let mut options = options();
    options.transport = transport;
    options.auth = fixed(basic());
    options.retry = RetryPolicy::fast(0);
    options.connections = Connections::new(roots);
    Client::new(options).unwrap()
}

fn image(host: &str, registry: &Registry) -> Reference {
    let (_, port) = registry.address.rsplit_once(':').unwrap();
    Reference::parse(&format!("{host}:{port}/a/app:1")).unwrap()
}

/// Pushes something, and reads it back.
async fn use_it(client: &Client, image: &Reference) -> Descriptor {
    let (subject, pushed) = real::fill(client, image, 1).await;
    real::write_tag(client, image, &subject, &pushed).await;
    real::read_back(client, image, &subject, &pushed).await;
    subject
}

/// Runs a test in a network of its own, with these variables.
fn behind(test: &str, variables: &[(&str, &str)], run: impl AsyncFnOnce()) {
    if is_own_with(&format!("proxies::{test}"), &NAMES, variables) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run());
    }
}

#[test]
fn tls_goes_through_a_tunnel_and_plain_http_is_passed_on() {
    let test = "tls_goes_through_a_tunnel_and_plain_http_is_passed_on";
    let variables =
        [("HTTPS_PROXY", PROXY), ("HTTP_PROXY", PROXY), ("NO_PROXY", "direct.example.com")];
    behind(test, &variables, async || {
        let Some(proxy) = Proxy::start("") else { return };
        let (Some(secure), Some(clear)) = (registry(true), registry(false)) else { return };
        let through = image(NAMES[0], &secure);
        use_it(&client(&secure, Transport::Https), &through).await;
        let tunnel = format!("CONNECT {} HTTP/1.1", through.registry());
        let asked = proxy.asked();
        assert!(!asked.is_empty() && asked.iter().all(|line| *line == tunnel), "{asked:?}");
        #[cfg(feature = "http2")]
        assert_eq!(secure.protocols(), ["HTTP/2.0"]);

        let before = proxy.asked().len();
        let through = image(NAMES[0], &clear);
        use_it(&client(&clear, Transport::PlainHttp), &through).await;
        let asked = proxy.asked().split_off(before);
        let passed = format!("http://{}/v2/a/app/", through.registry());
        let is_passed = |line: &String| line.split(' ').nth(1).unwrap().starts_with(&passed);
        assert!(asked.len() > 5 && asked.iter().all(is_passed), "{asked:?}");

        let before = proxy.asked().len();
        use_it(&client(&secure, Transport::Https), &image(NAMES[1], &secure)).await;
        use_it(&client(&clear, Transport::PlainHttp), &image(NAMES[1], &clear)).await;
        assert_eq!(proxy.asked().split_off(before), [""; 0]);
    });
}

#[test]
fn no_special_address_is_asked_of_a_proxy() {
    let variables = [("HTTPS_PROXY", PROXY), ("HTTP_PROXY", PROXY)];
    behind("no_special_address_is_asked_of_a_proxy", &variables, async || {
        let Some(proxy) = Proxy::start("") else { return };
        let Some(registry) = registry(false) else { return };
        for host in ["169.254.169.254", "0xa9fea9fe", "metadata.google.internal", "[fe80::1]"] {
            for transport in [Transport::PlainHttp, Transport::Https] {
                let image = Reference::parse(&format!("{host}:80/app:1"));
                let Ok(image) = image else { continue };
                let error = client(&registry, transport).resolve(&image, None).await.unwrap_err();
                assert!(matches!(error, OrasError::Forbidden { .. }), "{host}: {error}");
            }
        }
        assert_eq!(proxy.asked(), [""; 0]);
    });
}

#[test]
fn the_password_in_the_proxys_url_opens_it() {
    let url = "http://user:pa%5Fss@proxy.example.com:3128";
    let variables = [("HTTPS_PROXY", url), ("HTTP_PROXY", url)];
    behind("the_password_in_the_proxys_url_opens_it", &variables, async || {
        let Some(_proxy) = Proxy::start("BasicAuth user pa_ss") else { return };
        let (Some(secure), Some(clear)) = (registry(true), registry(false)) else { return };
        use_it(&client(&secure, Transport::Https), &image(NAMES[0], &secure)).await;
        use_it(&client(&clear, Transport::PlainHttp), &image(NAMES[0], &clear)).await;
    });
}

/// What is said where a registry is asked through a proxy that does not let it.
async fn refused(registry: &Registry, transport: Transport) -> String {
    let client = client(registry, transport);
    let error = client.resolve(&image(NAMES[0], registry), None).await.unwrap_err();
    assert!(matches!(error, OrasError::Unreachable { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(PROXY), "{said}");
    assert!(!said.contains("hunter3") && !format!("{error:?}").contains("hunter3"), "{said}");
    said
}

const WRONG: &str = "http://user:hunter3@proxy.example.com:3128";

#[test]
fn a_proxy_that_wants_a_password_is_named() {
    let variables = [("HTTPS_PROXY", PROXY), ("HTTP_PROXY", PROXY)];
    behind("a_proxy_that_wants_a_password_is_named", &variables, async || {
        let Some(_proxy) = Proxy::start("BasicAuth user other") else { return };
        let (Some(secure), Some(clear)) = (registry(true), registry(false)) else { return };
        refused(&secure, Transport::Https).await;
        let said = refused(&clear, Transport::PlainHttp).await;
        assert!(said.contains("wants another user and password"), "{said}");
    });
}

#[test]
fn a_wrong_password_is_not_shown() {
    let variables = [("HTTPS_PROXY", WRONG), ("HTTP_PROXY", WRONG)];
    behind("a_wrong_password_is_not_shown", &variables, async || {
        let Some(_proxy) = Proxy::start("BasicAuth user other") else { return };
        let (Some(secure), Some(clear)) = (registry(true), registry(false)) else { return };
        refused(&secure, Transport::Https).await;
        // This proxy answers so; it cannot be told from the registry's own answer.
        let client = client(&clear, Transport::PlainHttp);
        let error = client.resolve(&image(NAMES[0], &clear), None).await.unwrap_err();
        assert!(matches!(error, OrasError::Denied { status: 401, .. }), "{error}");
        assert!(!format!("{error:?}").contains("hunter3"), "{error:?}");
    });
}

#[test]
fn a_proxy_that_refuses_a_tunnel_or_is_not_there_is_named() {
    let variables = [("HTTPS_PROXY", WRONG), ("HTTP_PROXY", WRONG)];
    behind("a_proxy_that_refuses_a_tunnel_or_is_not_there_is_named", &variables, async || {
        let (Some(secure), Some(clear)) = (registry(true), registry(false)) else { return };
        // To no other port is there a tunnel.
        let Some(proxy) = Proxy::start("BasicAuth user hunter3\nConnectPort 443") else { return };
        let said = refused(&secure, Transport::Https).await;
        assert!(said.contains("tunnel"), "{said}");
        drop(proxy);
        for (registry, transport) in [(&secure, Transport::Https), (&clear, Transport::PlainHttp)] {
            let said = refused(registry, transport).await;
            assert!(said.contains("refused"), "{said}");
        }
    });
}
