//! Artifacts with a subject: listed by the registry, or by the tag that stands for the list.

use std::{
    convert::Infallible,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use ratify_core::{Algorithm, Descriptor, Index, Reference, media_type};
use ratify_store_oras::{Artifact, Client, EMPTY_CONFIG, OrasError, Transport, digest_of};

use crate::{
    fake::{Fake, Reply, Seen, basic, client, client_over, index},
    real::{Registry, fill, image, tool, with_api, with_tag_schema},
};

/// The document of a signature, and its descriptor.
fn signature(subject: &Descriptor, layer: Descriptor) -> (Descriptor, Bytes) {
    let mut artifact = Artifact::new("application/x", vec![layer]);
    // go-containerregistry lists this type and not the manifest's own.
    artifact.config.media_type = "application/x".into();
    artifact.subject = Some(subject.clone());
    let bytes = artifact.to_bytes().unwrap();
    let digest = digest_of(Algorithm::Sha256, &bytes);
    (Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64), bytes)
}

/// Attaches a signature to a subject; returns how it is listed.
pub(crate) async fn attach(
    client: &Client,
    image: &Reference,
    subject: &Descriptor,
    text: String,
) -> Descriptor {
    let size = text.len() as u64;
    let digest = client.push_blob(image, text.into()).await.unwrap();
    let (descriptor, bytes) = signature(subject, Descriptor::new("text/plain", digest, size));
    client.attach(image, &descriptor, bytes).await.unwrap();
    descriptor.with_artifact_type("application/x")
}

/// How many artifacts of our type `oras` finds.
fn discovered(registry: &Registry, image: &Reference) -> Option<usize> {
    let found = Command::new(tool("oras")?)
        .args(["discover", "--plain-http", "--username", "user", "--password", "hunter2"])
        .args(["--format", "json", image.as_str()])
        .env("HOME", registry.directory.path())
        .output()
        .unwrap();
    assert!(found.status.success(), "{found:?}");
    Some(String::from_utf8(found.stdout).unwrap().matches("\"application/x\"").count())
}

#[tokio::test]
async fn oras_discovers_what_was_attached_on_either_registry() {
    let (Some(api), Some(tags)) = (with_api(false), with_tag_schema(false)) else { return };
    for registry in [api, tags] {
        let client = client_over(Transport::PlainHttp, basic());
        let image = image(&registry);
        let (subject, _) = fill(&client, &image, 0).await;
        for round in 0..2 {
            // The second time everything is there and listed already.
            for number in 0..3 {
                attach(&client, &image, &subject, format!("signature {number}")).await;
            }
            let Some(found) = discovered(&registry, &image) else { return };
            assert_eq!(found, 3, "{round}");
        }
        let listed = client.referrers(&image, &subject.digest, None).await.unwrap();
        assert_eq!(listed.len(), 3);
        assert!(listed.iter().all(|entry| entry.artifact_type == "application/x"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_are_all_listed_where_nothing_locks_the_list() {
    let Some(registry) = with_tag_schema(false) else { return };
    let client = client_over(Transport::PlainHttp, basic());
    let image = image(&registry);
    let (subject, _) = fill(&client, &image, 0).await;
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (client, image, subject) = (client.clone(), image.clone(), subject.clone());
            tokio::spawn(async move {
                attach(&client, &image, &subject, format!("signature {number}")).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(client.referrers(&image, &subject.digest, None).await.unwrap().len(), 20);
    let Some(found) = discovered(&registry, &image) else { return };
    assert_eq!(found, 20);
}

/// Each process for itself, with nothing between them but the registry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_processes_attach_is_listed() {
    let Some(registry) = with_tag_schema(false) else { return };
    let image = image(&registry);
    let (_, _) = fill(&client_over(Transport::PlainHttp, basic()), &image, 0).await;
    let program = std::env::current_exe().unwrap();
    let start = |number: usize| {
        let mut command = Command::new(&program);
        command.args(["--ignored", "--exact", "--nocapture", "attaching::child"]);
        command.env("ATTACH_TO", image.as_str()).env("ATTACH_NUMBER", number.to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..3).map(start).collect();
    for process in started {
        let ended = process.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
    let Some(found) = discovered(&registry, &image) else { return };
    assert_eq!(found, 12);
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn child() {
    let Ok(image) = std::env::var("ATTACH_TO") else { return };
    let number = std::env::var("ATTACH_NUMBER").unwrap();
    let image = Reference::parse(&image).unwrap();
    let client = client_over(Transport::PlainHttp, basic());
    let subject = client.resolve(&image, None).await.unwrap();
    // The second time each is looked for, and listed again where another process was so slow that it
    // took it off the list.
    for _ in 0..2 {
        for signature in 0..4 {
            attach(&client, &image, &subject, format!("signature {signature} of {number}")).await;
        }
    }
}

/// A registry that knows of conditions, and takes its time to send a list.
async fn conditional() -> (Fake, Arc<Mutex<Option<Bytes>>>) {
    let list = Arc::new(Mutex::new(None::<Bytes>));
    let (known, tag) = (list.clone(), "/manifests/sha256-");
    let fake = Fake::start(move |seen: &Seen| {
        let mark = |bytes: &Bytes| format!("\"{}\"", digest_of(Algorithm::Sha256, bytes));
        let mut list = known.lock().unwrap();
        let is_met = match (seen.header("if-match"), seen.header("if-none-match")) {
            (Some(wanted), None) => list.as_ref().is_some_and(|list| mark(list) == wanted),
            (None, Some("*")) => list.is_none(),
            // As real ones do: it is on whoever writes to ask for more.
            (None, None) => true,
            _ => false,
        };
        match (seen.method.as_str(), &*list) {
            ("PUT", _) if !is_met => Reply::error(412, "DENIED"),
            ("PUT", _) if seen.path.contains(tag) => {
                *list = Some(seen.body.clone());
                Reply::new(201)
            }
            ("PUT", _) => Reply::new(201),
            (_, None) => Reply::error(404, "MANIFEST_UNKNOWN"),
            (_, Some(bytes)) => {
                let (mark, bytes) = (mark(bytes), bytes.clone());
                let late = stream::once(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, Infallible>(bytes)
                });
                Reply { body: Body::from_stream(late), ..Reply::new(200) }
                    .with("content-type", media_type::OCI_INDEX)
                    .with("etag", &mark)
            }
        }
    })
    .await;
    (fake, list)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_knows_of_conditions_loses_nothing_of_two_that_write_at_once() {
    let (fake, list) = conditional().await;
    let image = fake.reference("app:1");
    let (subject, ..) = content();
    let attach = async |number: usize| {
        let digest = crate::fake::digest(&format!("{number:02}"));
        let (descriptor, bytes) = signature(&subject, Descriptor::new("text/plain", digest, 2));
        // Clients that know nothing of each other, as in processes of their own.
        client().attach(&image, &descriptor, bytes).await.unwrap();
    };
    for round in 0..5 {
        tokio::join!(attach(2 * round), attach(2 * round + 1));
        let text = list.lock().unwrap().clone().unwrap();
        let listed = Index::from_bytes(media_type::OCI_INDEX, &text).unwrap().manifests;
        assert_eq!(listed.len(), 2 * round + 2, "{round}");
    }
    let seen = fake.seen();
    let writes = seen.iter().filter(|s| s.method == "PUT" && s.path.contains("/sha256-"));
    assert!(writes.clone().count() >= 10);
    assert!(writes.clone().all(|s| s.header("if-match").or(s.header("if-none-match")).is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_that_write_at_once_take_nothing_off_each_others_lists() {
    let (fake, list) = conditional().await;
    let image = fake.reference("app:1");
    let (subject, ..) = content();
    let attached = (0..8).map(|number| {
        let digest = crate::fake::digest(&format!("{number:02}"));
        let (descriptor, bytes) = signature(&subject, Descriptor::new("text/plain", digest, 2));
        let image = &image;
        async move { client().attach(image, &descriptor, bytes).await }
    });
    for attached in join_all(attached).await {
        attached.unwrap();
    }
    let text = list.lock().unwrap().clone().unwrap();
    let listed = Index::from_bytes(media_type::OCI_INDEX, &text).unwrap().manifests;
    assert_eq!(listed.len(), 8);
    let seen = fake.seen();
    let mut writes = seen.iter().filter(|s| s.method == "PUT" && s.path.contains("/sha256-"));
    assert!(writes.all(|s| s.header("if-match").or(s.header("if-none-match")).is_some()));
}

/// Each time somebody else has just written the list.
#[tokio::test]
async fn who_is_never_fast_enough_is_told_so_and_writes_over_nothing() {
    let number = AtomicUsize::new(0);
    let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
        "PUT" if seen.header("if-match").is_some() => Reply::error(412, "DENIED"),
        "PUT" => Reply::new(201),
        _ => Reply::ok(index(&[]))
            .with("content-type", media_type::OCI_INDEX)
            .with("etag", &format!("\"{}\"", number.fetch_add(1, Ordering::SeqCst))),
    })
    .await;
    let (_, descriptor, bytes) = content();
    let attached = client().attach(&fake.reference("app:1"), &descriptor, bytes).await;
    let error = attached.unwrap_err().to_string();
    assert!(error.contains("20 times it had changed"), "{error}");
    let seen = fake.seen();
    let mut writes = seen.iter().filter(|s| s.method == "PUT" && s.path.contains("/sha256-"));
    assert!(writes.all(|s| s.header("if-match").is_some()));
}

#[tokio::test]
async fn a_registry_that_never_agrees_with_its_own_mark_is_written_to_in_the_end() {
    let list = Arc::new(Mutex::new(index(&[])));
    let known = list.clone();
    let fake = Fake::start(move |seen: &Seen| {
        let mut list = known.lock().unwrap();
        match seen.method.as_str() {
            "PUT" if seen.header("if-match").is_some() => Reply::error(412, "DENIED"),
            "PUT" => {
                if seen.path.contains("/manifests/sha256-") {
                    *list = seen.body.clone();
                }
                Reply::new(201)
            }
            _ => Reply::ok(list.clone())
                .with("content-type", media_type::OCI_INDEX)
                .with("etag", "\"of another encoding\""),
        }
    })
    .await;
    let (_, descriptor, bytes) = content();
    client().attach(&fake.reference("app:1"), &descriptor, bytes).await.unwrap();
    let text = String::from_utf8(list.lock().unwrap().to_vec()).unwrap();
    assert!(text.contains(descriptor.digest.as_str()), "{text}");
}

/// A subject and a signature of it, for registries that answer as they are told.
fn content() -> (Descriptor, Descriptor, Bytes) {
    let digest = digest_of(Algorithm::Sha256, EMPTY_CONFIG);
    let subject = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), 2);
    let (descriptor, bytes) = signature(&subject, Descriptor::new("text/plain", digest, 2));
    (subject, descriptor, bytes)
}

#[tokio::test]
async fn the_registrys_word_that_it_lists_the_artifact_is_enough_and_another_subject_is_a_lie() {
    let (subject, descriptor, bytes) = content();
    let named = subject.digest.to_string();
    let fake = Fake::start(move |_: &Seen| Reply::new(201).with("oci-subject", &named)).await;
    client().attach(&fake.reference("app:1"), &descriptor, bytes.clone()).await.unwrap();
    assert_eq!(fake.lines(), [format!("PUT /v2/app/manifests/{}", descriptor.digest)]);
    let other = crate::fake::digest("0e").to_string();
    let fake = Fake::start(move |_: &Seen| Reply::new(201).with("oci-subject", &other)).await;
    let lie = client().attach(&fake.reference("app:1"), &descriptor, bytes).await.unwrap_err();
    assert!(matches!(lie, OrasError::Invalid { .. }), "{lie}");
}

/// A registry whose list another writer puts back to what it was, so many times.
async fn contested(times: usize) -> (Fake, Arc<Mutex<(usize, Bytes)>>) {
    let other = Descriptor::new("m", crate::fake::digest("0e"), 1).with_artifact_type("y");
    let before = index(&[&other]);
    let list = Arc::new(Mutex::new((0, before.clone())));
    let (known, tag) = (list.clone(), "/manifests/sha256-");
    let fake = Fake::start(move |seen: &Seen| {
        let mut list = known.lock().unwrap();
        match seen.method.as_str() {
            "PUT" if seen.path.contains(tag) => {
                list.0 += 1;
                list.1 = if list.0 <= times { before.clone() } else { seen.body.clone() };
                Reply::new(201)
            }
            "PUT" => Reply::new(201),
            _ => Reply::ok(list.1.clone()).with("content-type", media_type::OCI_INDEX),
        }
    })
    .await;
    (fake, list)
}

#[tokio::test]
async fn a_list_that_another_writer_changes_is_written_again_five_times_at_most() {
    let (_, descriptor, bytes) = content();
    let (fake, list) = contested(2).await;
    client().attach(&fake.reference("app:1"), &descriptor, bytes.clone()).await.unwrap();
    let (writes, text) = list.lock().unwrap().clone();
    assert_eq!(writes, 3);
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains(descriptor.digest.as_str()), "{text}");
    assert!(text.contains(crate::fake::digest("0e").as_str()), "the other's entry stays: {text}");
    let (fake, list) = contested(99).await;
    let lost = client().attach(&fake.reference("app:1"), &descriptor, bytes).await.unwrap_err();
    assert!(lost.to_string().contains("took"), "{lost}");
    assert_eq!(list.lock().unwrap().0, 5);
}

#[tokio::test]
async fn a_list_that_is_none_or_cannot_be_read_is_not_written_over() {
    let (_, descriptor, bytes) = content();
    for (status, body, kind) in [
        (200, r#"{"manifests":[],"config":{}}"#, media_type::OCI_INDEX),
        (200, "{}", media_type::OCI_MANIFEST),
        (403, "", "text/plain"),
    ] {
        let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
            "PUT" => Reply::new(201),
            _ => Reply { status, ..Reply::ok(body) }.with("content-type", kind),
        })
        .await;
        let refused = client().attach(&fake.reference("app:1"), &descriptor, bytes.clone()).await;
        assert!(refused.is_err(), "{status} {body}");
        let writes = fake.lines().iter().filter(|line| line.contains("PUT")).count();
        assert_eq!(writes, 1, "the manifest alone");
    }
}
