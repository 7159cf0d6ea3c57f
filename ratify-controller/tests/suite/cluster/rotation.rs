//! Certificates are made, kept and handed to Gatekeeper's Providers, by the rights that v1's chart
//! gives, on the objects that it renders; and beside v1.4.0 itself.

use std::{fs, time::Duration};

use serde_json::json;

use super::{
    replica::{
        ACCOUNT, NAMESPACE, Parts, Replica, SECRET, TLS, bundle, install, install_secret, openssl,
        settled, until,
    },
    server::{Cluster, ClusterOptions, User},
};

/// Nothing may change for this long before things are called settled.
const QUIET: Duration = Duration::from_secs(2);

async fn cluster(with_secret: bool) -> Option<Cluster> {
    let users = vec![User::new("ratify", ACCOUNT, &["system:authenticated"])];
    let cluster = Cluster::start(ClusterOptions { users }).await?;
    install(&cluster, with_secret).await;
    Some(cluster)
}

#[tokio::test]
async fn from_nothing_a_replica_makes_its_certificates_and_a_restart_keeps_them() {
    let Some(cluster) = cluster(false).await else { return };
    let replica = Replica::start(&cluster, "ratify", &TLS);
    replica
        .until_said(r#"acquiring secret to update certificates: secrets "ratify-tls" not found"#)
        .await;
    assert_eq!(replica.probe("/healthz").await, (200, "ok".into()));
    let (code, told) = replica.probe("/readyz").await;
    assert!(code == 500 && told.contains("[-]tls failed: there is no certificate"), "{told}");
    install_secret(&cluster).await;
    let made = settled(&cluster, QUIET).await;
    assert_eq!(replica.probe("/readyz").await.0, 500, "the kubelet has brought nothing yet");
    replica.mount(&cluster).await;
    replica.until_ready().await;
    let (_, told) = replica.probe("/readyz?verbose").await;
    assert!(told.contains("[+]tls ok: TLS until 20"), "{told}");
    assert!(told.contains("Z, open: no client certificate is asked for\n"), "{told}");
    assert!(told.contains("[+]resources ok: every kind is listed"), "{told}");
    replica.until_verified_by(&cluster, &bundle(&cluster, "ratify-provider").await).await;
    replica.assert_said_in_order(&[
        "Feature flag CERT_ROTATION is enabled",
        "setting up cert rotation",
        "starting cert rotator controller",
        "refreshing CA and server certs",
        "server certs refreshed",
        "no cert refresh needed",
        "Ensuring CA cert",
        "CA certs are injected to webhooks",
        "certs are ready in tls",
    ]);
    looks_as_v1_makes_it(&cluster, &made);
    for secret in [&made.authority_key, &made.key] {
        let line: String = secret.lines().nth(1).unwrap().chars().take(20).collect();
        assert!(!replica.said().contains(&line), "{}", replica.said());
    }
    let managers = cluster
        .must(&["get", "provider", "ratify-provider", "-o", "json", "--show-managed-fields"])
        .await;
    let managers: serde_json::Value = serde_json::from_str(&managers).unwrap();
    let ours = managers["metadata"]["managedFields"].as_array().unwrap().iter();
    let ours: Vec<_> = ours.filter(|entry| entry["manager"] == "ratify").collect();
    assert_eq!(ours.len(), 1, "{managers}");
    assert_eq!(ours[0]["fieldsV1"], json!({"f:spec": {"f:caBundle": {}}}));

    drop(replica);
    let replica = Replica::start(&cluster, "ratify", &TLS);
    replica.until_said("no cert refresh needed").await;
    replica.mount(&cluster).await;
    replica.until_ready().await;
    assert_eq!(settled(&cluster, QUIET).await, made);
    assert!(!replica.said().contains("refreshing"), "{}", replica.said());

    // Somebody edits a Provider.
    let edit = r#"{"spec":{"caBundle":"bm90aGluZw=="}}"#;
    cluster.must(&["patch", "provider", "ratify-provider", "--type=merge", "-p", edit]).await;
    assert_eq!(settled(&cluster, QUIET).await, made);
    cluster.must(&["delete", "provider", "ratify-mutation-provider"]).await;
    replica.until_said("Webhook not found. Unable to update certificate.").await;
}

/// Names, usages and forms, by `openssl`.
fn looks_as_v1_makes_it(cluster: &Cluster, made: &Parts) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, text) in [
        ("ca.crt", &made.authority),
        ("ca.key", &made.authority_key),
        ("tls.crt", &made.certificate),
        ("tls.key", &made.key),
    ] {
        fs::write(folder.join(name), text).unwrap();
        if name.ends_with("key") {
            assert!(
                text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"),
                "v1 reads no other form"
            );
            let checked = openssl(cluster, folder, &format!("rsa -in {name} -check -noout -text"));
            assert!(checked.contains("RSA key ok") && checked.contains("(2048 bit"), "{checked}");
        }
    }
    let shown = |name: &str| openssl(cluster, folder, &format!("x509 -in {name} -noout -text"));
    for (name, parts) in [
        (
            "ca.crt",
            [
                "Subject: O = Ratify, CN = ratify.gatekeeper-system",
                "CA:TRUE",
                "Digital Signature, Key Encipherment, Certificate Sign",
                "DNS:ratify.gatekeeper-system",
            ],
        ),
        (
            "tls.crt",
            [
                "Subject: CN = ratify.gatekeeper-system",
                "CA:FALSE",
                "TLS Web Server Authentication",
                "DNS:ratify.gatekeeper-system",
            ],
        ),
    ] {
        let text = shown(name);
        for part in parts {
            assert!(text.contains(part), "{name}: {part}: {text}");
        }
        // Ten years, and not yet in the last ninety days of them.
        openssl(cluster, folder, &format!("x509 -in {name} -noout -checkend 315000000"));
    }
    openssl(cluster, folder, "verify -CAfile ca.crt tls.crt");
}

/// An authority of `openssl`, whose key has the form of the option, and a server's certificate of
/// it, good for so many days.
fn foreign(cluster: &Cluster, algorithm: &str, days: u32) -> Parts {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let name = "subjectAltName=DNS:ratify.gatekeeper-system";
    let run = |line: String| drop(openssl(cluster, folder, &line));
    run(format!("genpkey {algorithm} -out ca.key"));
    run(format!(
        "req -x509 -new -key ca.key -subj /C=NL/O=Somebody/CN=An-authority -days {days} -addext {name} \
         -addext keyUsage=critical,keyCertSign -out ca.crt"
    ));
    run("genpkey -algorithm RSA -out tls.key".to_owned());
    run("req -new -key tls.key -subj /CN=server -out tls.csr".to_owned());
    fs::write(folder.join("extensions"), format!("{name}\nextendedKeyUsage=serverAuth\n")).unwrap();
    run(format!(
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days {days} -extfile extensions -out tls.crt"
    ));
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    Parts {
        version: String::new(),
        authority: read("ca.crt"),
        authority_key: read("ca.key"),
        certificate: read("tls.crt"),
        key: read("tls.key"),
    }
}

#[tokio::test]
async fn what_is_about_to_expire_is_replaced_and_old_and_new_are_trusted_meanwhile() {
    let Some(cluster) = cluster(true).await else { return };
    let old = foreign(&cluster, "-algorithm RSA", 60);
    old.put(&cluster).await;
    let replica = Replica::start(&cluster, "ratify", &TLS);
    replica.mount(&cluster).await;
    replica.until_verified_by(&cluster, &old.authority).await;
    let new = settled(&cluster, QUIET).await;
    assert!(new.authority.ends_with(&old.authority) && new.authority != old.authority);
    // The kubelet takes its time: what is shown still is the old one.
    let trusted = bundle(&cluster, "ratify-mutation-provider").await;
    replica.until_verified_by(&cluster, &trusted).await;
    replica.until_verified_by(&cluster, &old.authority).await;
    replica.mount(&cluster).await;
    let is_new = async || {
        let shown = replica.shown_to(&cluster, &old.authority).await;
        !shown.contains("Verify return code: 0 (ok)")
    };
    assert!(until(is_new).await, "{}", replica.said());
    replica.until_verified_by(&cluster, &trusted).await;
    drop(replica);

    // The day is over.
    let ends = "config.ratify.deislabs.io/former-ca-until=2026-01-01T00:00:00Z";
    cluster.must(&["annotate", "secret", SECRET, "-n", NAMESPACE, "--overwrite", ends]).await;
    let replica = Replica::start(&cluster, "ratify", &TLS);
    replica.until_said("former CA removed").await;
    let after = settled(&cluster, QUIET).await;
    assert_eq!(format!("{}{}", after.authority, old.authority), new.authority);
    assert_eq!(bundle(&cluster, "ratify-provider").await, after.authority);
    let secret = cluster.get_json("secret", Some(NAMESPACE), SECRET).await;
    assert!(!secret.to_string().contains("former-ca-until"), "{secret}");
}

#[tokio::test]
async fn keys_of_any_form_are_used_and_only_what_is_broken_is_replaced() {
    let Some(cluster) = cluster(true).await else { return };
    let replica = Replica::start(&cluster, "ratify", &TLS);
    settled(&cluster, QUIET).await;
    // All that v1 refuses to read as an authority's key.
    for algorithm in
        ["-algorithm RSA", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-algorithm ED25519"]
    {
        let given = foreign(&cluster, algorithm, 3650);
        given.put(&cluster).await;
        let kept = settled(&cluster, QUIET).await;
        assert_eq!(Parts { version: String::new(), ..kept }, given, "{algorithm}");

        let broken = Parts { certificate: "broken".to_owned(), ..given.clone() };
        broken.put(&cluster).await;
        let has_mended = async || Parts::of_secret(&cluster).await.certificate != "broken";
        assert!(until(has_mended).await, "{}", replica.said());
        let mended = settled(&cluster, QUIET).await;
        assert_eq!(mended.authority, given.authority, "{algorithm}");
        assert!(mended.key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        let is_rsa = algorithm.ends_with("RSA");
        assert_eq!(mended.authority_key.starts_with("-----BEGIN RSA PRIVATE"), is_rsa);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), &mended.authority).unwrap();
        fs::write(folder.path().join("tls.crt"), &mended.certificate).unwrap();
        openssl(&cluster, folder.path(), "verify -CAfile ca.crt tls.crt");
    }
    let lost = Parts { authority_key: String::new(), ..Parts::of_secret(&cluster).await };
    lost.put(&cluster).await;
    let is_replaced = async || !Parts::of_secret(&cluster).await.authority_key.is_empty();
    assert!(until(is_replaced).await, "{}", replica.said());
    let new = settled(&cluster, QUIET).await;
    assert!(new.authority.ends_with(&lost.authority) && new.authority != lost.authority);
}

#[tokio::test]
async fn an_outage_and_missing_rights_are_told_and_outlived() {
    let Some(mut cluster) = cluster(true).await else { return };
    // May look, and write nothing.
    let mut role = cluster.get_json("role", Some(NAMESPACE), "ratify-manager-role").await;
    role["metadata"] = json!({"name": "ratify-manager-role", "namespace": NAMESPACE});
    role["rules"] = json!([{"apiGroups": [""], "resources": ["secrets"],
        "verbs": ["get", "list", "watch"]}]);
    cluster.apply(&role.to_string()).await;
    let replica = Replica::start(&cluster, "ratify", &TLS);
    let missing = "the right to update secrets in namespace gatekeeper-system is missing";
    replica.until_said(missing).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(replica.said().matches(missing).count(), 1, "{}", replica.said());
    assert_eq!(replica.probe("/healthz").await.0, 200);
    cluster.stop_api_server();
    replica.until_said("cannot watch secrets").await;
    cluster.start_api_server().await;
    role["rules"][0]["verbs"] = json!(["get", "list", "watch", "update"]);
    cluster.apply(&role.to_string()).await;
    let made = settled(&cluster, QUIET).await;
    replica.mount(&cluster).await;
    replica.until_ready().await;
    replica.until_verified_by(&cluster, &made.authority).await;
}

#[tokio::test]
async fn three_replicas_at_once_agree_on_one_authority() {
    let Some(cluster) = cluster(true).await else { return };
    let replicas = [(); 3].map(|()| Replica::start(&cluster, "ratify", &TLS));
    let made = settled(&cluster, QUIET).await;
    for replica in &replicas {
        replica.until_said("no cert refresh needed").await;
        replica.mount(&cluster).await;
        replica.until_ready().await;
        replica.until_verified_by(&cluster, &made.authority).await;
    }
    let written = |replicas: &[Replica]| -> usize {
        let counts =
            replicas.iter().map(|one| one.said().matches("server certs refreshed").count());
        counts.sum()
    };
    assert_eq!(written(&replicas), 1, "{}", replicas[0].said());
    // And once more, all of them running.
    let broken = Parts { key: String::new(), ..made.clone() };
    broken.put(&cluster).await;
    let has_mended = async || !Parts::of_secret(&cluster).await.key.is_empty();
    assert!(until(has_mended).await, "{}", replicas[0].said());
    let mended = settled(&cluster, QUIET).await;
    assert_eq!(mended.authority, made.authority);
    assert_eq!(written(&replicas), 2, "{}", replicas[0].said());
}

#[tokio::test]
async fn beside_v1_neither_writes_in_circles_and_each_takes_what_the_other_made() {
    let _alone = super::replica::V1.lock().await;
    let Some(cluster) = cluster(true).await else { return };
    let v1 = Replica::start_v1(&cluster, "ratify").await;
    let of_v1 = settled(&cluster, QUIET).await;
    let ours = Replica::start(&cluster, "ratify", &TLS);
    ours.until_said("no cert refresh needed").await;
    assert_eq!(settled(&cluster, QUIET * 3).await, of_v1);
    assert!(!ours.said().contains("refreshing"), "{}", ours.said());
    ours.mount(&cluster).await;
    ours.until_verified_by(&cluster, &of_v1.authority).await;
    drop(v1);

    // Ours makes them, with a former authority beside the new one.
    let lost = Parts { authority_key: String::new(), ..of_v1.clone() };
    lost.put(&cluster).await;
    let is_replaced = async || !Parts::of_secret(&cluster).await.authority_key.is_empty();
    assert!(until(is_replaced).await, "{}", ours.said());
    let of_ours = settled(&cluster, QUIET).await;
    assert!(of_ours.authority.ends_with(&of_v1.authority));
    let v1 = Replica::start_v1(&cluster, "ratify").await;
    v1.until_said("no cert refresh needed").await;
    v1.until_said("Ensuring CA cert").await;
    assert_eq!(settled(&cluster, QUIET * 3).await, of_ours);
    assert!(!v1.said().contains("refreshing"), "{}", v1.said());
    assert_eq!(bundle(&cluster, "ratify-provider").await, of_ours.authority);

    // Both are there, and something breaks.
    let broken = Parts { key: String::new(), ..of_ours.clone() };
    broken.put(&cluster).await;
    let has_mended = async || !Parts::of_secret(&cluster).await.key.is_empty();
    assert!(until(has_mended).await, "{} {}", ours.said(), v1.said());
    let mended = settled(&cluster, QUIET * 3).await;
    assert_eq!(mended.authority, of_ours.authority);
    let written = [&ours, &v1].map(|one| one.said().matches("server certs refreshed").count());
    assert_eq!(written.iter().sum::<usize>(), 2, "{} {}", ours.said(), v1.said());
}
