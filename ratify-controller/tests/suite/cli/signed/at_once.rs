//! Eight processes sign one plugin at once, in real registries: no signature is lost, and none is half there.

use futures_util::future::join_all;

use super::*;
use crate::parity::machines::{Machines, PASSWORD, Server as Machine, USER};

/// How many sign.
const SIGNERS: usize = 8;

/// A registry that is not ours with the sample plugin, and the digest of that.
async fn filled(server: &Machine) -> (Place, String) {
    let mut home = Home::new();
    home.allow_sources();
    home.log_in(&server.address, USER, PASSWORD);
    let place = Place { home, registry: server.address.clone(), is_tls: false };
    let digest = place.fill().await;
    (place, digest)
}

/// Each of these signs in a process of its own, all at once; each has to succeed.
async fn sign_at_once(place: &Place, signers: &[Vec<String>]) {
    let plugin = place.plugin(":1.0.0");
    let signing = signers.iter().map(|options| {
        let mut arguments = vec!["plugin", "sign", &plugin];
        arguments.extend(options.iter().map(String::as_str));
        let mut process = place.home.command(&arguments);
        async move { process.output().await.unwrap() }
    });
    for ran in join_all(signing).await {
        assert!(ran.status.success(), "{ran:?}");
    }
}

/// The registries: with the Referrers API, and without, whose lists are under tags.
async fn registries(machines: &Machines) -> Vec<(Machine, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let by_tags = machines.registry_with_tags(folder.path()).await;
    vec![(machines.registry_with_api(None).await, None), (by_tags, Some(folder))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_processes_that_sign_by_keys_no_signature_is_lost() {
    let Some(machines) = Machines::find() else { return };
    let cosign = Cosign::new();
    for (server, _folder) in registries(&machines).await {
        let (place, digest) = filled(&server).await;
        let keys: Vec<_> = (0..SIGNERS).map(|number| cosign.add_key(&number.to_string())).collect();
        let keys = keys.iter().map(|key| vec!["--key".to_owned(), key.display().to_string()]);
        sign_at_once(&place, &keys.collect::<Vec<_>>()).await;
        let plugin = place.plugin(&format!("@{digest}"));
        cosign.log_in(&server.address, USER, PASSWORD);
        for number in 0..SIGNERS {
            assert!(cosign.verifies("cosign", &plugin, &number.to_string()).await, "{number}");
        }
        assert!(!cosign.verifies("cosign", &plugin, "stranger").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_processes_that_sign_by_certificates_no_signature_is_lost() {
    let Some(machines) = Machines::find() else { return };
    let names: Vec<_> = (0..SIGNERS).map(|number| format!("signer-{number}")).collect();
    let notary = Notary::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let roots = json!(names.iter().map(|name| notary.root(name)).collect::<Vec<_>>());
    for (server, _folder) in registries(&machines).await {
        let (place, _) = filled(&server).await;
        let files = names.iter().map(|name| notary.files(name).map(|at| at.display().to_string()));
        let signers = files.map(|[key, chain]| {
            ["--key", &key, "--certificates", &chain].map(str::to_owned).to_vec()
        });
        sign_at_once(&place, &signers.collect::<Vec<_>>()).await;
        let trusting = policy("enforce", json!({"verificationCerts": roots}));
        place.home.configure(&signed(&place, &trusting));
        let file = place.home.path().join(".ratify/config.json");
        let verify = ["plugin", "verify", "--config", file.to_str().unwrap(), "-o", "json"];
        let verified: Value = serde_json::from_str(&place.home.must(&verify).await).unwrap();
        let expected = names.iter().map(|name| format!("notation CN={name},O=Plugins,ST=WA,C=US"));
        let signers = &verified[0]["platforms"][0]["signers"];
        assert_eq!(*signers, json!(expected.collect::<Vec<_>>()), "{verified}");
    }
}
