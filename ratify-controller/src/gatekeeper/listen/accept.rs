//! What happens where no connection can be accepted. Pure, but for the line in the log.

use std::{io, time::Duration};

use rustix::io::Errno;
use tokio::time::Instant;

/// The waits while there are no descriptors.
const WAITS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// How often that is said.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Why none was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The client went away meanwhile; the next one waits already.
    Client,
    /// This machine, or this process, is short of something: asking at once again helps nobody.
    Exhausted,
}

impl Failed {
    pub(super) fn of(error: &io::Error) -> Self {
        // What accept(2) passes on of the connection.
        let of_client = [
            Errno::CONNABORTED,
            Errno::CONNRESET,
            Errno::PROTO,
            Errno::INTR,
            Errno::AGAIN,
            Errno::PERM,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::NOPROTOOPT,
            Errno::OPNOTSUPP,
        ];
        match Errno::from_io_error(error) {
            Some(no) if of_client.contains(&no) => Self::Client,
            _ => Self::Exhausted,
        }
    }
}

/// How long is waited, longer each time, until one is accepted.
#[derive(Debug, Default)]
pub(super) struct Pause {
    last: Option<Duration>,
    said: Option<Instant>,
}

impl Pause {
    pub(super) fn next(&mut self, error: &io::Error, now: Instant) -> Duration {
        if self.said.is_none_or(|said| now.duration_since(said) >= SAID_EVERY) {
            self.said = Some(now);
            tracing::error!(
                "cannot accept connections: {error}; idle ones are closed, and it is tried again"
            );
        }
        let [first, longest] = WAITS;
        let wait = self.last.map_or(first, |last| (2 * last).min(longest));
        self.last = Some(wait);
        wait
    }

    pub(super) fn over(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_went_away_is_told_from_a_lack_of_descriptors() {
        let of = |no: Errno| Failed::of(&no.into());
        assert_eq!([of(Errno::CONNABORTED), of(Errno::PROTO)], [Failed::Client; 2]);
        let short = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        assert_eq!(short.map(of), [Failed::Exhausted; 4]);
        assert_eq!(Failed::of(&io::Error::other("new")), Failed::Exhausted);
    }

    #[test]
    fn the_waits_grow_to_a_second_and_begin_anew() {
        let (mut pause, now) = (Pause::default(), Instant::now());
        let error = io::Error::from(Errno::MFILE);
        let mut next = || pause.next(&error, now).as_millis();
        assert_eq!([next(), next(), next()], [10, 20, 40]);
        assert_eq!((0..10).map(|_| next()).last(), Some(1000));
        pause.over();
        assert_eq!(pause.next(&error, now).as_millis(), 10);
    }
}
