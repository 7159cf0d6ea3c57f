//! [`Outside`]: whether anybody outside of registries was asked while a plugin was judged, such as a
//! responder or for a list of revoked certificates.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use ratify_core::{BoxFuture, Context, Fetch, FetchRequest, Result};

/// Fetches as another does, and remembers that it was asked.
pub(super) struct Outside {
    fetch: Arc<dyn Fetch>,
    was_asked: AtomicBool,
}

impl Outside {
    pub(super) fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, was_asked: AtomicBool::new(false) }
    }

    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }
}

impl Fetch for Outside {
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.fetch.fetch(request, context)
    }
}
