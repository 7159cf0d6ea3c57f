//! [`Client::probe`]: what stands between this process and a registry, step by step: the look-up of
//! its name, a connection, TLS, its API, credentials, a manifest, the list of referrers. These are
//! facts; what they mean is for others to judge. It only reads, asks each thing once, and shows no
//! secret.

mod answers;
mod connect;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ratify_core::{Digest, Reference, capped_line};
use reqwest::Method;
use url::{Host, Url};

use crate::{
    AddressKind, Client, Credential, OrasError,
    auth::Asked,
    client::{PULL, Target, Targets},
    manifests::{DOCKER_CONTENT_DIGEST, MANIFEST_TYPES},
    route::{Purpose, route},
    ways::Referrers,
};

pub use answers::{AnswerFacts, ChallengeFacts};
pub(crate) use connect::{Recorder, Recording};
pub use connect::{TlsFacts, TlsVerdict};

/// How long one step may take.
const STEP: Duration = Duration::from_secs(5);
/// More places of one registry are not looked at.
const MAX_PLACES: usize = 8;

/// How far is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The registry: of the reference only the registry counts.
    Registry,
    /// What the reference names, with credentials, and what is attached to it.
    Image,
}

/// What came of a step.
#[derive(Debug, Clone)]
pub enum Step<T> {
    /// It was not taken: one before it failed, or it has no meaning here.
    Skipped,
    /// It failed.
    Failed {
        /// Why, without secrets.
        why: String,
        /// Whether it took too long.
        is_late: bool,
    },
    /// It was taken.
    Done {
        /// What was found.
        found: T,
        /// How long it took.
        took: Duration,
    },
}

/// One place where a registry's content is: the registry itself, or another host of its `hosts.toml`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlaceFacts {
    /// Where the API is: `https://registry.example.com/v2/`.
    pub url: String,
    /// The host without its port.
    pub host: String,
    /// Whether it is another host than the registry.
    pub is_mirror: bool,
    /// The proxy that is asked in its place: then nothing is looked up and connected to from here.
    pub proxy: Option<String>,
    /// Why this process does not connect to it, where an address is none for registries.
    pub refused: Option<String>,
    /// The addresses of its name.
    pub lookup: Step<Vec<AddressFacts>>,
    /// The address that took a connection.
    pub connection: Step<IpAddr>,
    /// What TLS shows; skipped in plain HTTP.
    pub tls: Step<TlsFacts>,
    /// What `/v2/` answers to who shows nothing.
    pub api: Step<AnswerFacts>,
    /// What there is to show.
    pub credential: Step<CredentialFacts>,
    /// What a HEAD of the manifest answers, with credentials.
    pub manifest: Step<AnswerFacts>,
    /// What is attached, and how that is listed.
    pub referrers: Step<ReferrersFacts>,
}

/// An address of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressFacts {
    /// The address.
    pub address: IpAddr,
    /// What it is, where it is special.
    pub kind: Option<AddressKind>,
    /// Whether an administrator lists it, or names it in a `hosts.toml`.
    pub is_allowed: bool,
}

/// What an auth provider has for a place. Never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialFacts {
    /// The provider.
    pub provider: String,
    /// What it gives out.
    pub kind: CredentialKind,
    /// For how long it is good, where that is known.
    pub good_for: Option<Duration>,
}

/// What is shown to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// Nothing.
    Nothing,
    /// User and password.
    Password,
    /// A refresh token.
    RefreshToken,
}

/// How referrers are listed, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferrersFacts {
    /// By the Referrers API; `false` by the tag schema, `None` where neither answered.
    pub by_api: Option<bool>,
    /// How many.
    pub count: usize,
}

impl<T> Step<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Done { found, .. } => Some(found),
            _ => None,
        }
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { why, .. } => Some(why),
            _ => None,
        }
    }

    /// Takes a step within its time.
    async fn take(step: impl Future<Output = Result<T, String>>) -> Self {
        let begun = Instant::now();
        match tokio::time::timeout(STEP, step).await {
            Ok(Ok(found)) => Self::Done { found, took: begun.elapsed() },
            Ok(Err(why)) => Self::Failed { why: capped_line(&why, 400), is_late: false },
            Err(_) => {
                let why = format!("there was no answer within {} s", STEP.as_secs());
                Self::Failed { why, is_late: true }
            }
        }
    }
}

impl Client {
    /// Looks at each place where the registry of a reference is, one after another.
    ///
    /// # Errors
    /// When it is not known where it is: a `hosts.toml` that cannot be understood, or a registry that
    /// is no host.
    pub async fn probe(
        &self,
        reference: &Reference,
        depth: Depth,
    ) -> Result<Vec<PlaceFacts>, OrasError> {
        let connections = &self.exchange().connections;
        let configured = connections.endpoints(self.transport(), reference.registry()).await?;
        let places = match configured.is_empty() {
            true => route(&configured, Purpose::Pull),
            false => configured.to_vec(),
        };
        let mut targets = Targets::new(reference, places, PULL, None);
        let mut facts = Vec::new();
        while targets.has_more() && facts.len() < MAX_PLACES {
            let next = tokio::time::timeout(STEP, targets.next(self)).await;
            let what = || OrasError::GaveUp { what: reference.registry().to_owned() };
            let mut target = next.map_err(|_| what())??;
            target.give_up_at = Instant::now().checked_add(8 * STEP);
            facts.push(self.probe_place(&target, depth).await);
        }
        Ok(facts)
    }

    async fn probe_place(&self, target: &Target<'_>, depth: Depth) -> PlaceFacts {
        let mut url = target.base.clone();
        url.set_path(&format!("{}/", target.base.path().trim_end_matches('/')));
        let mut facts = PlaceFacts::of(&url, target.mirror.is_some());
        facts.proxy = self.exchange().connections.proxy_of(&url);
        if facts.proxy.is_none() {
            self.probe_connection(target, &url, &mut facts).await;
            let is_reached = facts.connection.found().is_some() && facts.tls.failure().is_none();
            let is_trusted = facts.tls.found().is_none_or(|tls| tls.verdict.is_good());
            if !is_reached || !is_trusted {
                return facts;
            }
        }
        facts.api = Step::take(self.probe_api(target, url)).await;
        let is_busy = facts.api.found().is_none_or(|answer| answer.status == 429);
        if depth == Depth::Registry || is_busy {
            return facts;
        }
        facts.credential = Step::take(self.probe_credential(target)).await;
        if facts.credential.failure().is_none() {
            facts.manifest = Step::take(self.probe_manifest(target)).await;
        }
        let known = facts.manifest.found().filter(|answer| answer.status == 200);
        let named = target.reference.digest().cloned();
        if let Some(digest) = known.and_then(|answer| named.or_else(|| answer.digest.clone())) {
            facts.referrers = Step::take(self.probe_referrers(target, &digest)).await;
        }
        facts
    }

    /// The steps below HTTP. They stop where an address is none for registries.
    async fn probe_connection(&self, target: &Target<'_>, url: &Url, facts: &mut PlaceFacts) {
        let connections = &self.exchange().connections;
        let rules = connections.rules().addresses;
        let is_named = target.place.as_ref().is_some_and(|place| place.names_address_of(url));
        let lookup = connect::look_up(url, &rules);
        facts.lookup = Step::take(async {
            let found = lookup.await?;
            let of = |address: IpAddr| {
                let kind = AddressKind::of(address);
                let is_allowed = is_named || kind.is_none_or(|kind| rules.lists(address, kind));
                AddressFacts { address, kind, is_allowed }
            };
            Ok(found.into_iter().map(of).collect())
        })
        .await;
        let Some(addresses) = facts.lookup.found() else { return };
        let addresses: Vec<IpAddr> = addresses.iter().map(|facts| facts.address).collect();
        if !is_named {
            facts.refused = rules.refuses(url, &addresses);
        }
        if facts.refused.is_some() {
            return;
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let (connected, stream) = connect::connect(addresses, port, STEP).await;
        facts.connection = connected;
        if let Some(stream) = stream.filter(|_| url.scheme() == "https") {
            let profile = target.place.as_ref().and_then(|place| place.tls.clone());
            let config = connections.recording(profile.as_ref(), url);
            let host = facts.host.clone();
            facts.tls = Step::take(connect::shake_hands(stream, host, config, STEP)).await;
        }
    }

    async fn probe_api(&self, target: &Target<'_>, url: Url) -> Result<AnswerFacts, String> {
        let call = target.furnish(&self.call_url(Method::GET, url));
        let sent = self.exchange().send(&call, None, target.give_up_at).await;
        sent.map(|answer| AnswerFacts::of(&answer)).map_err(|error| error.to_string())
    }

    async fn probe_credential(&self, target: &Target<'_>) -> Result<CredentialFacts, String> {
        let host = self.asked_host(target).map_err(|error| error.to_string())?;
        let repository = target.repository();
        let asked = Asked {
            host: &host,
            repository: &repository,
            artifact: target.reference.as_str(),
            give_up_at: target.give_up_at,
        };
        let auth = self.auth();
        let granted = auth.credential(&asked).await.map_err(|error| error.to_string())?;
        let now = Instant::now();
        Ok(CredentialFacts {
            provider: auth.name().to_owned(),
            kind: match granted.credential {
                Credential::Anonymous => CredentialKind::Nothing,
                Credential::Basic { .. } => CredentialKind::Password,
                Credential::RefreshToken(_) => CredentialKind::RefreshToken,
            },
            good_for: granted.good_until.map(|end| end.saturating_duration_since(now)),
        })
    }

    async fn probe_manifest(&self, target: &Target<'_>) -> Result<AnswerFacts, String> {
        let sent = self.ask_manifest(Method::HEAD, target, &MANIFEST_TYPES).await;
        let answer = sent.map_err(|error| error.to_string())?;
        let digest = answer.all(&DOCKER_CONTENT_DIGEST).next().and_then(|text| text.parse().ok());
        Ok(AnswerFacts { digest, ..AnswerFacts::of(&answer) })
    }

    async fn probe_referrers(
        &self,
        target: &Target<'_>,
        digest: &Digest,
    ) -> Result<ReferrersFacts, String> {
        let listed = self.list_at(target, digest, "", "the referrers").await;
        let count = listed.map_err(|error| error.to_string())?.map_or(0, |listed| listed.len());
        let way = self.registry(&target.base).way(&target.list_place(), Instant::now());
        Ok(ReferrersFacts { by_api: way.map(|way| way == Referrers::Api), count })
    }
}

impl PlaceFacts {
    fn of(url: &Url, is_mirror: bool) -> Self {
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => url.host_str().unwrap_or_default().to_owned(),
        };
        Self {
            url: capped_line(url.as_str(), 300),
            host: capped_line(&host, 255),
            is_mirror,
            proxy: None,
            refused: None,
            lookup: Step::Skipped,
            connection: Step::Skipped,
            tls: Step::Skipped,
            api: Step::Skipped,
            credential: Step::Skipped,
            manifest: Step::Skipped,
            referrers: Step::Skipped,
        }
    }
}
