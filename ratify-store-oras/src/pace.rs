//! [`Pace`]: how fast one registry is asked. Pure: the time comes in.
//!
//! Three bounds, of which the strictest counts: how many requests wait for an answer at once, how
//! many are sent in a second, and a pause where the registry asks for one. There is no bound per
//! second until a registry says 429. From then on it is nine tenths of what was served in the
//! second before, and grows again: slowly at first, faster the longer nothing is refused.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// As many requests wait for an answer at once before a registry has served any.
const FIRST_WINDOW: f64 = 8.0;
/// Up to here one more for each that is served; beyond, one more when a whole window is, for all of
/// a window is lost when the limit is met.
const FAST_WINDOW: f64 = 16.0;
const MIN_WINDOW: f64 = 4.0;
const MAX_WINDOW: f64 = 128.0;
/// After a 429, this much of what was served in the second before.
const SLOWER: f64 = 0.9;
/// A registry that had served next to nothing has not told us its limit.
const MIN_RATE: f64 = 5.0;
/// A registry that has refused nothing for this long has no limit that we meet.
const FORGET_AFTER: Duration = Duration::from_secs(120);
/// The time for which requests are counted, and how finely.
const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

/// What one registry is asked, and what it answers.
#[derive(Debug)]
pub(crate) struct Pace {
    in_flight: u32,
    window: f64,
    shrunk_at: Option<Instant>,
    slowed: Option<Slowed>,
    /// When the next request is due if each takes its share of a second.
    due: Option<Instant>,
    paused_until: Option<Instant>,
    served: Served,
}

/// When it was asked to be slower, and how many requests a second it was given then.
#[derive(Debug, Clone, Copy)]
struct Slowed {
    at: Instant,
    rate: f64,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    At(Instant),
    WhenOneEnds,
}

/// How a request ended, as far as the pace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An answer, whatever it says.
    Served,
    /// Too many requests (429), or a fault with a time to come back: nothing is asked meanwhile.
    Busy(Duration),
    /// No answer in time, or a fault.
    Failed,
    /// Nobody waited for the answer, or the connection failed.
    Unknown,
}

/// How many requests were served in the last second.
#[derive(Debug, Default)]
struct Served(VecDeque<(Instant, u32)>);

impl Default for Pace {
    fn default() -> Self {
        Self {
            in_flight: 0,
            window: FIRST_WINDOW,
            shrunk_at: None,
            slowed: None,
            due: None,
            paused_until: None,
            served: Served::default(),
        }
    }
}

impl Pace {
    /// Whether a request may be sent now, where so many of those under way count.
    pub(crate) fn turn(&self, now: Instant, under_way: u32) -> Turn {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Turn::At(until);
        }
        if f64::from(under_way) + 1.0 > self.window {
            return Turn::WhenOneEnds;
        }
        let Some(rate) = self.rate(now) else { return Turn::Now };
        // One may be early, so two follow each other at most.
        match self.due.and_then(|due| due.checked_sub(interval(rate))) {
            Some(at) if at > now => Turn::At(at),
            _ => Turn::Now,
        }
    }

    /// A request is sent.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.in_flight += 1;
        self.due = self.rate(now).map(|rate| self.due.unwrap_or(now).max(now) + interval(rate));
    }

    /// A request that was sent at `begun` ended.
    pub(crate) fn end(&mut self, begun: Instant, now: Instant, seen: Seen) {
        let was_wanted = f64::from(self.in_flight) * 2.0 >= self.window;
        self.in_flight = self.in_flight.saturating_sub(1);
        match seen {
            Seen::Served => {
                self.served.add(now);
                if was_wanted {
                    let is_fast = self.shrunk_at.is_none() && self.window < FAST_WINDOW;
                    self.window += if is_fast { 1.0 } else { 1.0 / self.window };
                    self.window = self.window.min(MAX_WINDOW);
                }
            }
            Seen::Busy(pause) => {
                let until = now + pause;
                self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
                // Those that were under way when the first was refused say nothing new.
                if self.slowed.is_none_or(|slowed| begun > slowed.at) {
                    self.slow(now);
                }
                self.shrink(begun, now);
            }
            Seen::Failed => self.shrink(begun, now),
            Seen::Unknown => {}
        }
    }

    /// As many of all requests may be one tenant's, so that there is always room for another.
    pub(crate) fn share(&self) -> u32 {
        // The window is between 4 and 128.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = (self.window * 0.75) as u32;
        share
    }

    /// Until when nothing is asked.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// How many requests wait for an answer.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many may.
    pub(crate) fn window(&self) -> f64 {
        self.window
    }

    /// Requests a second; `None` for no bound.
    pub(crate) fn rate(&self, now: Instant) -> Option<f64> {
        let slowed = self.slowed?;
        let since = now.saturating_duration_since(slowed.at);
        if since >= FORGET_AFTER {
            return None;
        }
        let seconds = since.as_secs_f64();
        Some(slowed.rate * (1.0 + seconds / 100.0 + (seconds / 30.0).powi(3)))
    }

    fn slow(&mut self, now: Instant) {
        let served = f64::from(self.served.in_last_second(now)) * SLOWER;
        let known = self.rate(now).map_or(f64::INFINITY, |rate| rate * SLOWER);
        self.slowed = Some(Slowed { at: now, rate: served.min(known).max(MIN_RATE) });
        self.due = None;
    }

    fn shrink(&mut self, begun: Instant, now: Instant) {
        if self.shrunk_at.is_none_or(|at| begun > at) {
            self.window = (self.window / 2.0).max(MIN_WINDOW);
            self.shrunk_at = Some(now);
        }
    }
}

impl Served {
    fn add(&mut self, now: Instant) {
        match self.0.back_mut() {
            Some((begun, count)) if now.saturating_duration_since(*begun) < TICK => *count += 1,
            _ => self.0.push_back((now, 1)),
        }
        self.drop_old(now);
    }

    fn in_last_second(&mut self, now: Instant) -> u32 {
        self.drop_old(now);
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn drop_old(&mut self, now: Instant) {
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > SECOND) {
            self.0.pop_front();
        }
    }
}

fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A registry with a bucket of so many tokens, filled at `rate` a second.
    struct Bucket {
        tokens: f64,
        most: f64,
        rate: f64,
        at: Instant,
    }

    impl Bucket {
        fn takes(&mut self, now: Instant) -> bool {
            let passed = now.saturating_duration_since(self.at).as_secs_f64();
            self.tokens = (self.tokens + passed * self.rate).min(self.most);
            self.at = now;
            if self.tokens < 1.0 {
                return false;
            }
            self.tokens -= 1.0;
            true
        }
    }

    /// Sends so many requests, each answered after 5 ms, those refused again: how many were
    /// refused, and after how long all were served.
    fn run(requests: u32, rate: f64, most: f64) -> (u32, Duration) {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: most, most, rate, at: start };
        let mut pace = Pace::default();
        let (mut now, mut left, mut refused) = (start, requests, 0);
        let mut under_way: VecDeque<(Instant, bool)> = VecDeque::new();
        while left > 0 || !under_way.is_empty() {
            while let Some((begun, served)) = under_way.front().copied()
                && now >= begun + 5 * MILLISECOND
            {
                under_way.pop_front();
                pace.end(begun, now, if served { Seen::Served } else { Seen::Busy(SECOND) });
            }
            while left > 0 && pace.turn(now, pace.in_flight) == Turn::Now {
                pace.begin(now);
                let served = bucket.takes(now);
                (left, refused) = if served { (left - 1, refused) } else { (left, refused + 1) };
                under_way.push_back((now, served));
            }
            now += MILLISECOND;
            assert!(now < start + Duration::from_secs(3600), "it comes to no end");
        }
        (refused, now - start)
    }

    #[test]
    fn two_thousand_requests_at_fifty_a_second_waste_two_in_a_hundred_at_most() {
        for most in [50.0, 10.0, 2.0, 200.0] {
            let (refused, took) = run(2000, 50.0, most);
            println!("bucket of {most}: {refused} refused in {took:?}");
            assert!(refused <= 40, "{refused} were refused with a bucket of {most}");
            assert!(took <= Duration::from_secs(90), "{took:?} with a bucket of {most}");
        }
    }

    #[test]
    fn a_registry_without_a_limit_is_not_held_up() {
        let (refused, took) = run(2000, 1e9, 1e9);
        assert_eq!(refused, 0);
        assert!(took < Duration::from_millis(400), "{took:?}");
    }

    #[test]
    fn refusals_of_one_moment_slow_it_once_and_the_longest_pause_counts() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..8 {
            pace.begin(start);
        }
        assert_eq!(pace.turn(start, pace.in_flight), Turn::WhenOneEnds);
        for seconds in [1, 3, 2] {
            let now = start + 10 * MILLISECOND;
            pace.end(start, now, Seen::Busy(Duration::from_secs(seconds)));
            assert!((pace.window - MIN_WINDOW).abs() < f64::EPSILON);
        }
        let end = start + 10 * MILLISECOND + 3 * SECOND;
        assert_eq!(pace.turn(start + SECOND, pace.in_flight), Turn::At(end));
        for _ in 0..5 {
            pace.end(start, start + SECOND, Seen::Unknown);
        }
        assert_eq!(pace.turn(end, pace.in_flight), Turn::Now);
    }

    #[test]
    fn a_limit_that_is_met_no_more_is_forgotten() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.begin(start);
        pace.end(start, start, Seen::Busy(Duration::ZERO));
        for _ in 0..2 {
            assert_eq!(pace.turn(start + MILLISECOND, pace.in_flight), Turn::Now);
            pace.begin(start + MILLISECOND);
        }
        assert!(matches!(pace.turn(start + MILLISECOND, pace.in_flight), Turn::At(_)));
        assert_eq!(pace.turn(start + FORGET_AFTER, pace.in_flight), Turn::Now);
        pace.begin(start + FORGET_AFTER);
        assert_eq!(pace.turn(start + FORGET_AFTER, pace.in_flight), Turn::Now);
    }

    #[test]
    fn a_registry_that_times_out_gets_half_and_never_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for step in 1..10 {
            let begun = start + step * SECOND;
            pace.begin(begun);
            pace.end(begun, begun + MILLISECOND, Seen::Failed);
        }
        assert!((pace.window - MIN_WINDOW).abs() < f64::EPSILON);
        assert_eq!(pace.turn(start + 20 * SECOND, pace.in_flight), Turn::Now);
        assert_eq!(pace.share(), 3);
    }
}
