//! The bounds of the cache, and who is served what.

use ratify_core::Binding;

use super::*;
use crate::digest_of;

const TEN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn digest(number: u32) -> Digest {
    digest_of(ratify_core::Algorithm::Sha256, &number.to_le_bytes())
}

fn at(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn subject(number: u32) -> Question {
    Question::Subject(digest(number))
}

fn described(number: u32) -> Known {
    Known::Described(Box::new(Descriptor::new("m", digest(number), 1)))
}

fn listed(numbers: &[u32]) -> Known {
    let entry =
        |number: &u32| Referrer::new(Descriptor::new("m", digest(*number), 1), Binding::Manifest);
    Known::Listed(numbers.iter().map(entry).collect())
}

fn refusal(status: u16) -> OrasError {
    OrasError::Denied { request: "GET".into(), status, reason: "denied".into() }
}

impl Results {
    /// Asked and answered at one moment.
    fn keep(self: &Arc<Self>, at: &Reference, question: &Question, known: Known, now: Instant) {
        self.asking(at, question, now).answer(known, now);
    }
}

impl ResultCache {
    /// How many entries there are; their bytes must be what is counted.
    fn check(&self) -> usize {
        let shelves = self.lock();
        let mut entries = 0;
        for shelf in shelves.tenants.values() {
            assert_eq!(shelf.entries.len(), shelf.by_use.len());
            assert_eq!(shelf.bytes, shelf.entries.values().map(|entry| entry.bytes).sum::<u64>());
            entries += shelf.entries.len();
        }
        assert_eq!(shelves.bytes, shelves.tenants.values().map(|shelf| shelf.bytes).sum::<u64>());
        assert!(shelves.bytes <= shelves.capacity);
        entries
    }
}

#[test]
fn an_answer_is_kept_for_its_time_from_the_moment_it_was_asked_for() {
    let (cache, start, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    let store = cache.of_store("".into(), TEN);
    let [asked, late] = [(); 2].map(|()| store.asking(&app, &subject(1), start));
    asked.answer(described(1), start + 4 * SECOND);
    assert_eq!(store.get(&app, &subject(1), start + 9 * SECOND), Some(described(1)));
    assert_eq!(store.get(&app, &subject(1), start + TEN), None);
    assert_eq!(cache.check(), 0);
    late.answer(described(1), start + TEN);
    assert_eq!(cache.check(), 0, "it had ended when it came");
}

#[test]
fn what_is_absent_is_known_for_two_seconds_at_most() {
    let (cache, start, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    for (lifetime, expected) in [(TEN, ABSENCE), (SECOND, SECOND)] {
        let store = cache.of_store("".into(), lifetime);
        let questions = [
            (subject(1), Known::Absent),
            (Question::CosignSignature(digest(1)), Known::Absent),
            (Question::Referrers(digest(1), String::new()), listed(&[])),
        ];
        for (question, known) in questions {
            store.keep(&app, &question, known.clone(), start);
            let soon = start + expected - Duration::from_millis(1);
            assert_eq!(store.get(&app, &question, soon), Some(known));
            assert_eq!(store.get(&app, &question, start + expected), None, "{question:?}");
        }
    }
}

#[test]
fn an_answer_serves_the_store_that_got_it_and_the_question_it_answers() {
    let (cache, now, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    let store = cache.of_store("a".into(), TEN);
    let question = Question::Referrers(digest(1), "x".into());
    store.keep(&app, &question, listed(&[1]), now);
    assert_eq!(store.get(&at("r.io/app:2"), &question, now), Some(listed(&[1])), "another tag");
    for other in ["r.io/other:1", "r.io:5000/app:1", "other.io/app:1"] {
        assert_eq!(store.get(&at(other), &question, now), None, "{other}");
    }
    for other in [
        Question::Referrers(digest(2), "x".into()),
        Question::Referrers(digest(1), String::new()),
        Question::Referrers(digest(1), "y".into()),
        Question::CosignSignature(digest(1)),
        subject(1),
    ] {
        assert_eq!(store.get(&app, &other, now), None, "{other:?}");
    }
    for tenant in ["a", "b", ""] {
        let other = cache.of_store(tenant.into(), TEN);
        assert_eq!(other.get(&app, &question, now), None, "another store of {tenant:?}");
    }
}

#[test]
fn a_refusal_takes_what_the_store_was_answered_at_that_registry() {
    for error in [
        refusal(401),
        refusal(403),
        OrasError::Credentials { source: Box::new(ratify_core::ErrorCode::AuthDenied.error()) },
    ] {
        let (cache, now) = (ResultCache::default(), Instant::now());
        let [one, other] = [(); 2].map(|()| cache.of_store("a".into(), TEN));
        let places = ["r.io/app:1", "r.io/other:1", "s.io/app:1"].map(at);
        for store in [&one, &other] {
            for place in &places {
                store.keep(place, &subject(1), described(1), now);
            }
        }
        let under_way = one.asking(&places[0], &subject(1), now);
        one.note(&places[0], &error);
        let knows =
            |store: &Results, place: &Reference| store.get(place, &subject(1), now).is_some();
        assert_eq!(places.each_ref().map(|place| knows(&one, place)), [false, false, true]);
        assert!(places.iter().all(|place| knows(&other, place)));
        under_way.answer(described(1), now);
        assert!(!knows(&one, &places[0]), "it was asked for before the refusal");
        one.keep(&places[0], &subject(1), described(1), now);
        assert!(knows(&one, &places[0]));
        assert_eq!(cache.check(), 5);
    }
}

#[test]
fn a_registry_that_refuses_costs_no_other_its_answers() {
    let (cache, now) = (ResultCache::default(), Instant::now());
    let store = cache.of_store("a".into(), TEN);
    let [good, bad] = ["r.io/app:1", "bad.io/app:1"].map(at);
    let under_way = [&good, &bad].map(|place| store.asking(place, &subject(1), now));
    store.note(&bad, &refusal(403));
    for pending in under_way {
        pending.answer(described(1), now);
    }
    assert!(store.get(&good, &subject(1), now).is_some());
    assert!(store.get(&bad, &subject(1), now).is_none());
    // One that is too long ago to be known counts for all.
    let pending = store.asking(&good, &subject(2), now);
    store.note(&good, &refusal(403));
    for number in 0..3 * MAX_REFUSING {
        store.note(&at(&format!("r{number}.io/app:1")), &refusal(403));
    }
    assert_eq!(store.refusals().last.len(), MAX_REFUSING);
    pending.answer(described(2), now);
    assert!(store.get(&good, &subject(2), now).is_none());
    store.keep(&good, &subject(2), described(2), now);
    assert!(store.get(&good, &subject(2), now).is_some());
}

#[test]
fn a_refusal_takes_the_answers_of_a_registry_however_it_is_spelt() {
    let (cache, now) = (ResultCache::default(), Instant::now());
    let store = cache.of_store("a".into(), TEN);
    for (kept, refused) in [
        ("r.io/app:1", "r.io:443/app:1"),
        ("R.io/app:1", "r.io/app:1"),
        ("r.io:80/app:1", "r.io/app:1"),
        ("[::1]:5000/app:1", "[0:0:0:0:0:0:0:1]:5000/app:1"),
    ] {
        store.keep(&at(kept), &subject(1), described(1), now);
        assert!(store.get(&at(kept), &subject(1), now).is_some(), "{kept}");
        let under_way = store.asking(&at(kept), &subject(1), now);
        store.note(&at(refused), &refusal(401));
        assert!(store.get(&at(kept), &subject(1), now).is_none(), "{kept}");
        under_way.answer(described(1), now);
        assert!(store.get(&at(kept), &subject(1), now).is_none(), "{kept}");
        assert_eq!(cache.check(), 0);
    }
}

#[test]
fn other_failures_take_nothing() {
    let (cache, now, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    let store = cache.of_store("".into(), TEN);
    store.keep(&app, &subject(1), described(1), now);
    for error in [
        OrasError::NotFound { what: "x".into() },
        OrasError::GaveUp { what: "x".into() },
        OrasError::Status { request: "GET".into(), status: 429, reason: "busy".into() },
        OrasError::Unreachable { request: "GET".into(), reason: "x".into(), timed_out: true },
    ] {
        store.note(&app, &error);
        assert!(store.get(&app, &subject(1), now).is_some(), "{error}");
    }
}

#[test]
fn the_bytes_are_bounded_and_the_least_recently_used_goes() {
    let capacity = 20_000;
    let (cache, now, app) = (ResultCache::new(capacity), Instant::now(), at("r.io/app:1"));
    let store = cache.of_store("".into(), TEN);
    for number in 0..1000 {
        store.keep(&app, &subject(number), described(number), now);
        assert!(store.get(&app, &subject(0), now).is_some(), "after {number}");
        cache.check();
    }
    assert!((10..50).contains(&cache.check()), "{}", cache.check());
    assert!(store.get(&app, &subject(999), now).is_some());
    assert!(store.get(&app, &subject(1), now).is_none());
    let many: Vec<u32> = (0..100).collect();
    let question = Question::Referrers(digest(1), String::new());
    store.keep(&app, &question, listed(&many), now);
    assert_eq!(store.get(&app, &question, now), None, "one answer may not take all");
    let mut long = Descriptor::new("m", digest(1), 1);
    long.annotations.insert("x".into(), "y".repeat(19_000));
    store.keep(&app, &subject(0), Known::Described(Box::new(long)), now);
    assert_eq!(store.get(&app, &subject(0), now), None, "nor the one that was there stay");
    cache.check();
}

#[test]
fn a_tenant_with_many_answers_takes_none_from_one_that_has_few() {
    let (cache, now, app) = (ResultCache::new(50_000), Instant::now(), at("r.io/app:1"));
    let [few, many] = ["few", "many"].map(|tenant| cache.of_store(tenant.into(), TEN));
    let another = cache.of_store("many".into(), TEN);
    for number in 0..5 {
        few.keep(&app, &subject(number), described(number), now);
    }
    for number in 0..2000 {
        many.keep(&app, &subject(number), described(number), now);
        another.keep(&app, &subject(number), described(number), now);
    }
    assert!((0..5).all(|number| few.get(&app, &subject(number), now).is_some()));
    // And what is full of the one has room for the other.
    for number in 5..30 {
        few.keep(&app, &subject(number), described(number), now);
    }
    assert!((0..30).all(|number| few.get(&app, &subject(number), now).is_some()));
    cache.check();
}

#[test]
fn what_ended_is_swept_and_a_store_that_goes_leaves_nothing() {
    let (cache, start, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    let [one, other] = [(); 2].map(|()| cache.of_store("a".into(), TEN));
    for number in 0..10 {
        one.keep(&app, &subject(number), described(number), start);
    }
    other.keep(&app, &subject(1), described(1), start + 2 * TEN);
    assert_eq!(cache.check(), 1);
    one.keep(&app, &subject(1), described(1), start + 2 * TEN);
    drop(other);
    assert_eq!(cache.check(), 1);
    drop(one);
    assert_eq!(cache.check(), 0);
    assert!(cache.lock().tenants.is_empty());
}

#[test]
fn a_lifetime_beyond_all_measure_ends_after_a_day() {
    let (cache, start, app) = (ResultCache::default(), Instant::now(), at("r.io/app:1"));
    let store = cache.of_store("".into(), Duration::MAX);
    store.keep(&app, &subject(1), described(1), start);
    assert!(store.get(&app, &subject(1), start + LONGEST - SECOND).is_some());
    assert!(store.get(&app, &subject(1), start + LONGEST).is_none());
}
