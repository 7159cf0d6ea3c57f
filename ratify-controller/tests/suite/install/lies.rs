//! A registry that lies, on every request an installation makes: by tag and by digest, with
//! nothing installed before and with a good one.
//!
//! Whatever it says, what ends up runnable is what was pushed, nothing partial is left, what was
//! installed before stays as it is and is kept where it came by the same tag, and the error names
//! what is wrong. What becomes of each lie is the table at the end.

use std::fmt::Write as _;

use ratify_controller::{
    dev::{Fault, Lie, RequestKind},
    plugin::install::Outcome,
};

use super::*;
use crate::common_lies;

/// What an installation asks for, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Resolve,
    Index,
    Manifest,
    Config,
    Program,
}

const PATHS: [Asked; 5] =
    [Asked::Resolve, Asked::Index, Asked::Manifest, Asked::Config, Asked::Program];

/// Every lie that can be told to an installation.
fn lies() -> Vec<Lie> {
    let own = vec![
        Lie::IndexTwoEntriesOnePlatform,
        Lie::IndexChildOtherType,
        Lie::IndexNestedInIndex(1),
        Lie::RedirectBlobTo("http://registry.example.com/x".to_owned()),
        Lie::RedirectBlobTo("file:///etc/passwd".to_owned()),
    ];
    let (sick, none) = (common_lies::of_a_sick_registry(), common_lies::of_no_document());
    [common_lies::about_bytes(), own, sick, none].concat()
}

/// What became of a lie on one path; `None` where it has no hold there.
async fn told(lie: &Lie, path: Asked, pinned: bool) -> Option<&'static str> {
    let fixture = Fixture::new().await;
    let (good, next) = (program("good"), program("next"));
    fixture.push_as_ours("1", &good).await;
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    let pushed = fixture.push_as_ours("1", &next).await;
    let artifact = if pinned { fixture.by_digest(&pushed.index) } else { fixture.by_tag("1") };
    let before = fixture.files();
    let last_good = fixture.inventory().records();

    let config = &last_good[0].documents[2];
    let (kind, digest) = match path {
        Asked::Resolve => (RequestKind::Resolve, None),
        Asked::Index => (RequestKind::Manifest, Some(&pushed.index)),
        Asked::Manifest => (RequestKind::Manifest, Some(&pushed.manifests[0].digest)),
        Asked::Config => (RequestKind::Blob, Some(config)),
        Asked::Program => (RequestKind::Blob, Some(&pushed.manifests[0].program.digest)),
    };
    let fault = Fault::on(kind, lie.clone()).at(digest.map(Digest::hex).unwrap_or_default());
    fixture.registry.set_faults(vec![fault]);
    let elsewhere = fixture.folder.path().join("fresh");
    let hangs = matches!(lie, Lie::Stall | Lie::SlowDrip(_));
    let patience = Duration::from_millis(if hangs { 1_000 } else { 30_000 });
    let fresh = install_within(patience, &elsewhere, &artifact).await;
    let upgrade = install_within(patience, &fixture.directory(), &artifact).await;
    if fixture.registry.lies_told() == [0] {
        return None;
    }

    let names = files_below(&elsewhere);
    let at = format!("{lie:?} {path:?} {pinned} {names:?}");
    let result = match fresh {
        Ok(installed) => {
            assert_eq!(fs::read(installed.plugin.path()).unwrap(), next, "{at}");
            "taken"
        }
        Err(error) => {
            assert!(!names.iter().any(|name| name.contains("sha256/")), "{at}");
            word(&error.to_string())
        }
    };
    match upgrade {
        Ok(Installation { plugin, outcome: Outcome::KeptLastGood(cause), .. }) => {
            assert_eq!(fs::read(plugin.open_for_run().unwrap().path).unwrap(), good, "{at}");
            assert_eq!((pinned, word(&cause.to_string())), (false, result), "{at}");
        }
        // The configuration of the last one is the same, so it is not asked for.
        Ok(installed) => {
            assert_eq!(fs::read(installed.plugin.path()).unwrap(), next, "{at}");
            assert!(result == "taken" || path == Asked::Config, "{at}");
        }
        Err(error) => {
            assert_eq!((pinned, word(&error.to_string())), (true, result), "{at}");
            assert_eq!(fixture.inventory().records(), last_good, "{at}");
        }
    }
    let after = fixture.files();
    assert!(!after.iter().chain(&names).any(|name| name.contains(".incoming")), "{at} {after:?}");
    assert!(before.iter().all(|name| after.contains(name)), "{at} {before:?} {after:?}");
    Some(result)
}

async fn install_within(
    patience: Duration,
    directory: &Path,
    artifact: &str,
) -> Result<Installation> {
    let source = source(artifact);
    let request = InstallRequest {
        kind: Kind::Verifier,
        name: "sample",
        type_: "sample",
        source: &source,
        directory,
        pin: None,
        ran: None,
    };
    let give_up_at = Some(Instant::now() + patience);
    let options = InstallOptions { give_up_at, ..InstallOptions::default() };
    install(&request, &options, &|_| client().map(Into::into), &mut |_, _| {}).await
}

fn name(lie: &Lie) -> String {
    match lie {
        Lie::Status { status, .. } => format!("Status({status})"),
        other => format!("{other:?}"),
    }
}

/// The one word for what an error says. An error that says nothing known fails the test.
fn word(error: &str) -> &'static str {
    let start = "DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: ";
    let cause = error.strip_prefix(start).unwrap_or_else(|| panic!("{error}"));
    let words = [
        ("mismatched size of", "size"),
        ("mismatched digest of", "digest"),
        ("mismatched media type of", "type"),
        ("ambiguous", "ambiguous"),
        ("malformed", "malformed"),
        ("not a manifest", "child"),
        ("encoded as", "encoded"),
        ("larger than the limit", "large"),
        ("gave up", "time"),
        ("not found", "missing"),
        ("response status code", "status"),
        ("end of file before message", "cut"),
        ("connection closed", "gone"),
        ("redirect", "redirect"),
    ];
    let found = words.iter().find(|(text, _)| cause.contains(text));
    found.unwrap_or_else(|| panic!("the error does not say what is wrong: {cause}")).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_on_every_path_is_refused_or_harmless() {
    let head = PATHS.map(|path| format!("{:<10}", format!("{path:?}").to_lowercase())).concat();
    let mut table = format!("{:<58} {}\n", "lie", head.trim_end());
    for lie in lies() {
        let by = |pinned: bool| PATHS.map(|path| told(&lie, path, pinned));
        let rows = by(false).into_iter().chain(by(true));
        let rows = futures_util::future::join_all(rows).await;
        assert!(rows.iter().any(Option::is_some), "{lie:?} was never told");
        for (pinned, row) in [("by tag", &rows[..5]), ("by digest", &rows[5..])] {
            let cells: String =
                row.iter().map(|cell| format!("{:<10}", cell.unwrap_or("-"))).collect();
            writeln!(table, "{:<58} {}", format!("{} {pinned}", name(&lie)), cells.trim_end())
                .unwrap();
        }
    }
    insta::assert_snapshot!(table, @r#"
    lie                                                        resolve   index     manifest  config    program
    OtherBytesSameLength by tag                                -         digest    digest    digest    digest
    OtherBytesSameLength by digest                             -         digest    digest    digest    digest
    OtherBytesOtherLength by tag                               size      size      size      size      size
    OtherBytesOtherLength by digest                            size      size      size      size      size
    Truncated by tag                                           -         cut       cut       cut       cut
    Truncated by digest                                        -         cut       cut       cut       cut
    Endless by tag                                             -         size      size      size      size
    Endless by digest                                          -         size      size      size      size
    WrongDigestHeader by tag                                   missing   digest    digest    digest    digest
    WrongDigestHeader by digest                                digest    digest    digest    digest    digest
    MissingDigestHeader by tag                                 taken     taken     taken     taken     taken
    MissingDigestHeader by digest                              taken     taken     taken     taken     taken
    EchoPinnedDigestWithOtherBody by tag                       size      size      size      size      size
    EchoPinnedDigestWithOtherBody by digest                    size      size      size      size      size
    WrongSizeInDescriptor by tag                               size      digest    digest    -         -
    WrongSizeInDescriptor by digest                            size      digest    digest    -         -
    WrongContentType by tag                                    type      type      type      taken     taken
    WrongContentType by digest                                 type      type      type      taken     taken
    ContentTypeWithCharset by tag                              taken     taken     taken     taken     taken
    ContentTypeWithCharset by digest                           taken     taken     taken     taken     taken
    ManifestThatIsAlsoIndex by tag                             ambiguous size      size      -         -
    ManifestThatIsAlsoIndex by digest                          size      size      size      -         -
    DuplicateJsonKeys by tag                                   malformed size      size      -         -
    DuplicateJsonKeys by digest                                size      size      size      -         -
    GzipEncoded by tag                                         size      encoded   encoded   size      size
    GzipEncoded by digest                                      size      encoded   encoded   size      size
    IndexTwoEntriesOnePlatform by tag                          ambiguous size      -         -         -
    IndexTwoEntriesOnePlatform by digest                       size      size      -         -         -
    IndexChildOtherType by tag                                 child     size      -         -         -
    IndexChildOtherType by digest                              size      size      -         -         -
    IndexNestedInIndex(1) by tag                               child     size      type      -         -
    IndexNestedInIndex(1) by digest                            size      size      type      -         -
    RedirectBlobTo("http://registry.example.com/x") by tag     redirect  redirect  redirect  redirect  redirect
    RedirectBlobTo("http://registry.example.com/x") by digest  redirect  redirect  redirect  redirect  redirect
    RedirectBlobTo("file:///etc/passwd") by tag                redirect  redirect  redirect  redirect  redirect
    RedirectBlobTo("file:///etc/passwd") by digest             redirect  redirect  redirect  redirect  redirect
    Stall by tag                                               time      time      time      time      time
    Stall by digest                                            time      time      time      time      time
    SlowDrip(300ms) by tag                                     -         time      time      time      time
    SlowDrip(300ms) by digest                                  -         time      time      time      time
    Status(404) by tag                                         missing   missing   missing   missing   missing
    Status(404) by digest                                      missing   missing   missing   missing   missing
    Status(401) by tag                                         status    status    status    status    status
    Status(401) by digest                                      status    status    status    status    status
    Status(403) by tag                                         status    status    status    status    status
    Status(403) by digest                                      status    status    status    status    status
    Status(429) by tag                                         status    status    status    status    status
    Status(429) by digest                                      status    status    status    status    status
    Status(500) by tag                                         status    status    status    status    status
    Status(500) by digest                                      status    status    status    status    status
    NotAManifest by tag                                        missing   type      type      size      size
    NotAManifest by digest                                     taken     type      type      size      size
    HugeManifest by tag                                        large     size      size      -         -
    HugeManifest by digest                                     large     size      size      -         -
    DeepJson(200) by tag                                       malformed size      size      -         -
    DeepJson(200) by digest                                    size      size      size      -         -
    DropConnection by tag                                      gone      gone      gone      gone      gone
    DropConnection by digest                                   gone      gone      gone      gone      gone
    "#);
}
