//! `ratify plugin sign`: what it signs the real `cosign` and `notation` verify, and add to.

use serde_json::{Value, json};

use super::{
    Cosign, Notary, RegistryOptions, cosign::PASSWORD, place, signed, this_platform, trusting,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_by_a_key_cosign_verifies_and_adds_to() {
    let (_registry, mut place, digest) = place(RegistryOptions::default()).await;
    let cosign = Cosign::new();
    let (plugin, key) = (place.plugin(&format!("@{digest}")), cosign.private("release").await);
    let key = key.to_str().unwrap();
    let sign = ["plugin", "sign", &plugin, "--key", key];
    let without = place.home.run(&sign).await;
    assert_eq!(without.code, Some(1), "{}", without.stdout);
    assert!(without.error().contains("environment variable COSIGN_PASSWORD"), "{without:?}");
    place.home.set("COSIGN_PASSWORD", "another");
    let other = place.home.run(&sign).await;
    assert!(other.error().contains("another password than that in COSIGN_PASSWORD"), "{other:?}");
    assert!(!cosign.verifies("cosign", &plugin, "release").await, "nothing was signed");

    place.home.set("COSIGN_PASSWORD", PASSWORD);
    let printed = place.home.must(&sign).await;
    let tag = format!("(sha256-{}.sig)", digest.as_str().trim_start_matches("sha256:"));
    assert!(printed.contains(&tag), "{printed}");
    for program in ["cosign", "cosign3"] {
        assert!(cosign.verifies(program, &plugin, "release").await, "{program}");
        assert!(!cosign.verifies(program, &plugin, "other").await, "{program}");
    }
    // Each adds to what the other has written.
    cosign.sign("cosign", &plugin, "other").await;
    place.home.must(&sign).await;
    for key in ["release", "other"] {
        assert!(cosign.verifies("cosign", &plugin, key).await, "{key}");
    }

    let keys = json!([{"file": cosign.public("release").await}]);
    let policy = json!({"name": "plugins", "scopes": ["*"], "keys": keys, "tLogVerify": false});
    let verifier = json!({"name": "cosign", "trustPolicies": [policy]});
    place.home.configure(&signed(&place, &json!({"verifiers": [verifier]})));
    let ran = place.home.verify(&place.image()).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_with_certificates_notation_verifies() {
    let notary = Notary::new(&["release", "other"]);
    for referrers_api in [true, false] {
        let options = RegistryOptions { referrers_api, ..RegistryOptions::default() };
        let (_registry, place, digest) = place(options).await;
        let plugin = place.plugin(&format!("@{digest}"));
        let [key, chain] = notary.files("release").map(|path| path.display().to_string());
        let [_, of_other] = notary.files("other").map(|path| path.display().to_string());
        let sign = ["plugin", "sign", &plugin, "--key", &key, "--certificates"];
        let mixed = place.home.run(&[&sign[..], &[&of_other]].concat()).await;
        assert!(mixed.error().contains("the first is not that of the key"), "{mixed:?}");
        notary.trust("release");
        assert!(notary.verifies(&plugin).await.is_err(), "nothing was signed");

        let printed = place.home.must(&[&sign[..], &[&chain, "-r", "-o", "json"]].concat()).await;
        let signatures: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(signatures[0]["digest"], digest.as_str(), "{printed}");
        notary.verifies(&plugin).await.unwrap();
        // And of the manifest of each platform.
        let of_platform = signatures[1]["digest"].as_str().unwrap();
        notary.verifies(&place.plugin(&format!("@{of_platform}"))).await.unwrap();
        notary.trust("other");
        assert!(notary.verifies(&plugin).await.is_err(), "by somebody else");

        place.home.configure(&signed(&place, &trusting(&notary, "enforce", "release")));
        let ran = place.home.verify(&place.image()).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("sample is signed by notation CN=release"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_that_is_not_there_and_a_tag_that_is_taken_are_left_alone() {
    let (registry, place, digest) = place(RegistryOptions::default()).await;
    let notary = Notary::new(&["release"]);
    let [key, _] = notary.files("release").map(|path| path.display().to_string());
    let absent = place.plugin(":absent");
    let ran = place.home.run(&["plugin", "sign", &absent, "--key", &key]).await;
    assert!(ran.code == Some(1) && ran.error().contains("absent"), "{ran:?}");
    // Somebody put an image under cosign's tag.
    let tag = format!("sha256-{}.sig", digest.as_str().trim_start_matches("sha256:"));
    let repository = place.plugin("");
    let repository = repository.split_once('/').unwrap().1;
    let image = registry.put_image(repository, &tag, "layer").unwrap();
    let plugin = place.plugin(&format!("@{digest}"));
    let ran = place.home.run(&["plugin", "sign", &plugin, "--key", &key]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.error().contains("is no list of signatures that one can be added to"), "{ran:?}");
    place.home.configure(&signed(&place, &json!({"mode": "none"})));
    let there = place.home.must(&["resolve", "-s", &place.plugin(&format!(":{tag}"))]).await;
    assert!(there.contains(image.digest.as_str()), "{there} for {}", this_platform());
}
