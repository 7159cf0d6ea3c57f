//! Answers of real responders, made by `openssl ocsp`, and lists of real authorities; then all that is
//! wrong with them.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::FutureExt as _;
use ratify_core::{ErrorCode, FetchRequest, UrlSource, executor::testing::MemoryHost};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, CustomExtension, ExtendedKeyUsagePurpose, date_time_ymd,
};

use super::*;
use crate::testing::{Authority, Issued, has_openssl, list, openssl, pem_of, revoked, signed_list};

pub(super) const LIST: &str = "http://list.example.com/a.crl";
pub(super) const RESPONDER: &str = "http://ocsp.example.com";

pub(super) fn moment(text: &str) -> Moment {
    Moment::parse_rfc3339(text).unwrap()
}

/// Within the time of the lists here.
pub(super) const NOW: &str = "2024-05-06T00:00:00Z";

fn check(
    host: &MemoryHost,
    leaf: &Issued,
    root: &Authority,
    now: Moment,
    signing_time: Option<Moment>,
) -> Result<Option<Moment>, String> {
    let lists = ListCache::default();
    let revocation = Revocation { host: &host.shared(), lists: &lists, now };
    let chain = [leaf.certificate.clone(), root.certificate.clone()];
    let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time };
    let checked = revocation.check(&chain, whose).now_or_never().unwrap();
    checked.map_err(|refusal| format!("{:?}: {refusal}", refusal.lasts()))
}

pub(super) fn with_list(leaf: &mut CertificateParams) {
    leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![LIST.into()] }];
}

pub(super) fn serving(bytes: Bytes) -> MemoryHost {
    MemoryHost::default().fetching(move |request| {
        assert_eq!(request.url_source, UrlSource::Document);
        assert_eq!((request.max_bytes, request.timeout.as_secs()), ((32 << 20) - 1, 5));
        Ok(bytes.clone())
    })
}

#[test]
fn a_list_says_who_is_revoked_and_until_when_that_is_known() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let run = |list, now: &str| {
        check(&serving(signed_list(list, &root)), &leaf, &root, moment(now), None)
    };
    let other = root.leaf("other").certificate;
    let of_others = || CertificateRevocationListParams {
        revoked_certs: vec![revoked(&other), revoked(&root.certificate)],
        ..list()
    };
    assert_eq!(run(list(), NOW), Ok(Some(moment("2024-06-01T00:00:00Z"))));
    assert_eq!(run(of_others(), NOW), Ok(Some(moment("2024-06-01T00:00:00Z"))));
    let mut whole = of_others();
    whole.revoked_certs.push(revoked(&leaf.certificate));
    insta::assert_snapshot!(run(whole, NOW).unwrap_err(), @r#"Found: signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is revoked"#);
    for late in ["2024-06-01T00:00:01Z", "2024-04-30T00:00:00Z"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(run(list(), late).unwrap_err(), @r#"Unknown: signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown"#);
        }
    }
}

#[test]
fn what_became_invalid_after_an_authority_signed_is_good() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let mut entry = revoked(&leaf.certificate);
    entry.invalidity_date = Some(date_time_ymd(2024, 5, 2));
    let list = CertificateRevocationListParams { revoked_certs: vec![entry], ..list() };
    let host = serving(signed_list(list, &root));
    let at = |time: Option<&str>| check(&host, &leaf, &root, moment(NOW), time.map(moment));
    assert!(at(Some("2024-05-01T23:59:59Z")).is_ok());
    assert!(at(Some("2024-05-02T00:00:00Z")).unwrap_err().ends_with("is revoked"));
    assert!(at(None).unwrap_err().ends_with("is revoked"));
}

#[test]
fn an_entry_that_does_not_count_hides_none_behind_it() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let mut later = revoked(&leaf.certificate);
    later.invalidity_date = Some(date_time_ymd(2024, 5, 2));
    let revoked_certs = vec![later, revoked(&leaf.certificate)];
    let list = CertificateRevocationListParams { revoked_certs, ..list() };
    let before = Some(moment("2024-05-01T00:00:00Z"));
    let host = serving(signed_list(list, &root));
    let refused = check(&host, &leaf, &root, moment(NOW), before).unwrap_err();
    assert!(refused.ends_with("is revoked"), "{refused}");
}

#[test]
fn a_list_of_another_or_of_a_part_that_is_not_about_it_says_nothing() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let run = |bytes: Bytes| check(&serving(bytes), &leaf, &root, moment(NOW), None);
    let part = |uri: &str, scope: Option<CrlScope>| {
        let distribution_point = CrlDistributionPoint { uris: vec![uri.into()] };
        let part = CrlIssuingDistributionPoint { distribution_point, scope };
        signed_list(
            CertificateRevocationListParams { issuing_distribution_point: Some(part), ..list() },
            &root,
        )
    };
    assert!(run(part(LIST, None)).is_ok());
    assert!(run(part(LIST, Some(CrlScope::UserCertsOnly))).is_ok());
    let namesake = Authority::root("root");
    for (what, bytes) in [
        ("another key", signed_list(list(), &namesake)),
        ("another name", signed_list(list(), &Authority::root("other"))),
        ("another place", part("http://list.example.com/b.crl", None)),
        ("authorities only", part(LIST, Some(CrlScope::CaCertsOnly))),
        ("nothing", Bytes::new()),
        ("no list", Bytes::from_static(b"<html>")),
        ("a certificate", leaf.certificate.der().to_vec().into()),
    ] {
        let refusal = run(bytes).unwrap_err();
        assert!(refusal.starts_with("Unknown: ") && refusal.ends_with(" is unknown"), "{what}");
    }
}

#[test]
fn no_byte_of_a_list_that_is_changed_or_cut_off_makes_it_panic_or_good() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let list = CertificateRevocationListParams {
        revoked_certs: vec![revoked(&leaf.certificate)],
        ..list()
    };
    let bytes = signed_list(list, &root);
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x11;
        for bytes in [changed, bytes[..at].to_vec()] {
            assert!(
                check(&serving(bytes.into()), &leaf, &root, moment(NOW), None).is_err(),
                "{at}"
            );
        }
    }
}

#[test]
fn lists_are_kept_until_their_next_update_where_they_are_to_be() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let host = serving(signed_list(list(), &root));
    let lists = ListCache::default();
    let chain = [leaf.certificate.clone(), root.certificate.clone()];
    let shared = host.shared();
    let run = |now: &str| {
        let revocation = Revocation { host: &shared, lists: &lists, now: moment(now) };
        let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time: None };
        revocation.check(&chain, whose).now_or_never().unwrap().is_ok()
    };
    assert!(run(NOW) && run(NOW));
    assert_eq!(host.asked().len(), 2, "nothing is kept before it is to be");
    lists.keep(true);
    assert!(run(NOW) && run(NOW) && run("2024-05-31T00:00:00Z"));
    assert_eq!(host.asked().len(), 3);
    assert!(!run("2024-06-02T00:00:00Z"));
    assert_eq!(host.asked().len(), 4, "a newer one is due");
    lists.keep(false);
    assert!(run(NOW));
    assert_eq!(host.asked().len(), 5);
    assert!(format!("{lists:?}").contains("keeps"));
}

#[test]
fn a_list_that_somebody_on_the_way_made_is_not_kept() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let forged = signed_list(list(), &Authority::root("root"));
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let good = signed_list(list(), &root);
    let host = MemoryHost::default().fetching(move |_| {
        let is_first = is_first.swap(false, std::sync::atomic::Ordering::Relaxed);
        Ok(if is_first { forged.clone() } else { good.clone() })
    });
    let lists = ListCache::default();
    lists.keep(true);
    let chain = [leaf.certificate.clone(), root.certificate.clone()];
    let shared = host.shared();
    let run = || {
        let revocation = Revocation { host: &shared, lists: &lists, now: moment(NOW) };
        let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time: None };
        revocation.check(&chain, whose).now_or_never().unwrap().is_ok()
    };
    assert!(!run() && run() && run());
    assert_eq!(host.asked().len(), 2, "the good one is kept");
}

#[test]
fn a_list_is_fetched_in_clear_alone_and_one_that_cannot_be_had_may_pass() {
    let root = Authority::root("root");
    for url in
        ["https://list.example.com/a", "ldap://list.example.com/a", "file:///etc/passwd", "x"]
    {
        let leaf = root.issue("leaf", |leaf| {
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.into()] }];
        });
        let host = serving(signed_list(list(), &root));
        assert!(check(&host, &leaf, &root, moment(NOW), None).unwrap_err().starts_with("Unknown"));
        assert_eq!(host.asked(), Vec::<String>::new(), "{url}");
    }
    let leaf = root.issue("leaf", with_list);
    let away = |_: &FetchRequest| Err(ErrorCode::ReferrerStoreFailure.detail("away").passing(true));
    let host = MemoryHost::default().fetching(away);
    assert!(check(&host, &leaf, &root, moment(NOW), None).unwrap_err().starts_with("Passing"));
    let gone = |_: &FetchRequest| Err(ErrorCode::ResourceNotFound.detail("404"));
    let host = MemoryHost::default().fetching(gone);
    assert!(check(&host, &leaf, &root, moment(NOW), None).unwrap_err().starts_with("Unknown"));
}

/// A leaf that names a responder, and lists where there are some.
pub(super) fn with_responder(leaf: &mut CertificateParams, points: &[&str]) {
    let uri = RESPONDER.as_bytes();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    // AuthorityInfoAccessSyntax (RFC 5280, section 4.2.2.1) of one responder.
    let mut access = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, length(uri)];
    access.extend_from_slice(uri);
    let access = [&[0x30, length(&access)][..], &access].concat();
    let access = [&[0x30, length(&access)][..], &access].concat();
    let id = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    leaf.custom_extensions.push(CustomExtension::from_oid_content(&id, access));
    let point = |uri: &&str| CrlDistributionPoint { uris: vec![(*uri).into()] };
    leaf.crl_distribution_points = points.iter().map(point).collect();
}

/// What `openssl ocsp` answers to a request, with the status of a leaf as its index has it.
pub(super) struct Responder {
    folder: tempfile::TempDir,
    more: &'static str,
}

impl Responder {
    /// A responder of an authority, or of somebody whom it named.
    pub(super) fn new(
        authority: &Authority,
        signer: Option<&Issued>,
        leaf: &Certificate,
        status: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", pem_of(&[&authority.certificate]));
        let (certificate, key) = match signer {
            None => (&authority.certificate, authority.issuer.key()),
            Some(signer) => (&signer.certificate, &signer.key),
        };
        write("signer.pem", pem_of(&[certificate]));
        write("key.pem", key.serialize_pem());
        let serial: String = leaf.serial.iter().map(|byte| format!("{byte:02X}")).collect();
        let serial = serial.trim_start_matches("00");
        let line = match status {
            "revoked" => format!("R\t491231235959Z\t240502000000Z\t{serial}\tunknown\t/CN=x\n"),
            "good" => format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=x\n"),
            _ => String::new(),
        };
        write("index.txt", line);
        Self { folder, more: " -ndays 1" }
    }

    fn answer(&self, request: &FetchRequest) -> ratify_core::Result<Bytes> {
        assert_eq!((request.max_bytes, request.timeout.as_secs()), (20_480, 2));
        let encoded = request.url.strip_prefix(RESPONDER).unwrap().trim_start_matches('/');
        let encoded = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        fs::write(self.folder.path().join("request"), STANDARD.decode(encoded).unwrap()).unwrap();
        let by = "-index index.txt -rsigner signer.pem -rkey key.pem -CA ca.pem";
        let files = format!("-reqin request -respout response{}", self.more);
        openssl(self.folder.path(), &format!("ocsp {by} {files}"));
        Ok(fs::read(self.folder.path().join("response")).unwrap().into())
    }

    pub(super) fn host(self) -> MemoryHost {
        MemoryHost::default().fetching(move |request| self.answer(request))
    }
}

pub(super) fn now() -> Moment {
    Moment::of_clock(std::time::SystemTime::now())
}

#[test]
fn a_real_responder_is_believed() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let leaf = root.issue("leaf", |leaf| with_responder(leaf, &[]));
    let run = |status: &str| {
        let host = Responder::new(&root, None, &leaf.certificate, status).host();
        check(&host, &leaf, &root, now(), None)
    };
    let until = run("good").unwrap().unwrap();
    assert!(until > now() && until < now().plus_nanos(2 * 86_400 * 1_000_000_000));
    assert_eq!(
        run("revoked").unwrap_err(),
        r#"Found: signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is revoked"#
    );
    assert_eq!(
        run("").unwrap_err(),
        r#"Unknown: signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown"#
    );
}

#[test]
fn a_responder_that_the_authority_named_is_believed_and_no_other() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let leaf = root.issue("leaf", |leaf| with_responder(leaf, &[]));
    let of_signer = |signer: &Issued| {
        let host = Responder::new(&root, Some(signer), &leaf.certificate, "good").host();
        check(&host, &leaf, &root, now(), None).is_ok()
    };
    let for_that = |of: &mut CertificateParams| {
        of.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    };
    assert!(of_signer(&root.issue("responder", for_that)));
    assert!(!of_signer(&root.leaf("anybody")), "it is not for that");
    let ended = root.issue("ended", |of| {
        for_that(of);
        of.not_after = date_time_ymd(2024, 1, 1);
    });
    assert!(!of_signer(&ended));
    let stranger = Authority::root("root");
    assert!(!of_signer(&stranger.issue("responder", for_that)), "another's");
}

#[test]
fn an_answer_that_is_changed_cut_off_old_or_about_another_is_not_believed() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let leaf = root.issue("leaf", |leaf| with_responder(leaf, &[]));
    let other = root.issue("other", |leaf| with_responder(leaf, &[]));
    let kept = Arc::new(std::sync::Mutex::new(Bytes::new()));
    let responder = Responder::new(&root, None, &leaf.certificate, "good");
    let keep = Arc::clone(&kept);
    let host = MemoryHost::default().fetching(move |request| {
        let answer = responder.answer(request)?;
        *keep.lock().unwrap() = answer.clone();
        Ok(answer)
    });
    assert!(check(&host, &leaf, &root, now(), None).is_ok());
    let answer = kept.lock().unwrap().clone();
    let with = |answer: Bytes| MemoryHost::default().fetching(move |_| Ok(answer.clone()));
    assert!(check(&with(answer.clone()), &other, &root, now(), None).is_err(), "about another");
    let later = now().plus_nanos(2 * 86_400 * 1_000_000_000);
    assert!(check(&with(answer.clone()), &leaf, &root, later, None).is_err(), "old");
    let earlier = now().plus_nanos(-86_400 * 1_000_000_000);
    assert!(check(&with(answer.clone()), &leaf, &root, earlier, None).is_err(), "not yet");
    let mut good = 0;
    for at in 0..answer.len() {
        let mut changed = answer.to_vec();
        changed[at] ^= 0x11;
        good += usize::from(check(&with(changed.into()), &leaf, &root, now(), None).is_ok());
        assert!(check(&with(answer.slice(..at)), &leaf, &root, now(), None).is_err(), "{at}");
    }
    assert_eq!(good, 0, "all of it is signed, or is a certificate that is");
}

#[test]
fn an_answer_without_an_end_is_not_believed_and_lists_stand_in() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let of_both = root.issue("leaf", |leaf| with_responder(leaf, &[LIST]));
    let of_one = root.issue("leaf", |leaf| with_responder(leaf, &[]));
    let endless = |leaf: &Issued| Responder {
        more: "",
        ..Responder::new(&root, None, &leaf.certificate, "good")
    };
    assert!(check(&endless(&of_one).host(), &of_one, &root, now(), None).is_err());
    let responder = endless(&of_both);
    let mut newest = list();
    newest.next_update = date_time_ymd(2099, 1, 1);
    let newest = signed_list(newest, &root);
    let host = MemoryHost::default().fetching(move |request| match request.url == LIST {
        true => Ok(newest.clone()),
        false => responder.answer(request),
    });
    assert_eq!(
        check(&host, &of_both, &root, now(), None),
        Ok(Some(moment("2099-01-01T00:00:00Z")))
    );
    assert_eq!(host.asked().len(), 2);
}
