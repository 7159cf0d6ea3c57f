//! A registry that lies about the image and about what is attached to it, on every request that
//! leads to a verdict, by tag and pinned, under a judge that says yes to everything.
//!
//! Where a lie is told the verdict is no success, and what is said names what is wrong. "taken" in
//! the table at the end means that nothing which is used was false: a HEAD of which only the digest
//! counts, a list with the same entries, a header that proof makes needless. Such a success rests
//! on the very artifact.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ratify_controller::dev::{Fault, Lie, RegistryOptions, RequestKind, RunningRegistry};
use ratify_core::{Descriptor, Digest};
use serde_json::json;

use super::{Home, Ran, STATEMENT, YES, config, verifier};
use crate::{common_lies, host};

const DOCUMENT: &[u8] = br#"{"says":"built here","by":["someone"]}"#;

/// What a verdict asks of a registry, in this order. `Reader` is a plugin that reads the blob,
/// `ShowBlob` the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Resolve,
    List,
    FallbackTag,
    Manifest,
    Reader,
    ShowBlob,
}

const PATHS: [Asked; 6] = [
    Asked::Resolve,
    Asked::List,
    Asked::FallbackTag,
    Asked::Manifest,
    Asked::Reader,
    Asked::ShowBlob,
];

/// A registry with two images, a statement attached to each, and a user who asks about the first.
struct Scene {
    registry: RunningRegistry,
    home: Home,
    image: Descriptor,
    artifact: Descriptor,
    blob: Digest,
}

impl Scene {
    async fn new(asked: Asked) -> Self {
        let referrers_api = asked != Asked::FallbackTag;
        let options = RegistryOptions { referrers_api, ..RegistryOptions::default() };
        let registry = RunningRegistry::start(options).await.unwrap();
        let attach = |tag: &str, document: &'static [u8]| {
            let image = registry.put_image("app", tag, tag.to_owned()).unwrap();
            let blobs = [("application/json", Bytes::from_static(document))];
            let artifact = registry.put_artifact("app", &image, STATEMENT, &blobs).unwrap();
            (image, artifact)
        };
        attach("v2", br#"{"says":"of the other"}"#);
        let (image, artifact) = attach("v1", DOCUMENT);
        let blob = registry.put_blob("app", DOCUMENT).unwrap();
        let home = Home::new();
        if asked == Asked::Reader {
            let features = ["--package", "ratify-verifier-sample", "--features", "v1-host"];
            home.link_plugin("judge", &host::plugin("sample", "sample-v1-host", &features));
        } else {
            home.script_plugin("judge", YES);
        }
        let mut judge = verifier("judge");
        if asked == Asked::Reader {
            judge["readBlobs"] = json!(true);
        }
        home.configure(&config(&judge));
        Self { registry, home, image, artifact, blob }
    }

    fn tell(&self, lie: &Lie, asked: Asked) {
        let (kind, part) = match asked {
            Asked::Resolve => (RequestKind::Resolve, ""),
            Asked::List => (RequestKind::List, ""),
            Asked::FallbackTag => (RequestKind::FallbackTag, ""),
            Asked::Manifest => (RequestKind::Manifest, self.artifact.digest.hex()),
            Asked::Reader | Asked::ShowBlob => (RequestKind::Blob, self.blob.hex()),
        };
        self.registry.set_faults(vec![Fault::on(kind, lie.clone()).at(part)]);
    }

    async fn ask(&self, asked: Asked, pinned: bool, timeout: &str) -> Ran {
        let host = self.registry.host();
        let subject = match pinned {
            true => format!("{host}/app@{}", self.image.digest),
            false => format!("{host}/app:v1"),
        };
        let timeout = format!("--timeout={timeout}");
        let blob = self.blob.as_str();
        if asked == Asked::ShowBlob {
            let show = ["referrer", "show-blob", "--store", "oras", "-s", &subject, "-d", blob];
            return self.home.run(&[&show[..], &[&timeout]].concat()).await;
        }
        self.home.run(&["verify", "-s", &subject, &timeout]).await
    }

    /// Whether what was asked for was had: the verdict is a success, the blob is shown. Then it
    /// rests on the very artifact, or is the very bytes.
    fn had(&self, ran: &Ran, asked: Asked) -> bool {
        if ran.code != Some(0) {
            return false;
        }
        if asked == Asked::ShowBlob {
            assert_eq!(ran.stdout.as_bytes(), DOCUMENT);
            return true;
        }
        let verdict = ran.verdict();
        let reports = verdict["verifierReports"].as_array().cloned().unwrap_or_default();
        if verdict["isSuccess"] == true {
            assert_eq!(reports.len(), 1, "{verdict}");
            assert_eq!(reports[0]["referenceDigest"], self.artifact.digest.as_str(), "{verdict}");
        }
        verdict["isSuccess"] == true
    }
}

/// Every lie that can be told on the way to a verdict.
fn lies() -> Vec<Lie> {
    let own = vec![
        Lie::ReferrersOfOtherSubject,
        Lie::ReferrersOtherArtifactType("application/spdx+json".to_owned()),
        Lie::ReferrersEndlessPages,
        Lie::ReferrersLinkOtherHost("http://registry.example.com/v2/app/referrers/x".to_owned()),
        Lie::ReferrersWrongMediaType,
        Lie::ReferrersHuge(3),
        Lie::ReferrersHuge(20_000),
        Lie::IndexNestedInIndex(1),
        Lie::RedirectBlobTo("ftp://registry.example.com/x".to_owned()),
        Lie::RedirectBlobTo("file:///etc/passwd".to_owned()),
    ];
    let challenge = Lie::Challenge(r#"Bearer realm="file:///etc/passwd""#.to_owned());
    let (sick, none) = (common_lies::of_a_sick_registry(), common_lies::of_no_document());
    [common_lies::about_bytes(), own, sick, vec![challenge], none].concat()
}

/// Lies about a list are told where a list is asked for.
fn has_a_hold(lie: &Lie, asked: Asked) -> bool {
    let lists = [Asked::List, Asked::FallbackTag];
    !format!("{lie:?}").starts_with("Referrers") || lists.contains(&asked)
}

/// What became of a lie on one path; `None` where it has no hold there.
async fn told(lie: &Lie, asked: Asked, pinned: bool) -> Option<&'static str> {
    if !has_a_hold(lie, asked) {
        return None;
    }
    let scene = Scene::new(asked).await;
    scene.tell(lie, asked);
    let hangs = matches!(lie, Lie::Stall | Lie::SlowDrip(_));
    let ran = scene.ask(asked, pinned, if hangs { "1s" } else { "40s" }).await;
    let had = scene.had(&ran, asked);
    if scene.registry.lies_told() == [0] {
        assert!(had, "{lie:?} {asked:?} {pinned}: {ran:?}");
        return None;
    }
    ran.has_no_text_of_the_registry();
    Some(if had { "taken" } else { word(&ran) })
}

/// The one word for what is said. A refusal that says nothing known fails the test.
fn word(ran: &Ran) -> &'static str {
    let warnings = ran.stderr.lines().filter(|line| line.contains("level=warning"));
    let said = format!("{} {}", ran.reason(), warnings.collect::<Vec<_>>().join(" "));
    let words = [
        ("its manifest is attached to", "subject"),
        ("it is listed as", "listed"),
        ("mismatched size of", "size"),
        ("mismatched digest of", "digest"),
        ("mismatched media type of", "type"),
        ("the document is ambiguous", "ambiguous"),
        ("the manifest is malformed", "malformed"),
        ("the body is encoded as", "encoded"),
        ("larger than the limit", "large"),
        ("gave up, the time", "time"),
        ("the deadline passed", "time"),
        (": not found", "missing"),
        ("response status code", "status"),
        ("end of file before message", "cut"),
        ("connection closed", "gone"),
        ("redirects to", "redirect"),
        ("the next page is", "page"),
        ("the pages link", "page"),
        ("realm", "realm"),
        // The registry shows nothing that is attached; nothing attached is no success.
        ("No verification results", "nothing"),
    ];
    let found = words.iter().find(|(text, _)| said.contains(text));
    found.unwrap_or_else(|| panic!("it is not said what is wrong: {said}")).1
}

fn name(lie: &Lie) -> String {
    match lie {
        Lie::Status { status, .. } => format!("Status({status})"),
        Lie::RedirectBlobTo(to) => format!("RedirectBlobTo({})", to.split(':').next().unwrap()),
        Lie::ReferrersLinkOtherHost(_) => "ReferrersLinkOtherHost".to_owned(),
        Lie::ReferrersOtherArtifactType(_) => "ReferrersOtherArtifactType".to_owned(),
        Lie::Challenge(_) => "Challenge".to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_registry_is_believed_on_every_path() {
    for asked in PATHS {
        for pinned in [false, true] {
            let scene = Scene::new(asked).await;
            let ran = scene.ask(asked, pinned, "40s").await;
            assert!(scene.had(&ran, asked), "{asked:?} {pinned}: {ran:?}");
        }
    }
}

// Long because: it is a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_on_any_path_makes_a_success_that_does_not_rest_on_the_very_artifact() {
    let lies = lies();
    let rows = lies.iter().flat_map(|lie| [(lie, false), (lie, true)]);
    let cells = rows.flat_map(|(lie, pinned)| PATHS.map(|asked| told(lie, asked, pinned)));
    // Waiting for the next attempt costs nothing, so many run at once.
    let found: Vec<Option<&str>> = Box::pin(stream::iter(cells).buffered(16).collect()).await;
    let head = PATHS.map(|asked| format!("{:<12}", format!("{asked:?}"))).concat();
    let mut table = format!("{:<40} {}\n", "lie", head.trim_end());
    for (lie, rows) in lies.iter().zip(found.chunks(2 * PATHS.len())) {
        assert!(rows.iter().any(Option::is_some), "{lie:?} was never told");
        for (how, row) in ["by tag", "pinned"].into_iter().zip(rows.chunks(PATHS.len())) {
            let cells = row.iter().map(|cell| format!("{:<12}", cell.unwrap_or("-")));
            let cells: String = cells.collect();
            writeln!(table, "{:<40} {}", format!("{} {how}", name(lie)), cells.trim_end()).unwrap();
        }
    }
    insta::assert_snapshot!(table, @"
    lie                                      Resolve     List        FallbackTag Manifest    Reader      ShowBlob
    OtherBytesSameLength by tag              -           taken       digest      digest      digest      digest
    OtherBytesSameLength pinned              -           taken       digest      digest      digest      digest
    OtherBytesOtherLength by tag             taken       taken       digest      size        size        digest
    OtherBytesOtherLength pinned             taken       taken       digest      size        size        digest
    Truncated by tag                         -           cut         cut         cut         cut         cut
    Truncated pinned                         -           cut         cut         cut         cut         cut
    Endless by tag                           -           large       large       size        size        large
    Endless pinned                           -           large       large       size        size        large
    WrongDigestHeader by tag                 nothing     -           digest      digest      digest      digest
    WrongDigestHeader pinned                 digest      -           digest      digest      digest      digest
    MissingDigestHeader by tag               taken       -           taken       taken       taken       taken
    MissingDigestHeader pinned               taken       -           taken       taken       taken       taken
    EchoPinnedDigestWithOtherBody by tag     taken       taken       digest      size        size        digest
    EchoPinnedDigestWithOtherBody pinned     taken       taken       digest      size        size        digest
    WrongSizeInDescriptor by tag             taken       size        size        digest      -           -
    WrongSizeInDescriptor pinned             taken       size        size        digest      -           -
    WrongContentType by tag                  taken       nothing     type        type        taken       taken
    WrongContentType pinned                  taken       nothing     type        type        taken       taken
    ContentTypeWithCharset by tag            taken       taken       taken       taken       taken       taken
    ContentTypeWithCharset pinned            taken       taken       taken       taken       taken       taken
    ManifestThatIsAlsoIndex by tag           nothing     ambiguous   ambiguous   size        -           -
    ManifestThatIsAlsoIndex pinned           taken       ambiguous   ambiguous   size        -           -
    DuplicateJsonKeys by tag                 nothing     malformed   malformed   size        -           -
    DuplicateJsonKeys pinned                 taken       malformed   malformed   size        -           -
    GzipEncoded by tag                       taken       encoded     encoded     encoded     size        digest
    GzipEncoded pinned                       taken       encoded     encoded     encoded     size        digest
    ReferrersOfOtherSubject by tag           -           subject     subject     -           -           -
    ReferrersOfOtherSubject pinned           -           subject     subject     -           -           -
    ReferrersOtherArtifactType by tag        -           listed      listed      -           -           -
    ReferrersOtherArtifactType pinned        -           listed      listed      -           -           -
    ReferrersEndlessPages by tag             -           page        -           -           -           -
    ReferrersEndlessPages pinned             -           page        -           -           -           -
    ReferrersLinkOtherHost by tag            -           page        -           -           -           -
    ReferrersLinkOtherHost pinned            -           page        -           -           -           -
    ReferrersWrongMediaType by tag           -           nothing     type        -           -           -
    ReferrersWrongMediaType pinned           -           nothing     type        -           -           -
    ReferrersHuge(3) by tag                  -           missing     missing     -           -           -
    ReferrersHuge(3) pinned                  -           missing     missing     -           -           -
    ReferrersHuge(20000) by tag              -           large       large       -           -           -
    ReferrersHuge(20000) pinned              -           large       large       -           -           -
    IndexNestedInIndex(1) by tag             nothing     -           -           type        -           -
    IndexNestedInIndex(1) pinned             taken       -           -           type        -           -
    RedirectBlobTo(ftp) by tag               redirect    redirect    redirect    redirect    redirect    redirect
    RedirectBlobTo(ftp) pinned               redirect    redirect    redirect    redirect    redirect    redirect
    RedirectBlobTo(file) by tag              redirect    redirect    redirect    redirect    redirect    redirect
    RedirectBlobTo(file) pinned              redirect    redirect    redirect    redirect    redirect    redirect
    Stall by tag                             time        time        time        time        time        time
    Stall pinned                             time        time        time        time        time        time
    SlowDrip(300ms) by tag                   -           time        time        time        time        time
    SlowDrip(300ms) pinned                   -           time        time        time        time        time
    Status(404) by tag                       missing     nothing     nothing     missing     missing     missing
    Status(404) pinned                       missing     nothing     nothing     missing     missing     missing
    Status(401) by tag                       status      status      status      status      status      status
    Status(401) pinned                       status      status      status      status      status      status
    Status(403) by tag                       status      status      status      status      status      status
    Status(403) pinned                       status      status      status      status      status      status
    Status(429) by tag                       status      status      status      status      status      status
    Status(429) pinned                       status      status      status      status      status      status
    Status(500) by tag                       status      status      status      status      status      status
    Status(500) pinned                       status      status      status      status      status      status
    Challenge by tag                         realm       realm       realm       realm       realm       realm
    Challenge pinned                         realm       realm       realm       realm       realm       realm
    NotAManifest by tag                      nothing     nothing     type        type        size        digest
    NotAManifest pinned                      taken       nothing     type        type        size        digest
    HugeManifest by tag                      nothing     large       large       size        -           -
    HugeManifest pinned                      taken       large       large       size        -           -
    DeepJson(200) by tag                     nothing     malformed   malformed   size        -           -
    DeepJson(200) pinned                     taken       malformed   malformed   size        -           -
    DropConnection by tag                    gone        gone        gone        gone        gone        gone
    DropConnection pinned                    gone        gone        gone        gone        gone        gone
    ");
}
