//! Granted tokens, kept until they expire, by registry and scope. A slot's lock is the single
//! flight: who finds it taken waits for the token that another is fetching.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use oci_client::token_cache::RegistryToken;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Credential, Granted};

/// The lifetime of a token that does not say its own (distribution's token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// No token is kept longer, whatever it says.
const MAX_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(5);
/// User and password are asked of the provider again after this long.
const BASIC_LIFETIME: Duration = Duration::from_secs(600);
/// More slots than this and those that nobody uses and that hold nothing valid are dropped; if
/// that is not enough, all that nobody uses. The repositories come from requests.
const MAX_SLOTS: usize = 1024;

/// What an `Authorization` header says, and until when.
pub(crate) struct Grant {
    /// `None` where nothing is to be shown.
    header: Option<HeaderValue>,
    expires: Instant,
    is_basic: bool,
    /// Whether the registry has not taken it yet, nor asked for it.
    is_early: AtomicBool,
}

/// The place of one grant.
pub(crate) type Slot = Arc<Mutex<Option<Arc<Grant>>>>;

/// All slots, by place and scope.
#[derive(Default)]
pub(crate) struct Tokens(std::sync::Mutex<HashMap<(String, String), Slot>>);

#[derive(Deserialize)]
struct Lifetime {
    expires_in: Option<f64>,
}

impl Grant {
    /// User and password, for as long as the provider says they are good.
    pub(crate) fn basic(granted: &Granted, now: Instant) -> Option<Self> {
        let Credential::Basic { username, password } = &granted.credential else { return None };
        let header = basic_header(username, password.reveal())?;
        let expires = now + BASIC_LIFETIME;
        let expires = granted.good_until.map_or(expires, |end| end.min(expires));
        Some(Self { is_basic: true, ..Self::new(Some(header), expires) })
    }

    /// A bearer token, from the answer of a token service.
    pub(crate) fn bearer(answer: &[u8], now: Instant) -> Option<Self> {
        let token: RegistryToken = serde_json::from_slice(answer).ok()?;
        if token.token().is_empty() {
            return None;
        }
        let lifetime: Lifetime = serde_json::from_slice(answer).ok()?;
        let lifetime = lifetime
            .expires_in
            .filter(|seconds| *seconds > 0.0)
            .map_or(DEFAULT_LIFETIME, |seconds| {
                Duration::from_secs_f64(seconds.min(MAX_LIFETIME.as_secs_f64()))
            });
        let header = sensitive(&token.bearer_token())?;
        let expires = now + lifetime.saturating_sub(MARGIN);
        Some(Self::new(Some(header), expires))
    }

    /// Nothing is shown, for so long.
    pub(crate) fn nothing(expires: Instant) -> Self {
        Self::new(None, expires)
    }

    /// The same, not asked for by the registry: who is refused with it may not need it.
    pub(crate) fn early(self) -> Self {
        Self { is_early: AtomicBool::new(true), ..self }
    }

    fn new(header: Option<HeaderValue>, expires: Instant) -> Self {
        Self { header, expires, is_basic: false, is_early: AtomicBool::default() }
    }

    pub(crate) fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }

    /// Whether the registry has neither asked for it nor taken it.
    pub(crate) fn is_early(&self) -> bool {
        self.is_early.load(Ordering::Relaxed)
    }

    /// The registry has taken it.
    pub(crate) fn note_taken(&self) {
        self.is_early.store(false, Ordering::Relaxed);
    }

    /// Whether it is a user and a password.
    pub(crate) fn is_basic(&self) -> bool {
        self.is_basic
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        now < self.expires
    }
}

impl Tokens {
    /// The slot of a place and a scope.
    pub(crate) fn slot(&self, place: &str, scope: &str) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS {
            let now = Instant::now();
            let is_worth_it = |grant: &Arc<Grant>| grant.is_valid(now) && grant.header().is_some();
            let holds_valid =
                |slot: &Slot| slot.try_lock().is_ok_and(|g| g.as_ref().is_some_and(is_worth_it));
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || holds_valid(slot));
        }
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry((place.to_owned(), scope.to_owned())).or_default().clone()
    }
}

/// The header of Basic (RFC 7617), marked so that no log shows it.
pub(crate) fn basic_header(username: &str, password: &str) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_it_says_a_minute_by_default_and_half_a_day_at_most() {
        let now = Instant::now();
        let lives = |answer: &str| {
            let grant = Grant::bearer(answer.as_bytes(), now).unwrap();
            (grant.expires - now).as_secs()
        };
        assert_eq!(lives(r#"{"token":"t"}"#), 55);
        assert_eq!(lives(r#"{"access_token":"t","expires_in":300}"#), 295);
        assert_eq!(lives(r#"{"token":"t","expires_in":1e300}"#), 12 * 3600 - 5);
        assert_eq!(lives(r#"{"token":"t","expires_in":-1}"#), 55);
        assert_eq!(lives(r#"{"token":"t","expires_in":3}"#), 0);
    }

    #[test]
    fn a_password_is_used_for_ten_minutes_and_not_beyond_its_end() {
        let now = Instant::now();
        let lives = |end: Option<u64>| {
            let credential = Credential::Basic {
                username: "u".into(),
                password: super::super::Secret::new("p"),
            };
            let good_until = end.map(|seconds| now + Duration::from_secs(seconds));
            let grant = Grant::basic(&Granted { credential, good_until }, now).unwrap();
            assert!(grant.is_basic());
            (grant.expires - now).as_secs()
        };
        assert_eq!((lives(None), lives(Some(60)), lives(Some(6000))), (600, 60, 600));
    }

    #[test]
    fn what_is_no_token_is_none() {
        for answer in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#, "[]"] {
            assert!(Grant::bearer(answer.as_bytes(), Instant::now()).is_none(), "{answer}");
        }
    }

    #[test]
    fn the_number_of_slots_is_bounded() {
        let tokens = Tokens::default();
        let held = tokens.slot("r", "held");
        for index in 0..5000 {
            tokens.slot("r", &index.to_string());
        }
        assert!(tokens.0.lock().unwrap().len() <= MAX_SLOTS);
        assert!(Arc::ptr_eq(&held, &tokens.slot("r", "held")));
    }

    #[test]
    fn a_header_does_not_show() {
        assert_eq!(format!("{:?}", basic_header("u", "p").unwrap()), "Sensitive");
    }
}
