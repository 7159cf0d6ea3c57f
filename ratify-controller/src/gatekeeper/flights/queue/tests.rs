//! Whose turn it is, as values.

use std::fmt::Write as _;

use super::*;

const BOUNDS: Bounds = Bounds { at_once: 8, behind: 4, waiting: 40, waiting_bytes: 4000 };

struct Bench {
    queue: Queue<&'static str>,
    now: Instant,
}

impl Bench {
    fn new(bounds: Bounds) -> Self {
        Self { queue: Queue::new(bounds), now: Instant::now() }
    }

    fn ask(&mut self, tenant: &'static str, images: usize) -> Result<Id, Full> {
        self.ask_of(tenant, images, 10)
    }

    fn ask_of(&mut self, tenant: &'static str, images: usize, bytes: usize) -> Result<Id, Full> {
        let give_up_at = self.now + Duration::from_secs(30);
        let ask = Ask { tenant: tenant.into(), bytes, arrived: self.now, images, give_up_at };
        let asked = self.queue.admit(ask, tenant);
        self.check();
        asked
    }

    /// Begins all that may begin, and says whose it is.
    fn begun(&mut self) -> Vec<&'static str> {
        let mut begun = Vec::new();
        while let Some(next) = self.queue.next(self.now) {
            let Next::Begin(_, tenant) = next else { panic!("overdue") };
            begun.push(tenant);
            self.check();
        }
        begun
    }

    fn leave(&mut self, id: Id) -> Vec<Id> {
        let ended = self.queue.leave(id);
        ended.iter().for_each(|id| self.queue.end(*id));
        self.check();
        ended
    }

    /// What is counted is what there is.
    fn check(&self) {
        let mut used = Used::default();
        for (name, tenant) in &self.queue.tenants {
            let own = tenant.used;
            assert_ne!(own, Used::default(), "{name} is forgotten");
            assert_eq!(own.waiting, tenant.awaited.len() + tenant.left.len());
            let of_tenant = |one: &&Flight<_>| one.tenant == *name && one.is_behind;
            assert_eq!(own.behind, self.queue.flights.values().filter(of_tenant).count());
            assert!(tenant.behind.len() <= own.behind);
            used.ahead += own.ahead;
            used.behind += own.behind;
            used.waiting += own.waiting;
            used.bytes += own.bytes;
        }
        assert_eq!(used, self.queue.used);
        assert_eq!(used.ahead + used.behind + used.waiting, self.queue.len());
        assert!(used.behind <= self.queue.bounds.behind, "{used:?}");
        let most = self.queue.bounds.at_once + self.queue.bounds.behind;
        assert!(used.ahead + used.behind <= most, "{used:?}");
        assert!(used.waiting <= self.queue.bounds.waiting.max(1), "{used:?}");
    }
}

#[test]
fn a_tenant_has_half_of_what_the_others_leave() {
    let mut table = String::new();
    for (own, used, bound) in
        [(0, 0, 8), (3, 3, 8), (4, 4, 8), (0, 4, 8), (2, 6, 8), (0, 7, 8), (0, 8, 8), (0, 0, 1)]
    {
        writeln!(table, "{own} of {used} of {bound}: {}", share(own, used, bound)).unwrap();
    }
    insta::assert_snapshot!(table, @r"
    0 of 0 of 8: 4
    3 of 3 of 8: 1
    4 of 4 of 8: 0
    0 of 4 of 8: 2
    2 of 6 of 8: 0
    0 of 7 of 8: 1
    0 of 8 of 8: 0
    0 of 0 of 1: 1
    ");
}

#[test]
fn who_asks_for_five_thousand_holds_up_nobody() {
    let bounds = Bounds { at_once: 128, behind: 128, waiting: 4000, waiting_bytes: 8 << 20 };
    let mut bench = Bench::new(bounds);
    let taken = (0..5000).filter(|_| bench.ask("a", 1000).is_ok()).count();
    assert_eq!(taken, 2000, "half of the places to wait");
    assert_eq!(bench.begun(), ["a"; 64], "half of the places to work");
    // Another has a place at once, though hundreds came before it.
    let mut of_b = Vec::new();
    for _ in 0..32 {
        of_b.push(bench.ask("b", 1).unwrap());
        assert_eq!(bench.begun(), ["b"]);
    }
    // And the next place that is free, as long as it has fewer.
    let waits = bench.ask("b", 1).unwrap();
    assert_eq!(bench.begun(), [""; 0]);
    bench.queue.end(of_b[0]);
    assert_eq!(bench.begun(), ["b"]);
    assert_eq!(bench.ask("c", 1).map(|_| bench.begun()), Ok(vec!["c"]));
    bench.queue.end(waits);
}

#[test]
fn a_short_list_comes_before_a_long_one_but_not_for_ever() {
    let mut bench = Bench::new(Bounds { at_once: 1, ..BOUNDS });
    let runs = bench.ask("a", 1).unwrap();
    bench.begun();
    let long = bench.ask("a", 100).unwrap();
    bench.now += Duration::from_secs(1);
    let short = bench.ask("a", 1).unwrap();
    bench.now += Duration::from_secs(1);
    let late = bench.ask("a", 1).unwrap();
    let mut order = Vec::new();
    let mut last = runs;
    for _ in 0..3 {
        bench.queue.end(last);
        let Some(Next::Begin(id, _)) = bench.queue.next(bench.now) else { panic!("nothing") };
        order.push(id);
        last = id;
    }
    // A hundred images are two seconds.
    assert_eq!(order, [short, long, late]);
}

#[test]
fn what_nobody_waits_for_makes_room_at_once_and_goes_on_behind() {
    let mut bench = Bench::new(BOUNDS);
    let first: Vec<_> = (0..6).map(|_| bench.ask("a", 1).unwrap()).collect();
    assert_eq!(bench.begun(), ["a"; 4]);
    assert_eq!(bench.leave(first[0]), [0; 0]);
    assert_eq!(bench.begun(), ["a"], "its place is another's");
    assert_eq!(bench.leave(first[1]), [0; 0]);
    // Half of the places behind: what has been there for longest is ended.
    assert_eq!(bench.leave(first[2]), [first[0]]);
    // Who asks again waits for what runs, which is not ended then, and nothing is begun twice.
    bench.queue.join(first[1]);
    assert_eq!(bench.leave(first[3]), [first[2]]);
    assert_eq!(bench.queue.used.behind, 2);
    bench.leave(first[1]);
    assert_eq!(bench.queue.used.behind, 2);
}

#[test]
fn who_asks_again_for_what_is_late_takes_nobodys_place() {
    let mut bench = Bench::new(BOUNDS);
    // All that two tenants may have is late, and asked for again beside as much that is new.
    for _ in 0..3 {
        let asked: Vec<_> =
            (0..8).flat_map(|_| ["a", "c"].map(|who| bench.ask(who, 1))).flatten().collect();
        bench.begun();
        asked.iter().for_each(|id| drop(bench.leave(*id)));
        bench.begun();
        asked.iter().for_each(|id| bench.queue.join(*id));
        bench.begun();
        bench.check();
    }
    let next = bench.ask("b", 1).unwrap();
    assert_eq!(bench.begun(), ["b"]);
    bench.queue.end(next);
}

#[test]
fn what_was_never_begun_is_begun_behind_when_nobody_waits() {
    let mut bench = Bench::new(Bounds { at_once: 1, ..BOUNDS });
    let runs = bench.ask("a", 1).unwrap();
    bench.begun();
    let (left, awaited) = (bench.ask("a", 1).unwrap(), bench.ask("a", 2).unwrap());
    bench.leave(left);
    bench.queue.end(runs);
    assert_eq!(bench.begun(), ["a"; 2]);
    assert_eq!((bench.queue.used.ahead, bench.queue.used.behind), (1, 1));
    bench.queue.end(left);
    assert_eq!((bench.queue.used.ahead, bench.queue.used.behind), (1, 0));
    bench.queue.end(awaited);
    assert_eq!(bench.queue.len(), 0);
}

#[test]
fn long_keys_take_the_room_of_many() {
    let mut bench = Bench::new(Bounds { at_once: 0, waiting_bytes: 4000, ..BOUNDS });
    bench.ask_of("a", 1, 1500).unwrap();
    let full = bench.ask_of("a", 1, 600).unwrap_err();
    assert_eq!(full.to_string(), "1 images are being worked on already; ask again later");
    bench.ask_of("a", 1, 500).unwrap();
    bench.ask_of("b", 1, 1000).unwrap();
    assert!(bench.ask_of("b", 1, 1).is_err() && bench.ask_of("c", 1, 500).is_ok());
}

#[test]
fn what_cannot_begin_any_more_is_given_back() {
    let mut bench = Bench::new(Bounds { at_once: 1, ..BOUNDS });
    let runs = bench.ask("a", 1).unwrap();
    bench.begun();
    let waits = bench.ask("a", 1).unwrap();
    assert_eq!(bench.queue.overdue(bench.now), [0; 0]);
    bench.now += Duration::from_secs(30);
    let fresh = bench.ask("a", 1).unwrap();
    assert_eq!(bench.queue.overdue(bench.now), [waits]);
    assert_eq!(bench.queue.overdue(bench.now), [0; 0], "looked for once");
    bench.queue.end(runs);
    assert_eq!(bench.queue.next(bench.now), Some(Next::Overdue(waits)));
    bench.queue.end(waits);
    assert_eq!(bench.queue.next(bench.now), Some(Next::Begin(fresh, "a")));
    bench.check();
}

/// Whatever happens in whatever order, the counts are right and the bounds hold.
#[test]
fn counts_and_bounds_hold_in_any_order() {
    let names = ["a", "b", "c", ""];
    let mut state = 7_u64;
    let mut random = move |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % most
    };
    let mut bench = Bench::new(BOUNDS);
    let mut known: Vec<Id> = Vec::new();
    for _ in 0..20_000 {
        bench.now += Duration::from_millis(random(200) as u64);
        match random(6) {
            0 | 1 => known.extend(bench.ask_of(names[random(4)], 1 + random(50), random(200))),
            2 => {
                while let Some(Next::Overdue(id)) = bench.queue.next(bench.now) {
                    bench.queue.end(id);
                }
            }
            action if !known.is_empty() => {
                let index = random(known.len());
                let id = known[index];
                match action {
                    3 => bench.queue.join(id),
                    4 => drop(bench.leave(id)),
                    _ => {
                        bench.queue.end(id);
                        known.swap_remove(index);
                    }
                }
            }
            _ => {}
        }
        known.retain(|id| bench.queue.flights.contains_key(id));
        bench.check();
    }
    known.into_iter().for_each(|id| bench.queue.end(id));
    assert_eq!((bench.queue.len(), bench.queue.tenants.len()), (0, 0));
}
