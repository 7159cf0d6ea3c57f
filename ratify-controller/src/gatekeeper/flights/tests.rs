//! Flights in a time that stands still but where it is waited for.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use ratify_core::executor::Executor;
use tokio::time::{sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds { at_once: 8, behind: 8, waiting: 40, waiting_bytes: 1 << 20 };
/// What this rests on ends in nine seconds, and what that rests on has just ended.
const SOON_OVER: usize = 1000;
const OVER: usize = 1001;
const KEEP: Keep = Keep { for_: Duration::from_secs(30), bytes: 10_000 };

struct Bench {
    flights: Arc<Flights<usize>>,
    snapshot: Arc<Snapshot>,
    rules: Arc<Rules>,
    worked: Arc<AtomicUsize>,
}

fn snapshot() -> Arc<Snapshot> {
    Arc::new(Snapshot::new(Executor::new(vec![], vec![], None)))
}

impl Bench {
    fn new(bounds: Bounds) -> Self {
        let weigh = |outcome: &usize| match *outcome {
            // What is 0 must not be kept.
            0 => None,
            SOON_OVER => Some(Weight { bytes: 100, ends: Some(SystemTime::now() + 9 * SECOND) }),
            OVER => Some(Weight { bytes: 100, ends: Some(SystemTime::now()) }),
            _ => Some(Weight { bytes: 100, ends: None }),
        };
        Self {
            flights: Arc::new(Flights::new(bounds, KEEP, weigh)),
            snapshot: snapshot(),
            rules: Arc::default(),
            worked: Arc::default(),
        }
    }

    fn key(&self, namespace: &str, subject: &str) -> FlightKey {
        FlightKey {
            snapshot: Arc::downgrade(&self.snapshot),
            rules: Arc::clone(&self.rules),
            decides: Fingerprint::now(self.snapshot.view(""), &self.rules),
            is_mutation: false,
            namespace: namespace.into(),
            subject: subject.into(),
        }
    }

    /// Asks about a subject that takes its time; what comes of it is how often there was work.
    fn ask(&self, key: FlightKey, takes: Duration) -> Result<Waiting<usize>, Full> {
        let terms = Terms { images: 1, give_up_at: Instant::now() + 30 * SECOND };
        let worked = Arc::clone(&self.worked);
        self.flights.join(key, terms, Spot::default(), move || async move {
            sleep(takes).await;
            worked.fetch_add(1, Ordering::SeqCst) + 1
        })
    }

    /// What is known after so long.
    async fn within(&self, time: Duration, key: FlightKey, takes: Duration) -> Option<usize> {
        let waiting = self.ask(key, takes).unwrap();
        timeout(time, waiting.landed()).await.ok().map(|landed| *landed.unwrap())
    }

    fn worked(&self) -> usize {
        self.worked.load(Ordering::SeqCst)
    }

    fn len(&self) -> usize {
        let state = self.flights.lock();
        assert_eq!((state.ids.len(), state.under_way.len()), (state.queue.len(), state.ids.len()));
        state.ids.len()
    }
}

/// Threads that answer connections do no work: it would keep those waiting whose answers are kept.
#[tokio::test]
async fn work_is_done_where_the_flights_are_made_and_not_where_it_is_asked_for() {
    let of_thread = || std::thread::current().id();
    let never = |_: &std::thread::ThreadId| None;
    let (here, bench) = (of_thread(), Bench::new(BOUNDS));
    let flights = Arc::new(Flights::new(BOUNDS, KEEP, never));
    let key = bench.key("", "a");
    let asked = tokio::task::spawn_blocking(move || {
        let terms = Terms { images: 1, give_up_at: Instant::now() + 30 * SECOND };
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(async {
            let asked =
                flights.join(key, terms, Spot::default(), move || async move { of_thread() });
            (of_thread(), *asked.unwrap().landed().await.unwrap())
        })
    });
    let (asked_on, worked_on) = asked.await.unwrap();
    assert_eq!(worked_on, here);
    assert_ne!(asked_on, here);
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_worked_on_once_and_answered_to_all() {
    let bench = Bench::new(BOUNDS);
    let ask = |subject: &str| bench.ask(bench.key("", subject), SECOND).unwrap();
    let waiting = ["a", "a", "b", "a"].map(ask);
    assert_eq!(bench.len(), 2);
    let answers = join_all(waiting.map(Waiting::landed)).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((bench.worked(), bench.len()), (2, 0));
    ask("a").landed().await.unwrap();
    assert_eq!(bench.worked(), 3, "an answer in time is not kept");
}

#[tokio::test(start_paused = true)]
async fn what_came_too_late_is_there_for_who_asks_again_until_it_is_old() {
    let bench = Bench::new(BOUNDS);
    let (takes, within) = (5 * SECOND, Duration::from_millis(2900));
    let again = || bench.within(within, bench.key("", "a"), takes);
    assert_eq!(again().await, None);
    sleep(4 * SECOND).await;
    assert_eq!((bench.worked(), bench.len()), (1, 0), "it landed, and nobody waited");
    for _ in 0..3 {
        assert_eq!(again().await, Some(1), "a hit, as often as it is asked");
    }
    // Not for what is another question: another namespace, configuration, or rule.
    assert_eq!(bench.within(10 * SECOND, bench.key("b", "a"), takes).await, Some(2));
    let other = FlightKey { rules: Arc::default(), ..bench.key("", "a") };
    assert_eq!(bench.within(10 * SECOND, other, takes).await, Some(3));
    let next = snapshot();
    let other = FlightKey { snapshot: Arc::downgrade(&next), ..bench.key("", "a") };
    assert_eq!(bench.within(10 * SECOND, other, takes).await, Some(4));
    sleep(30 * SECOND).await;
    assert_eq!(bench.within(10 * SECOND, bench.key("", "a"), takes).await, Some(5));
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_while_it_is_worked_on_waits_for_the_same() {
    let bench = Bench::new(BOUNDS);
    let again = || bench.within(2 * SECOND, bench.key("", "a"), 5 * SECOND);
    assert_eq!((again().await, again().await, again().await), (None, None, Some(1)));
    assert_eq!(again().await, Some(1));
    assert_eq!(bench.worked(), 1);
}

/// Asks for what comes five seconds later, and waits for one.
async fn late_by_four(bench: &Bench, outcome: usize) {
    let terms = Terms { images: 1, give_up_at: Instant::now() + 30 * SECOND };
    let worked = Arc::clone(&bench.worked);
    let work = move || async move {
        sleep(5 * SECOND).await;
        worked.fetch_add(1, Ordering::SeqCst);
        outcome
    };
    let waiting = bench.flights.join(bench.key("", "a"), terms, Spot::default(), work).unwrap();
    assert!(timeout(SECOND, waiting.landed()).await.is_err());
    sleep(5 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_is_not() {
    let bench = Bench::new(BOUNDS);
    for outcome in [0, OVER] {
        for _ in 0..2 {
            late_by_four(&bench, outcome).await;
        }
    }
    assert_eq!((bench.worked(), bench.flights.load().0.tally.late_kept), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn what_came_too_late_is_kept_no_longer_than_what_it_rests_on() {
    let bench = Bench::new(BOUNDS);
    late_by_four(&bench, SOON_OVER).await;
    let again = || bench.within(SECOND, bench.key("", "a"), 5 * SECOND);
    sleep(6 * SECOND).await;
    assert_eq!(again().await, Some(SOON_OVER));
    sleep(3 * SECOND).await;
    assert_eq!(again().await, None, "it is worked on anew");
}

/// A program or a file that decides was exchanged, which no snapshot tells.
#[tokio::test(start_paused = true)]
async fn what_something_else_decides_about_now_is_neither_joined_nor_kept_nor_found() {
    let bench = Bench::new(BOUNDS);
    let (takes, within) = (5 * SECOND, Duration::from_millis(2900));
    let mut others = Rules::default();
    others.namespaces.tighten_only = true;
    let others = Fingerprint::now(bench.snapshot.view(""), &Arc::new(others));
    let now = || bench.key("", "a");
    let before = || FlightKey { decides: others, ..bench.key("", "a") };
    assert_ne!(now(), before());
    // It was exchanged while it was worked on, so that nobody knows which of them decided.
    assert_eq!(bench.within(within, before(), takes).await, None);
    assert_eq!(bench.within(within, now(), takes).await, None);
    sleep(takes).await;
    assert_eq!((bench.worked(), bench.flights.lock().late.size().0), (2, 1));
    assert_eq!(bench.within(within, now(), takes).await, Some(2));
    assert_eq!(bench.within(10 * SECOND, before(), takes).await, Some(3), "not kept for it either");
    // Where it is not known what decides, nothing is kept.
    for worked in [4, 5] {
        let unknown = FlightKey { decides: None, ..bench.key("", "b") };
        assert_eq!(bench.within(within, unknown, takes).await, None);
        sleep(takes).await;
        assert_eq!(bench.worked(), worked);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_makes_room_by_the_late_outcomes_of_those_who_have_few() {
    let bench = Bench::new(BOUNDS);
    let late = async |namespace: &str, subject: String| {
        let key = bench.key(namespace, &subject);
        assert_eq!(bench.within(SECOND, key, 2 * SECOND).await, None);
        sleep(2 * SECOND).await;
    };
    late("b", "one".into()).await;
    let before = bench.worked();
    // Each has some 450 bytes; they are kept for as long as fourteen of them take.
    for index in 0..9 {
        join_all((0..4).map(|more| late("a", format!("{index}-{more}")))).await;
        assert!(bench.flights.lock().late.size().1 <= KEEP.bytes);
    }
    let kept = bench.within(SECOND, bench.key("b", "one"), 2 * SECOND).await;
    assert_eq!(kept, Some(before), "it is still there");
}

/// Tenant `a` asks about five thousand images that never come to an end, again and again; tenant
/// `b` about images that take a moment.
#[tokio::test(start_paused = true)]
async fn a_tenant_with_thousands_of_dead_images_makes_no_other_late() {
    let bounds = Bounds { at_once: 128, behind: 128, waiting: 4000, waiting_bytes: 8 << 20 };
    let bench = Bench::new(bounds);
    let within = Duration::from_millis(2900);
    let dead = async {
        for round in 0..4 {
            let asked = (0..5000).filter_map(|image| {
                bench.ask(bench.key("a", &format!("dead{image}")), Duration::from_secs(3600)).ok()
            });
            let asked: Vec<_> = asked.collect();
            assert!(asked.len() >= 2000, "{} in round {round}", asked.len());
            let late = join_all(asked.into_iter().map(|one| timeout(within, one.landed()))).await;
            assert!(late.iter().all(|one| !matches!(one, Ok(Ok(_)))));
        }
    };
    let living = async {
        for image in 0..100 {
            sleep(Duration::from_millis(100)).await;
            let few = (0..20).map(|more| {
                let key = bench.key("b", &format!("good{image}-{more}"));
                bench.within(within, key, Duration::from_millis(400))
            });
            let late = join_all(few).await.into_iter().filter(Option::is_none).count();
            assert_eq!(late, 0, "of image {image}");
        }
    };
    tokio::join!(dead, living);
}

#[tokio::test(start_paused = true)]
async fn without_namespaces_dead_images_hold_a_place_only_as_long_as_somebody_waits() {
    let bench = Bench::new(Bounds { at_once: 4, behind: 4, waiting: 40, waiting_bytes: 1 << 20 });
    let hour = 3600 * SECOND;
    let dead: Vec<_> =
        ["1", "2"].iter().map(|one| bench.ask(bench.key("", one), hour).unwrap()).collect();
    let late = join_all(dead.into_iter().map(|one| timeout(SECOND, one.landed())));
    let good = bench.within(2 * SECOND, bench.key("", "good"), SECOND / 2);
    let (late, good) = tokio::join!(late, good);
    assert!(late.iter().all(Result::is_err) && good == Some(1));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_given_up_or_panics_is_lost_and_leaves_nothing_behind() {
    let bench = Bench::new(Bounds { at_once: 1, ..BOUNDS });
    let dies = bench.ask(bench.key("", "dies"), 3600 * SECOND).unwrap();
    let queued = bench.ask(bench.key("", "queued"), SECOND).unwrap();
    let begun = Instant::now();
    let (dies, queued) = tokio::join!(dies.landed(), queued.landed());
    assert_eq!((dies, queued), (Err(Lost::GivenUp), Err(Lost::GivenUp)));
    assert_eq!(begun.elapsed(), 30 * SECOND);
    let terms = Terms { images: 1, give_up_at: begun + 60 * SECOND };
    let panics = bench
        .flights
        .join(bench.key("", "panics"), terms, Spot::default(), || async { panic!("aua") });
    assert_eq!(panics.unwrap().landed().await, Err(Lost::Panicked));
    assert_eq!(bench.len(), 0);
    bench.ask(bench.key("", "next"), SECOND).unwrap().landed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_out_ends_and_may_be_asked_for_anew() {
    let bench = Bench::new(Bounds { behind: 2, ..BOUNDS });
    for image in ["1", "2"] {
        let late = bench.within(SECOND, bench.key("", image), 10 * SECOND).await;
        assert_eq!(late, None);
    }
    assert_eq!(bench.len(), 1, "one may have half of two places behind");
    sleep(20 * SECOND).await;
    assert_eq!((bench.len(), bench.worked()), (0, 1));
    assert_eq!(bench.within(20 * SECOND, bench.key("", "1"), 10 * SECOND).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_run_and_only_so_many_wait() {
    let bench = Bench::new(Bounds { at_once: 2, behind: 0, waiting: 4, waiting_bytes: 1 << 20 });
    let ask = |image: usize| bench.ask(bench.key("", &image.to_string()), SECOND);
    let waiting: Vec<_> = (0..3).map(|image| ask(image).unwrap()).collect();
    let refused = ask(3).err().map(|full| full.to_string());
    let said = "3 images are being worked on already; ask again later";
    assert_eq!(refused.as_deref(), Some(said));
    let begun = Instant::now();
    join_all(waiting.into_iter().map(Waiting::landed)).await;
    assert_eq!(begun.elapsed(), 3 * SECOND, "one at a time: half of two");
}
