//! Signatures in an embedded registry, by keys that are made here.

use futures_util::future::join_all;
use ratify_store_oras::{ClientOptions, RetryPolicy, Transport};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::*;
use crate::dev::{RegistryOptions, RunningRegistry};

fn client() -> Client {
    let mut options = ClientOptions::default();
    options.transport = Transport::HttpsOrLoopbackHttp;
    options.retry = RetryPolicy::fast(1);
    Client::new(options).unwrap()
}

fn signer() -> Signer {
    let key = KeyPair::generate().unwrap().serialize_pem();
    Signer::Cosign(PrivateKey::from_pem(&key, None).unwrap())
}

/// A registry with a manifest, and the reference of that.
async fn place() -> (RunningRegistry, Reference, Descriptor) {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let plugin = registry.put_image("p", "1", "layer").unwrap();
    let reference = Reference::parse_exact(&format!("{}/p:1", registry.host())).unwrap();
    (registry, reference, plugin)
}

/// How many signatures are under cosign's tag of a digest.
fn signatures(registry: &RunningRegistry, digest: &Digest) -> Vec<Value> {
    let (_, list) = registry.manifest("p", &digest.cosign_tag()).unwrap();
    cosign::layers(&list).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_who_sign_at_once_no_signature_is_lost() {
    let (registry, reference, plugin) = place().await;
    let (client, signers) = (client(), [(); 8].map(|()| signer()));
    let signing = signers.iter().map(|signer| {
        let (client, reference) = (client.clone(), &reference);
        async move { sign(&client, reference, signer, false, None).await }
    });
    let signed = join_all(signing).await.into_iter().map(Result::unwrap);
    let lists: Vec<Digest> = signed.map(|mut signed| signed.remove(0).signature).collect();
    assert_eq!(signatures(&registry, &plugin.digest).len(), 8);
    let (last, _) = registry.manifest("p", &plugin.digest.cosign_tag()).unwrap();
    assert!(lists.contains(&last.digest), "{lists:?}");
}

/// What another writer, who looks at nothing, took off is put back beside what he wrote.
#[tokio::test]
async fn a_signature_that_another_writer_takes_off_is_added_again() {
    let (registry, reference, plugin) = place().await;
    let tag = plugin.digest.cosign_tag();
    let payload = cosign::payload("another", &plugin.digest);
    let others = cosign::list(Vec::new(), &payload, b"another").unwrap().manifest.bytes;
    let (client, signer) = (client(), signer());
    let mut signing = Box::pin(sign(&client, &reference, &signer, false, None));
    let mut is_overwritten = false;
    let signed = loop {
        tokio::select! {
            biased;
            signed = &mut signing => break signed.unwrap(),
            () = tokio::task::yield_now() => {
                if !is_overwritten && registry.manifest("p", &tag).is_some() {
                    let kind = media_type::OCI_MANIFEST;
                    registry.put_manifest("p", Some(&tag), kind, others.clone()).unwrap();
                    is_overwritten = true;
                }
            }
        }
    };
    assert!(is_overwritten);
    let known = signatures(&registry, &plugin.digest);
    assert_eq!(known.len(), 2, "{known:?}");
    let (list, _) = registry.manifest("p", &tag).unwrap();
    assert_eq!(signed[0].signature, list.digest);
}

#[tokio::test]
async fn all_that_a_docker_list_names_is_signed_as_well() {
    let (registry, _, plugin) = place().await;
    let list = json!({
        "schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": [plugin],
    });
    let kind = media_type::DOCKER_LIST;
    let list = registry.put_manifest("p", Some("list"), kind, list.to_string()).unwrap();
    let reference = Reference::parse_exact(&format!("{}/p:list", registry.host())).unwrap();
    let signed = sign(&client(), &reference, &signer(), true, None).await.unwrap();
    let digests: Vec<Digest> = signed.into_iter().map(|signed| signed.digest).collect();
    assert_eq!(digests, [list.digest, plugin.digest]);
}
