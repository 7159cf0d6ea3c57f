//! The lies of the embedded registry, each seen from outside. A lie that is not told, or that looks
//! like the truth, would make the tests that refuse it worthless.

use std::{fmt::Write, time::Duration};

use ratify_controller::dev::{
    Fault, Lie, Matcher, Occurrence, REMOTE_TEXT, RegistryOptions, RequestKind, RunningRegistry,
};
use ratify_core::{Descriptor, media_type};
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::{attach, client_builder, header, json, request, sbom, send, started};
use crate::common_lies;

/// Long enough for an answer that comes, short enough for one that does not.
const PATIENCE: Duration = Duration::from_millis(400);

/// Two images with an artifact each, and an index, honest but for what the test says.
struct Scene {
    registry: RunningRegistry,
    image: Descriptor,
    artifact: Descriptor,
    other_artifact: Descriptor,
    index: Descriptor,
}

/// What arrived, as far as it did.
#[derive(Debug, PartialEq, Eq)]
enum Arrived {
    Nothing,
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        length: usize,
        digest: String,
        whole: bool,
    },
}

async fn scene() -> Scene {
    let registry = started().await;
    let image = registry.put_image("app", "v1", "layer one").unwrap();
    let other = registry.put_image("app", "v2", "layer two").unwrap();
    let artifact = attach(&registry, &image, r#"{"spdxVersion":"SPDX-2.3","name":"one"}"#);
    let other_artifact = attach(&registry, &other, r#"{"spdxVersion":"SPDX-2.3","name":"two"}"#);
    let index = registry.put_index("app", "all", &[image.clone(), other]).unwrap();
    registry.put_fallback_tag("app", &image).unwrap();
    Scene { registry, image, artifact, other_artifact, index }
}

impl Scene {
    /// The one request that a client makes on each path.
    fn paths(&self) -> [(&'static str, &'static str, String); 7] {
        let digest = &self.image.digest;
        let fallback = digest.as_str().replace(':', "-");
        let blob = self.registry.put_blob("app", r#"{"spdxVersion":"SPDX-2.3","name":"one"}"#);
        [
            ("head", "HEAD", "/v2/app/manifests/v1".to_owned()),
            ("tag", "GET", "/v2/app/manifests/v1".to_owned()),
            ("index", "GET", "/v2/app/manifests/all".to_owned()),
            ("digest", "GET", format!("/v2/app/manifests/{digest}")),
            ("list", "GET", format!("/v2/app/referrers/{digest}?artifactType=x%2Fy")),
            ("fallback", "GET", format!("/v2/app/manifests/{fallback}")),
            ("blob", "GET", format!("/v2/app/blobs/{}", blob.unwrap())),
        ]
    }

    fn tell(&self, lie: Lie) {
        self.registry.set_faults(vec![Fault { when: Matcher::default(), lie }]);
    }

    async fn get(&self, path: &str) -> Response {
        send(&self.registry, "GET", path).await
    }
}

async fn arrived(registry: &RunningRegistry, method: &str, path: &str, until: Instant) -> Arrived {
    let asked = request(registry, method, path).send();
    let Ok(Ok(mut response)) = timeout_at(until, asked).await else { return Arrived::Nothing };
    let all = response.headers().iter().filter(|(name, _)| *name != "date");
    let headers = all.map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let whole = loop {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() < 10 << 20 => body.extend(chunk),
            Ok(Ok(None)) => break true,
            _ => break false,
        }
    };
    Arrived::Answer { status, headers, length: body.len(), digest: sha256(&body), whole }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn at_last() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn sha256(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha256:{}", hex::encode(hash))
}

fn every_lie() -> Vec<Lie> {
    let own = vec![
        Lie::ReferrersOfOtherSubject,
        Lie::ReferrersOtherArtifactType("x/y".into()),
        Lie::ReferrersIgnoreFilter,
        Lie::ReferrersEndlessPages,
        Lie::ReferrersLinkOtherHost("http://127.0.0.1:1/x".into()),
        Lie::ReferrersWrongMediaType,
        Lie::ReferrersHuge(5_000),
        Lie::IndexTwoEntriesOnePlatform,
        Lie::IndexChildOtherType,
        Lie::IndexNestedInIndex(3),
        Lie::RedirectBlobTo("http://127.0.0.1:1/x".into()),
        Lie::Stall,
        Lie::SlowDrip(Duration::from_millis(250)),
        Lie::Status { status: 429, code: "TOOMANYREQUESTS".into(), retry_after: Some(1) },
        Lie::Challenge("Bearer realm=\"http://127.0.0.1:1/token\"".into()),
        Lie::NotAManifest,
        Lie::HugeManifest,
        Lie::DeepJson(100_000),
        Lie::DropConnection,
    ];
    [common_lies::about_bytes(), own].concat()
}

fn takes_for_ever(lie: &Lie) -> bool {
    matches!(lie, Lie::Stall | Lie::SlowDrip(_))
}

#[tokio::test]
async fn every_lie_differs_from_the_truth_on_every_path_where_it_is_told() {
    let scene = scene().await;
    let mut table = String::new();
    for lie in every_lie() {
        let name = format!("{lie:?}");
        write!(table, "{:30}", name.split(['(', ' ']).next().unwrap()).unwrap();
        for (name, method, path) in scene.paths() {
            scene.registry.set_faults(Vec::new());
            let truth = arrived(&scene.registry, method, &path, at_last()).await;
            scene.tell(lie.clone());
            let until = if takes_for_ever(&lie) { soon() } else { at_last() };
            let heard = arrived(&scene.registry, method, &path, until).await;
            let told = scene.registry.lies_told() == [1];
            assert_eq!(told, heard != truth, "{lie:?} on {name}: {truth:?}, {heard:?}");
            write!(table, " {:8}", if told { name } else { "-" }).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    insta::assert_snapshot!(table, @"
    OtherBytesSameLength           -        tag      index    digest   list     fallback blob
    OtherBytesOtherLength          head     tag      index    digest   list     fallback blob
    Truncated                      -        tag      index    digest   list     fallback blob
    Endless                        -        tag      index    digest   list     fallback blob
    WrongDigestHeader              head     tag      index    digest   -        fallback blob
    MissingDigestHeader            head     tag      index    digest   -        fallback blob
    EchoPinnedDigestWithOtherBody  head     tag      index    digest   list     fallback blob
    WrongSizeInDescriptor          head     tag      index    digest   -        fallback -
    WrongContentType               head     tag      index    digest   list     fallback blob
    ContentTypeWithCharset         head     tag      index    digest   list     fallback blob
    ManifestThatIsAlsoIndex        head     tag      index    digest   list     fallback -
    DuplicateJsonKeys              head     tag      index    digest   list     fallback -
    GzipEncoded                    head     tag      index    digest   list     fallback blob
    ReferrersOfOtherSubject        -        -        -        -        list     fallback -
    ReferrersOtherArtifactType     -        -        -        -        list     fallback -
    ReferrersIgnoreFilter          -        -        -        -        list     -        -
    ReferrersEndlessPages          -        -        -        -        list     -        -
    ReferrersLinkOtherHost         -        -        -        -        list     -        -
    ReferrersWrongMediaType        -        -        -        -        list     fallback -
    ReferrersHuge                  -        -        -        -        list     fallback -
    IndexTwoEntriesOnePlatform     -        -        index    -        -        fallback -
    IndexChildOtherType            -        -        index    -        -        fallback -
    IndexNestedInIndex             head     tag      index    digest   -        -        -
    RedirectBlobTo                 head     tag      index    digest   list     fallback blob
    Stall                          head     tag      index    digest   list     fallback blob
    SlowDrip                       -        tag      index    digest   list     fallback blob
    Status                         head     tag      index    digest   list     fallback blob
    Challenge                      head     tag      index    digest   list     fallback blob
    NotAManifest                   head     tag      index    digest   list     fallback blob
    HugeManifest                   head     tag      index    digest   list     fallback -
    DeepJson                       head     tag      index    digest   list     fallback -
    DropConnection                 head     tag      index    digest   list     fallback blob
    ");
}

#[tokio::test]
async fn a_forged_document_is_whole_by_tag_and_has_another_digest_when_pinned() {
    let scene = scene().await;
    let lies = [
        (Lie::ManifestThatIsAlsoIndex, "v1"),
        (Lie::DuplicateJsonKeys, "v1"),
        (Lie::HugeManifest, "v1"),
        (Lie::DeepJson(100_000), "v1"),
        (Lie::IndexNestedInIndex(2), "v1"),
        (Lie::IndexTwoEntriesOnePlatform, "all"),
        (Lie::IndexChildOtherType, "all"),
    ];
    for (lie, tag) in lies {
        scene.registry.set_faults(vec![Fault::on(RequestKind::Resolve, lie.clone())]);
        let by_tag = scene.get(&format!("/v2/app/manifests/{tag}")).await;
        let said = header(&by_tag, "docker-content-digest").to_owned();
        let head = send(&scene.registry, "HEAD", &format!("/v2/app/manifests/{tag}")).await;
        assert_eq!(header(&head, "docker-content-digest"), said, "{lie:?}");
        let body = by_tag.bytes().await.unwrap();
        assert_eq!(header(&head, "content-length"), body.len().to_string(), "{lie:?}");
        assert_eq!(sha256(&body), said, "{lie:?}");
        let by_digest = scene.get(&format!("/v2/app/manifests/{said}")).await;
        assert_eq!(by_digest.bytes().await.unwrap(), body, "{lie:?}");

        scene.registry.set_faults(vec![Fault::on(RequestKind::Manifest, lie.clone())]);
        let honest = if tag == "v1" { &scene.image.digest } else { &scene.index.digest };
        let pinned = scene.get(&format!("/v2/app/manifests/{honest}")).await;
        assert_eq!(header(&pinned, "docker-content-digest"), honest.as_str(), "{lie:?}");
        assert_ne!(sha256(&pinned.bytes().await.unwrap()), honest.as_str(), "{lie:?}");
    }
}

#[tokio::test]
async fn nested_indexes_lead_to_the_honest_manifest_at_last() {
    let scene = scene().await;
    scene.registry.set_faults(vec![Fault::on(RequestKind::Resolve, Lie::IndexNestedInIndex(3))]);
    let mut document = json(scene.get("/v2/app/manifests/v1").await).await;
    let mut levels = 0;
    while document["mediaType"] == media_type::OCI_INDEX {
        let child = document["manifests"][0]["digest"].as_str().unwrap();
        document = json(scene.get(&format!("/v2/app/manifests/{child}")).await).await;
        levels += 1;
    }
    assert_eq!((levels, &document["mediaType"]), (3, &Value::from(media_type::OCI_MANIFEST)));
}

#[tokio::test]
async fn a_list_shows_the_artifacts_of_another_image_also_where_there_was_no_list() {
    let scene = scene().await;
    let lie = Lie::ReferrersOfOtherSubject;
    let second =
        json(scene.get("/v2/app/manifests/all").await).await["manifests"][1]["digest"].take();
    let second = second.as_str().unwrap();
    let fallback = |digest: &str| format!("/v2/app/manifests/{}", digest.replace(':', "-"));
    let first = scene.image.digest.as_str();
    assert_eq!(scene.get(&fallback(second)).await.status(), 404);
    scene.tell(lie);
    let cases = [
        (format!("/v2/app/referrers/{first}"), &scene.other_artifact),
        (format!("/v2/app/referrers/{second}"), &scene.artifact),
        (fallback(first), &scene.other_artifact),
        (fallback(second), &scene.artifact),
    ];
    for (path, shown) in cases {
        let list = scene.get(&path).await;
        assert_eq!(header(&list, "content-type"), media_type::OCI_INDEX, "{path}");
        let list = json(list).await;
        assert_eq!(list["manifests"], serde_json::json!([shown]), "{path}");
    }
}

#[tokio::test]
async fn a_list_claims_another_type_and_filters_that_were_not_applied() {
    let scene = scene().await;
    let path = format!("/v2/app/referrers/{}?artifactType=x%2Fy", scene.image.digest);
    assert_eq!(json(scene.get(&path).await).await["manifests"], serde_json::json!([]));
    scene.tell(Lie::ReferrersOtherArtifactType("x/y".into()));
    let entry = json(scene.get(&path).await).await["manifests"][0].take();
    assert_eq!(entry["artifactType"], "x/y");
    assert_eq!(entry["digest"], scene.artifact.digest.as_str());
    scene.tell(Lie::ReferrersIgnoreFilter);
    let list = scene.get(&path).await;
    assert_eq!(header(&list, "oci-filters-applied"), "artifactType");
    assert_eq!(json(list).await["manifests"][0]["artifactType"], "application/spdx+json");
}

#[tokio::test]
async fn lists_lead_in_circles_and_to_other_hosts() {
    let scene = scene().await;
    let path = format!("/v2/app/referrers/{}", scene.image.digest);
    scene.tell(Lie::ReferrersEndlessPages);
    assert_eq!(header(&scene.get(&path).await, "link"), format!("<{path}>; rel=\"next\""));
    scene.tell(Lie::ReferrersLinkOtherHost("http://127.0.0.1:9/".into()));
    assert_eq!(header(&scene.get(&path).await, "link"), "<http://127.0.0.1:9/>; rel=\"next\"");
}

#[tokio::test]
async fn other_bytes_come_under_the_digest_that_was_asked_for() {
    let scene = scene().await;
    let lies =
        [Lie::OtherBytesSameLength, Lie::OtherBytesOtherLength, Lie::EchoPinnedDigestWithOtherBody];
    for lie in lies {
        for (_, method, path) in scene.paths().into_iter().filter(|path| path.0 != "list") {
            scene.registry.set_faults(Vec::new());
            let honest = send(&scene.registry, method, &path).await;
            scene.tell(lie.clone());
            let other = send(&scene.registry, method, &path).await;
            let said = header(&other, "docker-content-digest").to_owned();
            assert_eq!(said, header(&honest, "docker-content-digest"), "{lie:?} {path}");
            let same_length = header(&other, "content-length") == header(&honest, "content-length");
            assert_eq!(same_length, lie == Lie::OtherBytesSameLength, "{lie:?} {path}");
            let body = other.bytes().await.unwrap();
            assert!(method == "HEAD" || sha256(&body) != said, "{lie:?} {path}");
            assert!(serde_json::from_slice::<Value>(&body).is_ok() || method == "HEAD");
        }
    }
}

#[tokio::test]
async fn bodies_end_too_early_never_late_or_drop_by_drop() {
    let scene = scene().await;
    let digest = scene.registry.put_blob("app", vec![b'x'; 100_000]).unwrap();
    let path = format!("/v2/app/blobs/{digest}");
    scene.tell(Lie::Truncated);
    let answer = arrived(&scene.registry, "GET", &path, at_last()).await;
    let Arrived::Answer { length, whole, headers, .. } = answer else { panic!("no answer") };
    assert_eq!((length, whole), (50_000, false));
    assert!(headers.contains(&("content-length".into(), "100000".into())));
    scene.tell(Lie::Endless);
    let answer = arrived(&scene.registry, "GET", &path, at_last()).await;
    let Arrived::Answer { length, whole, headers, .. } = answer else { panic!("no answer") };
    assert!(length >= 10 << 20 && !whole);
    assert!(!headers.iter().any(|(name, _)| name == "content-length"));
    scene.tell(Lie::SlowDrip(Duration::from_millis(20)));
    let mut response = scene.get(&path).await;
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 1);
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 1);
    scene.tell(Lie::Stall);
    let mut response = scene.get(&path).await;
    assert_eq!(header(&response, "content-length"), "100000");
    assert!(timeout(PATIENCE, response.chunk()).await.is_err(), "nothing comes");
    let writes = request(&scene.registry, "PUT", "/v2/app/manifests/x").send();
    assert!(timeout(PATIENCE, writes).await.is_err(), "nothing comes");
    assert_eq!(scene.registry.lies_told(), [2]);
}

#[tokio::test]
async fn gzip_is_what_a_client_that_decodes_it_takes_for_the_manifest() {
    let scene = scene().await;
    scene.tell(Lie::GzipEncoded);
    let framed = scene.get("/v2/app/manifests/v1").await;
    assert_eq!(header(&framed, "content-encoding"), "gzip");
    assert_eq!(header(&framed, "docker-content-digest"), scene.image.digest.as_str());
    let bytes = framed.bytes().await.unwrap();
    // One stored block: 10 bytes of header, 5 of block header, 8 of checksum and length.
    assert_eq!(sha256(&bytes[15..bytes.len() - 8]), scene.image.digest.as_str());
}

#[tokio::test]
async fn a_fault_is_told_as_often_as_it_says_and_to_writes_too() {
    let scene = scene().await;
    let busy = Lie::Status { status: 503, code: "UNAVAILABLE".into(), retry_after: Some(7) };
    scene.registry.set_faults(vec![
        Fault::on(RequestKind::Resolve, busy.clone()).at("/v1").times(Occurrence::First(2)),
        Fault::on(RequestKind::Write, busy.clone()).times(Occurrence::Nth(2)),
        Fault {
            when: Matcher {
                method: Some("get".into()),
                repository: Some("app".into()),
                digest: Some(scene.artifact.digest.clone()),
                ..Matcher::default()
            },
            lie: Lie::DropConnection,
        },
    ]);
    let mut statuses = Vec::new();
    for path in [
        "/v2/app/manifests/v1",
        "/v2/app/manifests/v2",
        "/v2/app/manifests/v1",
        "/v2/app/manifests/v1",
    ] {
        let response = scene.get(path).await;
        statuses.push(response.status().as_u16());
        if response.status() == 503 {
            assert_eq!(header(&response, "retry-after"), "7");
            let error = json(response).await["errors"][0].take();
            assert_eq!(error, serde_json::json!({"code": "UNAVAILABLE", "message": REMOTE_TEXT}));
        }
    }
    assert_eq!(statuses, [503, 200, 503, 200]);
    for expected in [202, 503, 202] {
        let response = send(&scene.registry, "POST", "/v2/app/blobs/uploads/").await;
        assert_eq!(response.status(), expected);
    }
    let path = format!("/v2/app/manifests/{}", scene.artifact.digest);
    let dropped = client_builder().build().unwrap().get(scene.registry.url() + &path).send().await;
    assert!(dropped.is_err());
    assert_eq!(scene.registry.lies_told(), [2, 1, 1]);
    scene.registry.set_faults(Vec::new());
    assert_eq!(scene.get(&path).await.status(), 200);
}

#[tokio::test]
async fn nobody_without_the_password_hears_a_lie() {
    let options = RegistryOptions {
        credentials: Some(("user".into(), "word".into())),
        faults: vec![Fault { when: Matcher::default(), lie: Lie::NotAManifest }],
        ..RegistryOptions::default()
    };
    let registry = RunningRegistry::start(options).await.unwrap();
    registry.put_artifact("app", &scene().await.image, "a/b", &sbom("{}")).unwrap();
    assert_eq!(send(&registry, "GET", "/v2/").await.status(), 401);
    assert_eq!(registry.lies_told(), [0]);
    let asked = request(&registry, "GET", "/v2/").header("authorization", "Basic dXNlcjp3b3Jk");
    assert_eq!(header(&asked.send().await.unwrap(), "content-type"), "text/html; charset=utf-8");
    assert_eq!(registry.lies_told(), [1]);
}
