//! What the head of an answer says that matters to who looks after a registry.

use std::time::{Duration, SystemTime};

use ratify_core::{Digest, capped_line};
use reqwest::header::{DATE, HeaderName};
use url::Url;

use crate::{
    auth::{bearer::challenge_of, challenge::Challenge},
    exchange::Answer,
};

/// By which registries say how much may still be asked, in their several spellings.
const LIMITS: [HeaderName; 9] = [
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("x-ms-ratelimit-remaining-calls-per-second"),
];

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerFacts {
    /// The status.
    pub status: u16,
    /// What the registry asks to be shown.
    pub asks: Option<ChallengeFacts>,
    /// Its `Date`, as it is written.
    pub date: Option<String>,
    /// This machine's time when the answer was there.
    pub received: SystemTime,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Headers about how much may still be asked.
    pub limits: Vec<(String, String)>,
    /// What a manifest's digest is said to be.
    pub digest: Option<Digest>,
}

/// What a registry asks to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChallengeFacts {
    /// User and password.
    Basic,
    /// A token of the service at this host.
    Bearer {
        /// The host; empty where the realm is no URL.
        host: String,
    },
}

impl AnswerFacts {
    pub(super) fn of(answer: &Answer) -> Self {
        let limit = |name: &HeaderName| {
            let value = answer.all(name).next()?;
            Some((name.as_str().to_owned(), capped_line(value, 100)))
        };
        let asks = challenge_of(answer).map(|challenge| match challenge {
            Challenge::Basic => ChallengeFacts::Basic,
            Challenge::Bearer { realm, .. } => {
                let realm = Url::parse(&realm).ok();
                let host = realm.and_then(|realm| realm.host_str().map(str::to_owned));
                ChallengeFacts::Bearer { host: capped_line(&host.unwrap_or_default(), 255) }
            }
        });
        Self {
            status: answer.status().as_u16(),
            asks: asks.filter(|_| answer.status().as_u16() == 401),
            date: answer.all(&DATE).next().map(|date| capped_line(date, 60)),
            received: SystemTime::now(),
            retry_after: answer.retry_after().map(Duration::from_secs),
            limits: LIMITS.iter().filter_map(limit).collect(),
            digest: None,
        }
    }
}
