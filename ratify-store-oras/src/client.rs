//! [`Client`]: the one seam to registries. Whatever it returns is proven.
//!
//! # What is taken from oci-client, and what is not
//!
//! From oci-client come the types of the wire: error bodies and their codes (`errors`), the answer
//! of a token service (`token_cache::RegistryToken`), the manifests and descriptors that are
//! pushed (`manifest`). Its `Client` (0.18) is not used, for no path of it keeps what this crate
//! promises, and its HTTP client cannot be replaced:
//!
//! | path here | what oci-client's lacks |
//! |---|---|
//! | any request (`exchange`) | the connection pool is private, so nothing could be shared; no retry, no `Retry-After`, no time to give up; redirects may fall from HTTPS to HTTP; a trust store without any root panics or needs a process-wide crypto provider |
//! | credentials (`auth`) | the first credentials of a registry are kept for ever, a failure to get a token is swallowed and the request goes out anonymous, `expires_in` is ignored, no refresh tokens, no single flight, no second attempt after a 401; user and password go to any realm, in clear too |
//! | [`Client::resolve`] | a HEAD gives the digest alone, no media type and no size |
//! | [`Client::manifest_bytes`] | the body is read whole, whatever its size, and a compressed transfer is not refused |
//! | [`Client::blob_bytes`], [`Client::blob_into`] | the size is not compared with the descriptor's; any number of bytes reaches the sink before the digest is looked at |
//! | [`Client::referrers`] | `Link` is ignored, so a second page is lost; any error on the fallback tag (403, 429) reads as "no referrers" |
//! | [`Client::push_blob`], [`Client::push_manifest`] | the upload's location gets the credentials whatever its host is; a registry that sends no `Location` for a manifest pushed by digest makes it panic |

mod ask;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use ratify_core::{Basis, Context, Reference};
use reqwest::{
    Method,
    header::{ACCEPT_ENCODING, HeaderValue, USER_AGENT},
};
use url::Url;

use crate::{
    AuthProvider, ClientOptions, Limits, OrasError, RetryPolicy, Transport,
    auth::tokens::Tokens,
    deadline::Deadline,
    exchange::{Answer, Call, Exchange},
    registries::Registry,
    route::{Purpose, route},
    trace,
    transport::{base_url, is_loopback},
};

pub(crate) use crate::targets::{Target, Targets};
pub(crate) use ask::is_refusal;

/// Loopback hosts are few; beyond this many the scheme is found out again each time.
const MAX_KNOWN_SCHEMES: usize = 256;

/// Reads from and pushes to registries. Cloning is cheap and shares connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    exchange: Exchange,
}

struct Inner {
    options: ClientOptions,
    user_agent: HeaderValue,
    tokens: Tokens,
    /// Loopback hosts of which the scheme was found out; the value is "plain HTTP".
    plain_hosts: Mutex<HashMap<String, bool>>,
    /// Who changes a list of referrers holds it: two that take turns lose nothing.
    attaching: tokio::sync::Mutex<()>,
}

/// What reading needs.
pub(crate) const PULL: &[&str] = &["pull"];
/// What pushing needs.
pub(crate) const PUSH: &[&str] = &["pull", "push"];

impl Client {
    /// A client. Nothing is connected, and no file is read, before the first request.
    ///
    /// # Errors
    /// When the user agent is no header value.
    pub fn new(options: ClientOptions) -> Result<Self, OrasError> {
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| OrasError::Setup("the user agent is no header value".into()))?;
        let exchange = Exchange {
            connections: options.connections.clone(),
            transport: options.transport,
            retry: options.retry,
            tenant: options.tenant.clone(),
            requests: Arc::default(),
            trace_headers: Arc::default(),
            deadline: None,
        };
        let inner = Inner {
            options,
            user_agent,
            tokens: Tokens::default(),
            plain_hosts: Mutex::default(),
            attaching: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), exchange })
    }

    /// Whose work its requests are.
    pub(crate) fn tenant(&self) -> Arc<str> {
        self.exchange.tenant.clone()
    }

    /// The same client at work for one request: what it asks is counted there, and waits for a busy
    /// registry in the queue of the request's tenant where it has one.
    #[must_use]
    pub fn for_request(&self, context: &Context) -> Self {
        let mut client = self.clone();
        client.exchange.requests.clone_from(&context.requests);
        client.exchange.trace_headers.clone_from(&context.trace_headers);
        if !context.tenant.is_empty() {
            client.exchange.tenant.clone_from(&context.tenant);
        }
        client
    }

    /// Adds what decides who answers, and by which scheme.
    pub(crate) fn add_basis(&self, basis: &mut Basis) {
        basis.add("transport", format!("{:?}", self.inner.options.transport));
        self.inner.options.connections.add_basis(basis);
    }

    /// The same for work that others may join, which ends with the one that has most time.
    pub(crate) fn for_work(&self, context: &Context, deadline: Deadline) -> Self {
        let mut client = self.for_request(context);
        client.exchange.deadline = Some(deadline);
        client
    }

    /// A look-up in the cache on disk, for what is shown of them.
    pub(crate) fn count_blob(&self, is_hit: bool) {
        if is_hit {
            trace::cached();
        }
        self.exchange.connections.counters().count_blob(is_hit, &self.exchange.tenant);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.inner.options.retry
    }

    /// What is known of the registry at a URL.
    pub(crate) fn registry(&self, url: &Url) -> Arc<Registry> {
        self.inner.options.connections.registries().of(url)
    }

    pub(crate) fn auth(&self) -> &dyn AuthProvider {
        &*self.inner.options.auth
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(crate) fn attaching(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.attaching
    }

    pub(crate) fn transport(&self) -> Transport {
        self.inner.options.transport
    }

    /// The repository of a reference at the first place that may say what is there, or be pushed
    /// to, with the scheme found out.
    pub(crate) async fn target<'a>(
        &self,
        reference: &'a Reference,
        actions: &'static [&'static str],
        give_up_at: Option<Instant>,
    ) -> Result<Target<'a>, OrasError> {
        let purpose = if actions == PUSH { Purpose::Push } else { Purpose::Resolve };
        let mut targets = self.targets(reference, purpose, actions, give_up_at).await?;
        targets.next(self).await
    }

    /// The same at every place that may be asked for something, one after another.
    pub(crate) async fn targets<'a>(
        &self,
        reference: &'a Reference,
        purpose: Purpose,
        actions: &'static [&'static str],
        give_up_at: Option<Instant>,
    ) -> Result<Targets<'a>, OrasError> {
        let registry = reference.registry();
        let configured =
            self.inner.options.connections.endpoints(self.transport(), registry).await?;
        let places = route(&configured, purpose);
        if places.is_empty() {
            let why = format!("its hosts.toml lets no host be asked for this ({purpose:?})");
            return Err(OrasError::Registry { registry: registry.to_owned(), why });
        }
        Ok(Targets::new(reference, places, actions, give_up_at))
    }

    /// A call to `/v2/<repository>/<rest>`.
    pub(crate) fn call(&self, method: Method, target: &Target<'_>, rest: &str) -> Call {
        let mut url = target.base.clone();
        let root = target.base.path().trim_end_matches('/');
        url.set_path(&format!("{root}/{}/{rest}", target.reference.repository()));
        if target.mirror.is_some() {
            url.query_pairs_mut().append_pair("ns", target.reference.registry());
        }
        self.call_url(method, url)
    }

    pub(crate) fn call_url(&self, method: Method, url: Url) -> Call {
        Call::new(method, url)
            .header(USER_AGENT, self.inner.user_agent.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// Sends a call that shows no credentials, whatever is asked for.
    pub(crate) async fn send_anonymously(&self, call: &Call) -> Result<Answer, OrasError> {
        self.exchange.send(call, None, None).await
    }

    pub(crate) async fn base(&self, registry: &str) -> Result<Url, OrasError> {
        let scheme = match self.transport() {
            Transport::PlainHttp => "http",
            Transport::Https => "https",
            Transport::HttpsOrLoopbackHttp => {
                let base = base_url("https", registry)?;
                let is_plain = is_loopback(&base) && self.is_plain(registry, &base).await?;
                if is_plain { "http" } else { "https" }
            }
        };
        let mut base = base_url(scheme, registry)?;
        base.set_path("/v2");
        self.inner.options.connections.note_written(&base);
        Ok(base)
    }

    async fn is_plain(&self, registry: &str, base: &Url) -> Result<bool, OrasError> {
        let lock =
            || self.inner.plain_hosts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = lock().get(registry).copied();
        if let Some(is_plain) = known {
            return Ok(is_plain);
        }
        let found = self.exchange.speaks_plain_http(base).await?;
        if let Some(is_plain) = found
            && lock().len() < MAX_KNOWN_SCHEMES
        {
            lock().insert(registry.to_owned(), is_plain);
        }
        // A server that is not up yet is asked over TLS, and again the next time.
        Ok(found.unwrap_or(false))
    }
}
