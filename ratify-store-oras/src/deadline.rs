//! [`Deadline`]: until when there is time for some work. That of work which several wait for is the
//! latest of theirs, and moves on when somebody with more time joins.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, pending, select};
use tokio::sync::watch;

use crate::{OrasError, limiter::Limiter};

/// This much before the end it is looked at why there is no answer yet.
const MARGIN: Duration = Duration::from_millis(50);

/// When work is given up; `None` within for never. Clones are one.
#[derive(Clone)]
pub(crate) struct Deadline(Arc<Inner>);

struct Inner {
    end: watch::Sender<Option<Instant>>,
    /// What is being asked, or about to be, and the queue before that registry.
    asking: Mutex<Option<(String, Arc<Limiter>)>>,
}

impl Deadline {
    pub(crate) fn new(end: Option<Instant>) -> Self {
        Self(Arc::new(Inner { end: watch::Sender::new(end), asking: Mutex::default() }))
    }

    pub(crate) fn end(&self) -> Option<Instant> {
        *self.0.end.borrow()
    }

    /// Somebody joins who waits until then.
    pub(crate) fn extend(&self, end: Option<Instant>) {
        self.0.end.send_if_modified(|known| {
            let is_later = known.is_some_and(|known| end.is_none_or(|end| end > known));
            if is_later {
                *known = end;
            }
            is_later
        });
    }

    /// Returns shortly before the end, wherever that is by then.
    pub(crate) async fn nears(&self) {
        let mut end = self.0.end.subscribe();
        loop {
            let known = *end.borrow_and_update();
            let time = Box::pin(async move {
                match known.map(|end| end.checked_sub(MARGIN).unwrap_or(end)) {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => pending().await,
                }
            });
            match select(time, Box::pin(end.changed())).await {
                Either::Left(_) => return,
                Either::Right(_) => {}
            }
        }
    }

    /// Takes a note of what is asked from now on.
    pub(crate) fn asks(&self, request: String, limiter: &Arc<Limiter>) {
        let mut asking = self.0.asking.lock().unwrap_or_else(PoisonError::into_inner);
        *asking = Some((request, limiter.clone()));
    }

    /// What keeps one from an answer whose own time is over: a registry that asks for a pause, or
    /// nothing that is known.
    pub(crate) fn gave_up(&self, what: &str, now: Instant) -> OrasError {
        let asking = self.0.asking.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let paused = asking.and_then(|(request, limiter)| {
            let until = limiter.paused_until(now)?;
            Some(OrasError::paused(request, until, now))
        });
        paused.unwrap_or_else(|| OrasError::GaveUp { what: what.to_owned() })
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Deadline").field(&self.end()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_moves_on_and_never_back() {
        let now = Instant::now();
        let deadline = Deadline::new(Some(now + SECOND));
        deadline.extend(Some(now));
        assert_eq!(deadline.end(), Some(now + SECOND));
        deadline.extend(Some(now + 2 * SECOND));
        assert_eq!(deadline.clone().end(), Some(now + 2 * SECOND));
        deadline.extend(None);
        deadline.extend(Some(now + 3 * SECOND));
        assert_eq!(deadline.end(), None);
    }

    #[tokio::test]
    async fn it_nears_where_it_was_moved_to() {
        let begun = Instant::now();
        let deadline = Deadline::new(Some(begun + Duration::from_millis(100)));
        let nears = deadline.nears();
        deadline.extend(Some(begun + Duration::from_millis(400)));
        nears.await;
        assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
        deadline.extend(None);
        assert!(tokio::time::timeout(Duration::from_millis(20), deadline.nears()).await.is_err());
    }
}
