//! What stands in for sharing in a build without the feature `redis`: nothing is shared.

use std::{sync::Arc, time::SystemTime};

use super::{LinkStanding, address::SharedOptions, counters::Counters};
use crate::gatekeeper::verdict::Verdict;

pub(super) struct Shared;

pub(super) async fn probe(_: &SharedOptions) -> Result<(), String> {
    Err("this build of Ratify has no Redis".to_owned())
}

impl Shared {
    pub(super) fn open(options: SharedOptions, _: Arc<Counters>) -> Self {
        tracing::error!(
            component_type = "cache",
            "verdicts are not shared through {}: this build of Ratify has no Redis",
            options.address
        );
        Self
    }

    pub(super) fn standing(&self) -> LinkStanding {
        LinkStanding::default()
    }

    pub(super) async fn get(&self, _: &[u8]) -> Option<Verdict> {
        None
    }

    pub(super) fn put(&self, _: &[u8], _: &Arc<Verdict>, _: SystemTime, _: SystemTime) {}

    pub(super) fn withdraw(&self, _: &[u8]) {}
}
