//! Listing referrers: paging, the tag schema, and that only "not found" means none.

use axum::body::Body;
use ratify_core::{Descriptor, media_type};
use ratify_store_oras::{Client, Connections, Credential, OrasError, Secret};

use crate::fake::{Content, Fake, Reply, Seen, basic, client, digest, fixed, index, options};

fn page(entries: &[&Descriptor]) -> Reply {
    Reply::ok(index(entries)).with("content-type", media_type::OCI_INDEX)
}

fn entry(byte: &str) -> Descriptor {
    Descriptor::new(media_type::OCI_MANIFEST, digest(byte), 7).with_artifact_type("a/x")
}

async fn list(fake: &Fake) -> Result<Vec<Descriptor>, OrasError> {
    client().referrers(&fake.reference("app:1"), &digest("00"), None).await
}

#[tokio::test]
async fn all_pages_are_read_in_order_and_no_filter_is_asked_for() {
    let fake = Fake::start(|seen: &Seen| {
        let last = seen.path.split_once("last=").map(|(_, last)| last);
        match last {
            None => page(&[&entry("01"), &entry("02")])
                .with("link", &format!("<{}?n=2&last=2>; rel=\"next\"", seen.path)),
            Some("2") => page(&[]).with("link", "<?n=2&last=3>; rel=\"next\""),
            _ => page(&[&entry("03")]),
        }
    })
    .await;
    assert_eq!(list(&fake).await.unwrap(), [entry("01"), entry("02"), entry("03")]);
    let path = format!("GET /v2/app/referrers/{}", digest("00"));
    assert_eq!(
        fake.lines(),
        [path.clone(), format!("{path}?n=2&last=2"), format!("{path}?n=2&last=3")]
    );
}

#[tokio::test]
async fn a_list_from_which_more_was_left_out_than_was_asked_for_is_refused() {
    for (only, applied, is_taken) in [
        ("", "artifactType", false),
        ("", "", true),
        ("a/x", "artifactType", true),
        ("a/x", "artifactType, annotations", false),
        ("a/x", "artifactType,\u{e4}", false),
    ] {
        for on_page in [1, 2] {
            let fake = Fake::start(move |seen: &Seen| {
                let number = if seen.path.contains("last=") { 2 } else { 1 };
                let reply = page(&[&entry("01")]);
                let reply = match number {
                    1 => reply.with("link", "<?last=1>; rel=\"next\""),
                    _ => reply,
                };
                if number == on_page { reply.with("oci-filters-applied", applied) } else { reply }
            })
            .await;
            let (at, of) = (fake.reference("app:1"), digest("00"));
            let listed = client().referrers_of_type(&at, &of, only, None).await;
            assert_eq!(listed.is_ok(), is_taken, "{only} {applied} {listed:?}");
            if let Err(error) = listed {
                assert!(matches!(error, OrasError::Invalid { .. }), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_charset_in_the_content_type_is_no_reason_to_doubt() {
    let fake = Fake::start(|_: &Seen| {
        page(&[&entry("01")])
            .set("content-type", "application/vnd.oci.image.index.v1+json; charset=utf-8")
    })
    .await;
    assert_eq!(list(&fake).await.unwrap(), [entry("01")]);
}

#[tokio::test]
async fn a_registry_without_the_api_is_asked_by_tag() {
    for code in ["NOT_FOUND", "NAME_UNKNOWN"] {
        let fake = Fake::start(move |seen: &Seen| {
            if seen.path.contains("/referrers/") {
                return Reply::error(404, code);
            }
            page(&[&entry("01")])
        })
        .await;
        assert_eq!(list(&fake).await.unwrap(), [entry("01")], "{code}");
        let tag = digest("00").as_str().replace(':', "-");
        assert_eq!(fake.lines()[1], format!("GET /v2/app/manifests/{tag}"));
    }
}

#[tokio::test]
async fn a_page_of_another_type_leads_to_the_tag_as_in_v1() {
    let fake = Fake::start(|seen: &Seen| {
        if seen.path.contains("/referrers/") {
            return Reply::ok("<html>").with("content-type", "text/html");
        }
        page(&[&entry("01")])
    })
    .await;
    assert_eq!(list(&fake).await.unwrap(), [entry("01")]);
}

#[tokio::test]
async fn no_tag_means_no_referrers_and_nothing_else_does() {
    for (status, expected) in [(404, true), (401, false), (403, false), (429, false), (502, false)]
    {
        let fake = Fake::start(move |seen: &Seen| {
            if seen.path.contains("/referrers/") {
                return Reply::new(404);
            }
            Reply::error(status, "X")
        })
        .await;
        let listed = list(&fake).await;
        assert_eq!(listed.is_ok(), expected, "{status}: {listed:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_ambiguous_or_broken_is_refused() {
    let twice = index(&[&entry("01"), &entry("01").with_artifact_type("a/y")]);
    let bodies: Vec<(&str, axum::body::Bytes)> = vec![
        ("two types for one artifact", twice),
        ("not JSON", "<html>".into()),
        ("a manifest and an index", r#"{"manifests":[],"layers":[]}"#.into()),
        ("a key twice", r#"{"manifests":[],"manifests":[]}"#.into()),
        ("another type inside", r#"{"mediaType":"x","manifests":[]}"#.into()),
        ("a digest that is none", r#"{"manifests":[{"digest":"sha256:1","size":1}]}"#.into()),
        ("a size that is none", r#"{"manifests":[{"mediaType":"x","size":-1}]}"#.into()),
    ];
    for (name, body) in bodies {
        for by_tag in [false, true] {
            let body = body.clone();
            let fake = Fake::start(move |seen: &Seen| {
                if by_tag && seen.path.contains("/referrers/") {
                    return Reply::new(404);
                }
                Reply { body: Body::from(body.clone()), ..page(&[]) }
            })
            .await;
            let listed = list(&fake).await;
            assert!(listed.as_ref().is_err_and(OrasError::is_proof_failure), "{name}: {listed:?}");
        }
    }
}

#[tokio::test]
async fn a_next_page_that_is_missing_elsewhere_or_was_read_already_is_an_error() {
    for (link, later) in [
        ("<?page=2>", 404),
        ("<?page=2>", 403),
        ("<?page=2>", 500),
        ("<?page=1>", 200),
        ("<http://127.0.0.1:1/v2/app/x>", 200),
        ("</elsewhere>", 200),
    ] {
        let fake = Fake::start(move |seen: &Seen| {
            if seen.path.contains("page=2") {
                return Reply::new(later);
            }
            page(&[&entry("01")]).with("link", &format!("{link}; rel=next"))
        })
        .await;
        let listed = list(&fake).await;
        assert!(listed.is_err(), "{link} {later}");
        assert!(!listed.unwrap_err().is_not_found());
    }
}

#[tokio::test]
async fn pages_without_end_reach_the_bound_and_that_is_an_error() {
    let fake = Fake::start(|seen: &Seen| {
        let page_number: u32 =
            seen.path.split_once("page=").map_or(0, |(_, number)| number.parse().unwrap());
        page(&[]).with("link", &format!("<?page={}>; rel=next", page_number + 1))
    })
    .await;
    let mut options = options();
    options.limits.referrer_pages = 20;
    let client = Client::new(options).unwrap();
    let listed = client.referrers(&fake.reference("app:1"), &digest("00"), None).await;
    assert!(matches!(listed, Err(OrasError::TooLarge { limit: 20, unit: "pages", .. })));
    assert_eq!(fake.seen().len(), 20);
}

#[tokio::test]
async fn cosigns_tag_is_looked_for_and_its_absence_is_no_error() {
    let content = Content::new();
    let subject = content.subject.digest.clone();
    let tag = format!("/v2/app/manifests/{}.sig", subject.as_str().replace(':', "-"));
    let status = |status: u16| {
        let (tag, signature) = (tag.clone(), digest("aa"));
        Fake::start(move |seen: &Seen| {
            assert_eq!((seen.method.as_str(), seen.path.as_str()), ("HEAD", tag.as_str()));
            Reply::new(status)
                .with("content-type", media_type::OCI_MANIFEST)
                .with("content-length", "9")
                .with("docker-content-digest", signature.as_str())
        })
    };
    let find = async |fake: &Fake| {
        client().cosign_signature(&fake.reference("app:1"), &subject, None).await
    };
    let found = find(&status(200).await).await.unwrap().unwrap();
    assert_eq!(found.artifact_type, "application/vnd.dev.cosign.artifact.sig.v1+json");
    assert_eq!((found.digest, found.size), (digest("aa"), 9));
    assert_eq!(find(&status(404).await).await.unwrap(), None);
    assert!(find(&status(403).await).await.is_err());
    assert!(find(&status(500).await).await.is_err());
}

#[tokio::test]
async fn what_is_not_known_says_nothing_about_the_api() {
    for (code, has_tag, expected) in [
        ("NAME_UNKNOWN", true, 2),
        ("MANIFEST_UNKNOWN", true, 2),
        // Of who is not shown the tag either it may be the repository that is hidden.
        ("", false, 2),
        ("", true, 1),
    ] {
        let fake = Fake::start(move |seen: &Seen| {
            let is_list = seen.path.contains("/referrers/");
            match code {
                _ if has_tag && !is_list => page(&[]),
                "" => Reply { status: 404, ..Reply::ok("404 page not found") },
                code => Reply::error(404, code),
            }
        })
        .await;
        let client = client();
        for _ in 0..2 {
            let listed = client.referrers(&fake.reference("app:1"), &digest("00"), None).await;
            assert_eq!(listed.unwrap(), []);
        }
        let lines = fake.lines();
        let lists = lines.iter().filter(|line| line.contains("/referrers/")).count();
        assert_eq!(lists, expected, "{code} {has_tag}: {lines:?}");
    }
}

#[tokio::test]
async fn a_repository_that_is_hidden_from_one_is_listed_for_others_by_the_api() {
    let fake = Fake::start(|seen: &Seen| match seen.header("authorization") {
        None => Reply::new(401).with("www-authenticate", "Basic"),
        // Who has no rights is told that there is no such thing.
        Some(shown) if shown != "Basic dXNlcjpodW50ZXIy" => Reply::new(404),
        Some(_) if seen.path.contains("/referrers/") => page(&[&entry("01")]),
        // A list of old, or of whoever may push.
        Some(_) => page(&[]),
    })
    .await;
    let connections = Connections::default();
    let list = async |credential| {
        let mut options = options();
        options.auth = fixed(credential);
        options.connections = connections.clone();
        let client = Client::new(options).unwrap();
        client.referrers(&fake.reference("app:1"), &digest("00"), None).await
    };
    let stranger = Credential::Basic { username: "other".into(), password: Secret::new("x") };
    assert_eq!(list(stranger).await.unwrap(), []);
    assert_eq!(list(basic()).await.unwrap(), [entry("01")]);
}
