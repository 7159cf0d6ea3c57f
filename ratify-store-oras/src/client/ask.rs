//! [`Client::ask`]: a call with the credentials it needs, and what is done where they are refused.

use std::{sync::Arc, time::Instant};

use ratify_core::ErrorCode;
use reqwest::StatusCode;

use super::Client;
use crate::{
    Credential, CredentialUse, OrasError,
    auth::{
        Asked, Granted, HostError, RegistryHost,
        bearer::{TokenRequest, challenge_of, fetch_token},
        challenge::{self, Challenge},
        tokens::{Grant, Slot},
    },
    exchange::{Answer, Call},
    targets::Target,
    transport::wire_host,
};

impl Client {
    /// Sends a call with the credentials it needs. After a 401 it is sent once more with fresh
    /// ones, and where those came from what the provider keeps and have changed since, once more;
    /// after a 403, which is what some registries answer to a password that has expired, only so.
    /// An answer that is 401 or 403 then is returned, and what was shown is forgotten.
    pub(crate) async fn ask(&self, target: &Target<'_>, call: &Call) -> Result<Answer, OrasError> {
        let inner = &*self.inner;
        let call = &target.furnish(call);
        if call.url.origin() != target.base.origin() {
            // An answer led elsewhere, such as from a list that was redirected to its next page.
            // What is granted here is not shown there, and no challenge from there is answered.
            return self.exchange.send(call, None, target.give_up_at).await;
        }
        let asked = Instant::now();
        if inner.options.credential_use != CredentialUse::BestEffort {
            self.credential(target).await?;
        }
        let scope = target.scope(None);
        let slot = inner.tokens.slot(target.host(), &scope);
        let known = slot.lock().await.clone().filter(|grant| grant.is_valid(asked));
        let header = known.as_ref().map(|grant| grant.header());
        let answer = self.exchange.send(call, header, target.give_up_at).await?;
        if answer.status() == StatusCode::FORBIDDEN
            && let Some(known) = &known
        {
            forget(&slot, Some(known)).await;
            let other = self.changed_grant(target, &slot, known, &answer, asked).await?;
            let Some(other) = other else { return Ok(answer) };
            drop(answer);
            return self.ask_last(target, call, &slot, &other).await;
        }
        if known.is_some() && is_refusal(&answer) {
            self.forget_credential(target, asked);
        }
        if answer.status() != StatusCode::UNAUTHORIZED || answer.is_from_elsewhere {
            return Ok(answer);
        }
        let Some(grant) = self.grant(target, &slot, known.as_ref(), &answer, asked).await? else {
            return Ok(answer);
        };
        drop(answer);
        let answer = self.exchange.send(call, Some(grant.header()), target.give_up_at).await?;
        if !is_refusal(&answer) {
            return Ok(answer);
        }
        forget(&slot, Some(&grant)).await;
        let Some(other) = self.changed_grant(target, &slot, &grant, &answer, asked).await? else {
            return Ok(answer);
        };
        drop(answer);
        self.ask_last(target, call, &slot, &other).await
    }

    /// Sends a call for the last time; what is refused then is forgotten.
    async fn ask_last(
        &self,
        target: &Target<'_>,
        call: &Call,
        slot: &Slot,
        grant: &Arc<Grant>,
    ) -> Result<Answer, OrasError> {
        let header = Some(grant.header());
        let answer = self.exchange.send(call, header, target.give_up_at).await?;
        if is_refusal(&answer) {
            forget(slot, Some(grant)).await;
        }
        Ok(answer)
    }

    /// A grant other than the refused one: the one that another request got meanwhile, or a new
    /// one. `None` where the registry asks for something that there is no credential for.
    async fn grant(
        &self,
        target: &Target<'_>,
        slot: &Slot,
        refused: Option<&Arc<Grant>>,
        answer: &Answer,
        asked: Instant,
    ) -> Result<Option<Arc<Grant>>, OrasError> {
        let mut kept = slot.lock().await;
        if let Some(grant) = kept.as_ref()
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, grant))
            && grant.is_valid(Instant::now())
        {
            return Ok(Some(grant.clone()));
        }
        *kept = None;
        let grant = match challenge_of(answer) {
            None => None,
            Some(Challenge::Basic) => Grant::basic(&self.credential(target).await?, Instant::now()),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let realm = challenge::checked_realm(&realm, &answer.url, self.transport())
                    .map_err(|why| OrasError::Forbidden { request: answer.request.clone(), why })?;
                let asks = TokenRequest { realm, service, scope };
                Some(self.token(target, &asks, asked).await?)
            }
        };
        *kept = grant.map(Arc::new);
        Ok(kept.clone())
    }

    /// After user and password were refused: a grant of what the provider reads now, where it
    /// keeps what it reads and that is something else.
    async fn changed_grant(
        &self,
        target: &Target<'_>,
        slot: &Slot,
        refused: &Arc<Grant>,
        answer: &Answer,
        asked: Instant,
    ) -> Result<Option<Arc<Grant>>, OrasError> {
        let wants_password = match answer.status() {
            StatusCode::UNAUTHORIZED => challenge_of(answer) == Some(Challenge::Basic),
            _ => refused.is_basic(),
        };
        if answer.is_from_elsewhere || !wants_password || !self.forget_credential(target, asked) {
            return Ok(None);
        }
        let other = if answer.status() == StatusCode::UNAUTHORIZED {
            self.grant(target, slot, Some(refused), answer, asked).await?
        } else {
            let grant = Grant::basic(&self.credential(target).await?, Instant::now()).map(Arc::new);
            slot.lock().await.clone_from(&grant);
            grant
        };
        match other {
            Some(same) if same.header() == refused.header() => {
                forget(slot, Some(&same)).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// A token; where the credentials are refused and have changed since they were read, with the
    /// new ones.
    async fn token(
        &self,
        target: &Target<'_>,
        asks: &TokenRequest,
        asked: Instant,
    ) -> Result<Grant, OrasError> {
        let credential = self.credential(target).await?.credential;
        let refusal = match fetch_token(self, target, asks, &credential).await {
            Err(refusal @ OrasError::Denied { .. }) => refusal,
            other => return other,
        };
        // Where nothing was shown, nothing of the provider's was refused.
        if credential == Credential::Anonymous || !self.forget_credential(target, asked) {
            return Err(refusal);
        }
        let changed = self.credential(target).await?.credential;
        if changed == credential || changed == Credential::Anonymous {
            return Err(refusal);
        }
        fetch_token(self, target, asks, &changed).await
    }

    /// Asks the provider. A failure is a warning or an error, as configured.
    async fn credential(&self, target: &Target<'_>) -> Result<Granted, OrasError> {
        let options = &self.inner.options;
        let result = match self.asked_host(target) {
            Ok(host) => {
                let repository = target.repository();
                let asked = Asked {
                    host: &host,
                    repository: &repository,
                    artifact: target.reference.as_str(),
                    give_up_at: target.give_up_at,
                };
                options.auth.credential(&asked).await
            }
            Err(error) => Err(ErrorCode::HostNameInvalid.error().with_source(error)),
        };
        let none = Granted { credential: Credential::Anonymous, good_until: None };
        match result {
            Ok(Granted { credential: Credential::Anonymous, .. }) => {
                tracing::debug!("no credentials found, attempting to use anonymous credentials");
                Ok(none)
            }
            Ok(granted) => Ok(granted),
            Err(source) if options.credential_use != CredentialUse::BestEffort => {
                Err(OrasError::Credentials { source: Box::new(source) })
            }
            Err(error) => {
                tracing::warn!("auth provider failed with err, {error}");
                tracing::debug!("attempting to use anonymous credentials");
                Ok(none)
            }
        }
    }

    /// The host that the provider is asked for.
    fn asked_host(&self, target: &Target<'_>) -> Result<RegistryHost, HostError> {
        let registry = target.host();
        RegistryHost::parse(match self.inner.options.credential_use {
            CredentialUse::BestEffort | CredentialUse::ByRule => registry,
            CredentialUse::Required => wire_host(registry),
        })
    }

    /// Has the provider forget what it gave out; whether it keeps anything at all.
    fn forget_credential(&self, target: &Target<'_>, before: Instant) -> bool {
        self.asked_host(target).is_ok_and(|host| self.inner.options.auth.forget(&host, before))
    }
}

pub(crate) fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

async fn forget(slot: &Slot, grant: Option<&Arc<Grant>>) {
    let mut kept = slot.lock().await;
    if let (Some(current), Some(refused)) = (kept.as_ref(), grant)
        && Arc::ptr_eq(current, refused)
    {
        *kept = None;
    }
}
