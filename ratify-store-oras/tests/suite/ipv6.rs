//! A registry at `[::1]`, from the reference to the last byte: by its scheme, its file, its password.

use std::{net::TcpListener, sync::Arc};

use ratify_core::Reference;
use ratify_store_oras::{
    AddressRules, Client, ConnectionRules, Connections, OrasError, TlsRoots, Transport,
    auth::{self, DockerConfig},
};

use crate::{
    fake::{basic, client_over, options},
    network, real,
};

/// Where the machine has no such address, a network of the test's own has.
async fn with_loopback(test: &str, run: impl AsyncFnOnce()) {
    if TcpListener::bind("[::1]:0").is_ok() || network::is_own(&format!("ipv6::{test}"), &[]) {
        run().await;
    }
}

#[tokio::test]
async fn a_registry_in_clear_is_pushed_to_and_read() {
    with_loopback("a_registry_in_clear_is_pushed_to_and_read", async || {
        let Some(registry) = real::with_tag_schema_at("[::1]", |_| String::new()) else { return };
        assert!(registry.address.starts_with("[::1]:"), "{}", registry.address);
        for transport in [Transport::PlainHttp, Transport::HttpsOrLoopbackHttp] {
            let client = client_over(transport, basic());
            let image = real::image(&registry);
            let (subject, pushed) = real::fill(&client, &image, 2).await;
            real::write_tag(&client, &image, &subject, &pushed).await;
            real::read_back(&client, &image, &subject, &pushed).await;
        }
        // In a server it is asked only where it is listed.
        let image = real::image(&registry);
        for (listed, is_asked) in [("::1", true), ("127.0.0.1", false)] {
            let mut options = options();
            options.auth = crate::fake::fixed(basic());
            options.connections = Connections::with_rules(TlsRoots::default(), move || {
                let listed = Arc::new([listed.parse().unwrap()]);
                ConnectionRules::new(AddressRules::for_anybody(listed))
            });
            let resolved = Client::new(options).unwrap().resolve(&image, None).await;
            match resolved {
                Ok(_) => assert!(is_asked),
                Err(error) => {
                    assert!(!is_asked && matches!(error, OrasError::Forbidden { .. }), "{error}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn its_file_and_its_password_are_found_however_it_is_spelt() {
    with_loopback("its_file_and_its_password_are_found_however_it_is_spelt", async || {
        let registry = real::with_tag_schema_at("[::1]", |path| {
            real::section_of(&real::certificate_for(path, &["::1"]))
        });
        let Some(registry) = registry else { return };
        let (_, port) = registry.address.rsplit_once(':').unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let auths = serde_json::json!({
            "auths": {(&registry.address): {"auth": "dXNlcjpodW50ZXIy"}},
        });
        std::fs::write(path.join("config.json"), auths.to_string()).unwrap();
        let client = |name: &str, authority: &str| {
            let folder = path.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let file = format!("server = \"https://{}\"\nca = \"{authority}\"", registry.address);
            std::fs::write(folder.join("hosts.toml"), file).unwrap();
            let mut options = options();
            options.transport = Transport::Https;
            let environment = auth::Environment {
                docker_config: Some(path.clone()),
                ..auth::Environment::default()
            };
            options.auth = Arc::new(DockerConfig::new(None, &environment));
            let path = path.clone();
            options.connections = Connections::with_rules(TlsRoots::default(), move || {
                let mut rules = ConnectionRules::default();
                rules.hosts_path = Some(path.clone());
                rules
            });
            Client::new(options).unwrap()
        };
        let own = registry.directory.path().join("cert.pem").display().to_string();
        let name = format!("[::1]:{port}");
        let (subject, pushed) = real::fill(&client(&name, &own), &real::image(&registry), 1).await;
        let spelt = |host: &str| Reference::parse(&format!("{host}:{port}/a/app:1")).unwrap();
        for host in ["[::1]", "[0::1]", "[0:0:0:0:0:0:0:1]"] {
            let resolved = client(&name, &own).resolve(&spelt(host), None).await;
            assert_eq!(resolved.unwrap(), subject, "{host}");
        }
        real::write_tag(&client(&name, &own), &spelt("[::1]"), &subject, &pushed).await;
        real::read_back(&client(&name, &own), &spelt("[::1]"), &subject, &pushed).await;
        // Another authority is believed under no spelling: the file counts for each.
        let (other, _) = real::certificate_for(
            &tempfile::tempdir_in(&path).unwrap().keep(),
            &["other.example.com"],
        );
        for host in ["[::1]", "[0::1]"] {
            let client = client(&name, &other.display().to_string());
            let error = client.resolve(&spelt(host), None).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{host}: {error}");
        }
        // The form for file systems without colons in names.
        std::fs::remove_dir_all(path.join(&name)).unwrap();
        let client = client(&format!("[::1]_{port}_"), &own);
        client.resolve(&spelt("[::1]"), None).await.unwrap();
    })
    .await;
}
