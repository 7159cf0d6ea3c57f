//! Blobs from files: streamed, mounted, and refused.

use std::{fs::File, io::Write as _};

use ratify_core::{Algorithm, Descriptor};
use ratify_store_oras::{BlobPush, Hasher, OrasError, Section, Transport};

use crate::{
    fake::{Fake, Reply, Seen, basic, client, client_over},
    real::{image, with_api, with_tag_schema},
};

/// A file of so many MiB, and what it is.
fn large(mebibytes: u32) -> (Descriptor, File) {
    let mut file = tempfile::tempfile().unwrap();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for number in 0..mebibytes {
        let piece: Vec<u8> = number.to_le_bytes().repeat(1 << 18);
        hasher.update(&piece);
        file.write_all(&piece).unwrap();
    }
    let size = u64::from(mebibytes) << 20;
    (Descriptor::new("application/octet-stream", hasher.finish(), size), file)
}

fn section(file: &File) -> Section {
    Section::whole(file.try_clone().unwrap()).unwrap()
}

#[tokio::test]
async fn a_file_is_sent_once_and_then_taken_from_the_repository_that_has_it() {
    let (Some(api), Some(tags)) = (with_api(false), with_tag_schema(false)) else { return };
    for (registry, mounts) in [(api, false), (tags, true)] {
        let client = client_over(Transport::PlainHttp, basic());
        let image = image(&registry);
        let (blob, file) = large(9);
        let push = async |reference: &str, from: Option<&str>| {
            let reference = ratify_core::Reference::parse(reference).unwrap();
            let done = client.push_file(&reference, &blob, section(&file), from).await.unwrap();
            let sink = std::io::sink();
            client.blob_into(&reference, &blob, sink, &mut |_| {}, None).await.unwrap();
            done
        };
        assert_eq!(push(image.as_str(), None).await, BlobPush::Sent);
        assert_eq!(push(image.as_str(), None).await, BlobPush::WasThere);
        let other = format!("{}/b/other:1", registry.address);
        let taken = push(&other, Some(image.repository())).await;
        // go-containerregistry's keeps one set of blobs for all repositories.
        assert_eq!(taken, if mounts { BlobPush::Mounted } else { BlobPush::WasThere });
        let third = format!("{}/c/third:1", registry.address);
        let sent = push(&third, Some("no/such")).await;
        assert_eq!(sent, if mounts { BlobPush::Sent } else { BlobPush::WasThere });
    }
}

/// However large the file is, its bytes are not in memory. In a process of its own, for others
/// would be counted too.
#[tokio::test]
async fn a_large_file_needs_no_more_memory_than_a_small_one() {
    let program = std::env::current_exe().unwrap();
    let child = ["--ignored", "--exact", "--nocapture", "uploads::child"];
    let ran = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program).args(child).output().unwrap()
    });
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}");
    let Some((_, grown)) = said.split_once("grown by ") else {
        assert!(std::env::var_os("CI").is_none(), "{said}");
        return;
    };
    let kibibytes: u64 = grown.split(' ').next().unwrap().parse().unwrap();
    assert!(kibibytes < 8 << 10, "256 MiB were sent with {kibibytes} KiB");
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn child() {
    let Some(registry) = with_tag_schema(false) else { return };
    let client = client_over(Transport::PlainHttp, basic());
    let image = image(&registry);
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (small, file) = large(2);
    client.push_file(&image, &small, section(&file), None).await.unwrap();
    let (blob, file) = large(256);
    let before = peak();
    client.push_file(&image, &blob, section(&file), None).await.unwrap();
    println!("grown by {} KiB", peak() - before);
}

#[tokio::test]
async fn each_attempt_begins_at_the_beginning_and_a_file_that_shrinks_is_not_sent() {
    let (blob, file) = large(1);
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).with("location", "/u?x=1"),
        _ => {
            assert_eq!(seen.header("content-length"), Some("1048576"));
            assert_eq!(seen.body.len(), 1 << 20);
            assert!(seen.body.starts_with(&[0, 0]));
            match attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Reply::new(503),
                _ => Reply::new(201),
            }
        }
    })
    .await;
    let reference = fake.reference("app:1");
    let sent = client().push_file(&reference, &blob, section(&file), None).await.unwrap();
    assert_eq!(sent, BlobPush::Sent);
    let opened = section(&file);
    file.set_len(1000).unwrap();
    let cut = client().push_file(&reference, &blob, opened, None).await.unwrap_err();
    assert!(matches!(cut, OrasError::Unreachable { .. }), "{cut}");
    let short = client().push_file(&reference, &blob, section(&file), None).await.unwrap_err();
    assert!(matches!(short, OrasError::Size { .. }), "{short}");
}

#[tokio::test]
async fn where_an_upload_leads_follows_the_rules_of_a_redirect() {
    let (blob, file) = large(1);
    for location in ["ftp://x/u", "http://192.0.2.1/u", "https://", "http://registry.example.com/u"]
    {
        let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
            "HEAD" => Reply::new(404),
            _ => Reply::new(202).with("location", location),
        })
        .await;
        let client = client_over(Transport::HttpsOrLoopbackHttp, basic());
        let reference = fake.reference("app:1");
        let led = client.push_file(&reference, &blob, section(&file), None).await.unwrap_err();
        assert!(matches!(led, OrasError::Forbidden { .. }), "{location}: {led}");
    }
}
