//! [`Context`]: for whom work is done, until when, and what it asked of registries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// A verdict asks few registries; what is asked of more than this many is counted together.
const MAX_REGISTRIES: usize = 32;
/// The name under which those beyond are counted. It is no host.
const OTHERS: &str = "(others)";

/// What travels with every piece of work for one request. Cloning is cheap; clones count together.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Context {
    /// When the work is to be given up; `None` for never. After it every method that was given it
    /// returns an error soon.
    pub give_up_at: Option<Instant>,
    /// Whose work it is: the namespace that is asked for, empty where none is named. What is shared
    /// by all, such as a busy registry, is shared out among them in turn.
    pub tenant: Arc<str>,
    /// What was asked of registries.
    pub requests: Arc<RequestCount>,
    /// Headers by which registries are told which request it is for, and what they say.
    pub trace_headers: Arc<[(String, String)]>,
}

/// How many requests were sent to which registry, repeated ones and those for tokens included; not
/// those to a cloud's services, which give out what is kept for many.
/// Where two pieces of work share an answer it counts for the one that asked first.
#[derive(Debug, Default)]
pub struct RequestCount(Mutex<BTreeMap<String, u64>>);

impl Context {
    /// Nobody's work in particular, until then.
    pub fn until(give_up_at: Option<Instant>) -> Self {
        Self { give_up_at, ..Self::default() }
    }

    /// The same for a tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The same, of which registries are told by these headers.
    #[must_use]
    pub fn with_trace_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.trace_headers = headers.into();
        self
    }
}

impl RequestCount {
    /// One more request to a host.
    pub fn add(&self, host: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = counts.contains_key(host) || counts.len() < MAX_REGISTRIES;
        *counts.entry(if is_known { host } else { OTHERS }.to_owned()).or_default() += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// How many to each host, by name.
    pub fn by_host(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_host_in_bounds_and_clones_count_together() {
        let context = Context::default();
        let same = context.clone().with_tenant("team");
        for _ in 0..3 {
            context.requests.add("a.io");
        }
        same.requests.add("b.io");
        for number in 0..100 {
            same.requests.add(&format!("r{number}.io"));
        }
        context.requests.add("a.io");
        let counts = context.requests.by_host();
        assert_eq!((counts["a.io"], counts["b.io"], counts[OTHERS]), (4, 1, 70));
        assert_eq!(counts.len(), MAX_REGISTRIES + 1);
        assert_eq!(same.requests.total(), 105);
    }
}
