//! What is kept, for whom, and until when. The proofs within one process that a stale entry admits
//! nothing.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use ratify_core::{
    Basis, BoxFuture, ErrorCode, Request, Result, Verifier, VerifierReport, VerifyResult,
    config::Config,
    executor::{Executor, testing::MemoryStore},
};

use super::*;
use crate::plugin::rules::Rules;

const PINNED: &str = "registry.example.com/a@sha256:1111111111111111111111111111111111111111111111111111111111111111";
const TAGGED: &str = "registry.example.com/a:1";

/// A verifier that decides by a number.
struct Numbered(Arc<AtomicU32>);

impl Verifier for Numbered {
    fn name(&self) -> &str {
        "numbered"
    }

    fn type_(&self) -> &str {
        "numbered"
    }

    fn can_verify(&self, _: &str) -> bool {
        true
    }

    fn verifies_nested(&self) -> bool {
        false
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add("number", self.0.load(Ordering::SeqCst).to_le_bytes());
    }

    fn verify<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async { Err(ErrorCode::Unknown.error()) })
    }
}

fn view(number: &Arc<AtomicU32>) -> View {
    let store = MemoryStore::new("oras").resting_on("nothing");
    let verifier = Numbered(Arc::clone(number));
    View::new(Executor::new(vec![Arc::new(store)], vec![Arc::new(verifier)], None))
}

fn cache() -> (VerdictCache, RulesInForce) {
    let rules = RulesInForce::default();
    let options = CacheOptions::new(1 << 20, Duration::from_secs(3600));
    (VerdictCache::new(&options, rules.clone()), rules)
}

fn result(is_success: bool) -> VerifyResult {
    let report =
        if is_success { VerifierReport::success("ok") } else { VerifierReport::failure("") };
    VerifyResult::new(is_success, vec![report])
}

fn subject(text: &str) -> Reference {
    Reference::parse_subject(text).unwrap()
}

fn place(cache: &VerdictCache, view: &View, namespace: &str, image: &str) -> Place {
    match cache.look_up().find(view, namespace, image) {
        Found::Nothing(place) => place.of(&subject(image)),
        Found::Verdict(_) => panic!("{image} is kept"),
    }
}

fn keep(place: &Place, view: &View, result: &VerifyResult) {
    let verdict = Arc::new(Verdict::new("0.2.0", result).unwrap());
    place.keep(view, &verdict, result.standing());
}

fn is_kept(cache: &VerdictCache, view: &View, namespace: &str, image: &str) -> bool {
    matches!(cache.look_up().find(view, namespace, image), Found::Verdict(_))
}

#[test]
fn a_verdict_serves_the_same_question_and_no_other() {
    let (number, (cache, _)) = (Arc::default(), cache());
    let view = view(&number);
    keep(&place(&cache, &view, "team", PINNED), &view, &result(true));
    assert!(is_kept(&cache, &view, "team", PINNED));
    let other_digest = PINNED.replace('1', "2");
    for (namespace, image) in [
        ("", PINNED),
        ("tea", PINNED),
        ("team\0", PINNED),
        ("team", TAGGED),
        ("team", &other_digest),
        ("team", &PINNED.replace("/a", "/b")),
    ] {
        assert!(!is_kept(&cache, &view, namespace, image), "{namespace:?} {image}");
    }
    assert_eq!((cache.counts().hits, cache.counts().stored, cache.counts().entries), (1, 1, 1));
}

#[test]
fn the_boundary_between_namespace_and_image_is_part_of_the_key() {
    let fingerprint = Fingerprint([0; 32]);
    let mut keys = [Vec::new(), Vec::new()];
    write_key(fingerprint, "xa", "b.example.com/a:1", &mut keys[0]);
    write_key(fingerprint, "x", "ab.example.com/a:1", &mut keys[1]);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn another_policy_verifier_or_file_has_other_verdicts_and_the_same_again_the_same() {
    let (number, (cache, _)) = (Arc::<AtomicU32>::default(), cache());
    let before = view(&number);
    keep(&place(&cache, &before, "", PINNED), &before, &result(true));
    assert!(is_kept(&cache, &view(&number), "", PINNED), "another snapshot that decides alike");
    number.store(1, Ordering::SeqCst);
    assert!(!is_kept(&cache, &view(&number), "", PINNED));
    number.store(0, Ordering::SeqCst);
    assert!(is_kept(&cache, &view(&number), "", PINNED));
}

#[test]
fn a_rule_of_the_administrators_counts_at_once() {
    let (number, (cache, rules)) = (Arc::default(), cache());
    let view = view(&number);
    keep(&place(&cache, &view, "", PINNED), &view, &result(true));
    let file = br#"{"plugins": {"requireDigest": true}}"#;
    rules.put(Rules::of(&Config::from_json(file).unwrap()));
    assert!(!is_kept(&cache, &view, "", PINNED));
}

#[test]
fn what_changed_while_a_verdict_was_reached_keeps_it_out() {
    let (number, (cache, rules)) = (Arc::<AtomicU32>::default(), cache());
    let view = view(&number);
    let of_before = place(&cache, &view, "", PINNED);
    number.store(1, Ordering::SeqCst);
    keep(&of_before, &view, &result(true));
    assert!(!is_kept(&cache, &view, "", PINNED));
    let of_before = place(&cache, &view, "", PINNED);
    rules.put(Rules::of(&Config::from_json(br#"{"namespaces": {"tightenOnly": true}}"#).unwrap()));
    keep(&of_before, &view, &result(true));
    assert!(!is_kept(&cache, &view, "", PINNED));
    assert_eq!((cache.counts().changed, cache.counts().entries), (2, 0));
}

#[test]
fn what_failed_on_the_way_is_kept_from_nobody() {
    let (number, (cache, _)) = (Arc::default(), cache());
    let view = view(&number);
    let failed = VerifierReport::from_error(&ErrorCode::ListReferrersFailure.detail("timeout"));
    let mut nested = VerifierReport::success("ok");
    nested.nested_results = vec![failed.clone()];
    for result in [
        VerifyResult::new(false, vec![failed.clone()]),
        VerifyResult::new(true, vec![VerifierReport::success("ok"), failed]),
        VerifyResult::new(true, vec![nested]),
        VerifyResult::new(true, Vec::<VerifierReport>::new()),
    ] {
        keep(&place(&cache, &view, "", PINNED), &view, &result);
        assert!(!is_kept(&cache, &view, "", PINNED), "{result:?}");
    }
    assert_eq!((cache.counts().passing, cache.counts().entries), (4, 0));
}

#[test]
fn of_a_view_that_is_not_known_nothing_is_kept() {
    let (cache, _) = cache();
    let silent = Executor::new(vec![Arc::new(MemoryStore::new("oras"))], vec![], None);
    let view = View::new(silent);
    keep(&place(&cache, &view, "", PINNED), &view, &result(true));
    assert!(!is_kept(&cache, &view, "", PINNED));
    assert_eq!(cache.counts(), Counts::default());
}

#[test]
fn no_verdict_outlives_what_it_rests_on() {
    let (number, (cache, _)) = (Arc::default(), cache());
    let view = view(&number);
    let ends = |at| VerifyResult::new(true, vec![VerifierReport::success("").valid_until(at)]);
    let now = SystemTime::now();
    keep(&place(&cache, &view, "", PINNED), &view, &ends(now));
    assert!(!is_kept(&cache, &view, "", PINNED), "a certificate that has ended");
    keep(&place(&cache, &view, "", PINNED), &view, &ends(now + Duration::from_secs(600)));
    assert!(is_kept(&cache, &view, "", PINNED));
    let soon = now + Duration::from_millis(200);
    keep(&place(&cache, &view, "other", PINNED), &view, &ends(soon));
    while SystemTime::now() < soon {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!is_kept(&cache, &view, "other", PINNED));
}

#[test]
fn a_denial_and_what_a_tag_stands_for_are_kept_shortly() {
    let (long, brief) = (Duration::from_secs(3600), Duration::from_secs(2));
    for (is_success, is_pinned) in [(false, true), (true, false), (false, false)] {
        assert_eq!(lifetime(long, is_success, is_pinned), SHORT);
        assert_eq!(lifetime(brief, is_success, is_pinned), brief);
    }
    assert_eq!(lifetime(long, true, true), long);
}

#[test]
fn a_cache_that_is_off_keeps_nothing() {
    let (number, cache) = (Arc::default(), VerdictCache::default());
    let view = view(&number);
    keep(&place(&cache, &view, "", PINNED), &view, &result(true));
    assert!(!is_kept(&cache, &view, "", PINNED));
    assert_eq!(cache.counts(), Counts::default());
}

/// `cargo test --release -p ratify-controller --lib -- --ignored --nocapture what_a_hit_costs`
#[test]
#[ignore = "a figure, for a person who asks for it"]
fn what_a_hit_costs() {
    const ROUNDS: u32 = 200_000;
    let (number, (cache, _)) = (Arc::default(), cache());
    let view = view(&number);
    let mut reports = vec![VerifierReport::success("ok"); 5];
    reports[0].extensions = serde_json::json!({"packages": vec!["a package"; 100]});
    keep(&place(&cache, &view, "team", PINNED), &view, &VerifyResult::new(true, reports));
    let began = std::time::Instant::now();
    let mut hits = 0;
    for _ in 0..ROUNDS {
        hits += u32::from(matches!(cache.look_up().find(&view, "team", PINNED), Found::Verdict(_)));
    }
    println!("{} ns a hit", began.elapsed().as_nanos() / u128::from(ROUNDS));
    assert_eq!(hits, ROUNDS);
}
