//! [`Client::ask`]: a call with the credentials it needs, and what is done where they are refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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

/// Getting something to show before the registry asks for it keeps nobody for longer.
const EARLY_PATIENCE: Duration = Duration::from_secs(3);
/// Where that was in vain, it is not tried again for so long.
const EARLY_PAUSE: Duration = Duration::from_secs(10);
/// What was read from elsewhere less than this ago is not read again, whoever refuses it: a flood of
/// refusals must not become one of logins.
const FRESH: Duration = Duration::from_secs(1);
/// How long nothing is shown for what was given for nothing.
const OPEN_LIFETIME: Duration = Duration::from_secs(600);

/// What a call is sent with at first.
#[derive(Default)]
struct Opening {
    grant: Option<Arc<Grant>>,
    failure: Option<Failure>,
    /// What was shown unasked, and refused.
    refused: Option<Arc<Grant>>,
}

/// Why there was no token, before the registry asked for one.
struct Failure {
    challenge: Challenge,
    error: OrasError,
}

impl Client {
    /// Sends a call with the credentials it needs: those that the registry asked for before, of this
    /// repository or of others. After a 401 it is sent once more with fresh
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
        let slot = inner.tokens.slot(&target.grant_place(), &target.scope(None));
        let mut opening = self.opening(target, &slot, asked).await;
        if let Some(early) = opening.grant.take_if(|grant| grant.is_early()) {
            let answer = self.exchange.send(call, early.header(), target.give_up_at).await?;
            if !is_refusal(&answer) || answer.is_from_elsewhere {
                early.note_taken();
                return Ok(answer);
            }
            // What everybody may read may be refused to who shows something: nothing was shown.
            forget(&slot, Some(&early)).await;
            opening.refused = Some(early);
        }
        self.ask_as_told(target, call, &slot, opening, asked).await
    }

    /// The same with what is known, and then with what the registry asks for.
    async fn ask_as_told(
        &self,
        target: &Target<'_>,
        call: &Call,
        slot: &Slot,
        opening: Opening,
        asked: Instant,
    ) -> Result<Answer, OrasError> {
        let Opening { grant: known, failure, refused } = opening;
        let header = known.as_ref().and_then(|grant| grant.header());
        let mut answer = self.exchange.send(call, header, target.give_up_at).await?;
        if known.is_none() && answer.status().is_success() {
            note_open(slot).await;
        }
        if answer.is_from_elsewhere {
            return Ok(answer);
        }
        let known = known.filter(|grant| grant.header().is_some());
        if answer.status() == StatusCode::FORBIDDEN
            && let Some(known) = &known
        {
            forget(slot, Some(known)).await;
            let other = self.changed_grant(target, slot, known, &answer, asked).await?;
            let Some(other) = other else { return Ok(answer) };
            drop(answer);
            return self.ask_last(target, call, slot, &other).await;
        }
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // A token that ends early says nothing of the password it was got with.
        if known.as_ref().is_some_and(|known| known.is_basic()) {
            self.forget_credential(target, asked);
        }
        let grant = self.grant(target, slot, known.as_ref(), &answer, failure, asked).await?;
        let Some(grant) = grant else { return Ok(answer) };
        // What was refused unasked is not shown once more.
        if refused.is_none_or(|refused| refused.header() != grant.header()) {
            drop(answer);
            answer = self.exchange.send(call, grant.header(), target.give_up_at).await?;
            if !is_refusal(&answer) {
                return Ok(answer);
            }
        }
        forget(slot, Some(&grant)).await;
        let Some(other) = self.changed_grant(target, slot, &grant, &answer, asked).await? else {
            return Ok(answer);
        };
        drop(answer);
        self.ask_last(target, call, slot, &other).await
    }

    /// What a call is sent with at first: what is kept, else what the registry asked for when it was
    /// asked for other repositories. Getting that takes little time and is in vain where it
    /// fails: who is asked for nothing needs nothing.
    async fn opening(&self, target: &Target<'_>, slot: &Slot, asked: Instant) -> Opening {
        let mut kept = slot.lock().await;
        if let Some(grant) = kept.as_ref().filter(|grant| grant.is_valid(asked)) {
            return Opening { grant: Some(grant.clone()), ..Opening::default() };
        }
        let Some(challenge) = self.known_challenge(target, asked) else {
            return Opening::default();
        };
        let end = match &self.exchange.deadline {
            Some(deadline) => deadline.end(),
            None => target.give_up_at,
        };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()) / 2);
        let patience = left.map_or(EARLY_PATIENCE, |left| left.min(EARLY_PATIENCE));
        let early = Box::pin(self.early_grant(target, &challenge, asked));
        let (grant, failure) = match tokio::time::timeout(patience, early).await {
            Ok(Ok(grant)) => (grant.map(Grant::early), None),
            Ok(Err(error)) => (None, Some(Failure { challenge, error })),
            Err(_) => (None, None),
        };
        let grant = grant.unwrap_or_else(|| Grant::nothing(Instant::now() + EARLY_PAUSE));
        let grant = Arc::new(grant);
        *kept = Some(grant.clone());
        let grant = Some(grant).filter(|grant| grant.is_early());
        Opening { grant, failure, refused: None }
    }

    /// What the registry asks for: as it told repositories like this one, else any.
    fn known_challenge(&self, target: &Target<'_>, asked: Instant) -> Option<Challenge> {
        let registry = self.registry(&target.base);
        let told = registry.challenge(&target.challenge_part(), asked);
        told.or_else(|| registry.challenge(&target.challenge_place(), asked))
    }

    /// What leads elsewhere is known for repositories like this one alone.
    fn learn_challenge(&self, target: &Target<'_>, asks: Option<Challenge>) {
        let (registry, now) = (self.registry(&target.base), Instant::now());
        let (part, place) = (target.challenge_part(), target.challenge_place());
        registry.learn_challenge(&part, None, now);
        registry.learn_challenge(&place, None, now);
        let leads_elsewhere = asks.as_ref().is_some_and(|asks| asks.leads_from(&target.base));
        registry.learn_challenge(if leads_elsewhere { &part } else { &place }, asks, now);
    }

    /// `None` where there is no credential for what is asked, or it may not be shown.
    async fn early_grant(
        &self,
        target: &Target<'_>,
        challenge: &Challenge,
        asked: Instant,
    ) -> Result<Option<Grant>, OrasError> {
        match challenge {
            Challenge::Basic => Ok(Grant::basic(&self.credential(target).await?, Instant::now())),
            Challenge::Bearer { realm, service, .. } => {
                // Others learned it, and may be led elsewhere than this client.
                let realm = challenge::checked_realm(realm, &target.base, self.transport());
                let Ok(realm) = realm else { return Ok(None) };
                let asks = TokenRequest { realm, service: service.clone(), scope: None };
                self.token(target, &asks, asked).await.map(Some)
            }
        }
    }

    /// Sends a call for the last time; what is refused then is forgotten.
    async fn ask_last(
        &self,
        target: &Target<'_>,
        call: &Call,
        slot: &Slot,
        grant: &Arc<Grant>,
    ) -> Result<Answer, OrasError> {
        let answer = self.exchange.send(call, grant.header(), target.give_up_at).await?;
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
        failure: Option<Failure>,
        asked: Instant,
    ) -> Result<Option<Arc<Grant>>, OrasError> {
        let mut kept = slot.lock().await;
        if let Some(grant) = kept.as_ref()
            && grant.header().is_some()
            && !grant.is_early()
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, grant))
            && grant.is_valid(Instant::now())
        {
            return Ok(Some(grant.clone()));
        }
        *kept = None;
        let challenge = challenge_of(answer);
        let learn = |asks| self.learn_challenge(target, asks);
        // Until it turns out that there is an answer to it.
        learn(None);
        let grant = match challenge.clone() {
            None => None,
            Some(Challenge::Basic) => {
                learn(challenge);
                Grant::basic(&self.credential(target).await?, Instant::now())
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                let realm = challenge::checked_realm(&realm, &answer.url, self.transport())
                    .map_err(|why| OrasError::Forbidden { request: answer.request.clone(), why })?;
                learn(challenge.clone());
                let asks = TokenRequest { realm, service, scope };
                match failure {
                    // Whoever would be asked said no already, to the same question.
                    Some(failure) if failure.is_about(target, challenge, &asks) => {
                        return Err(failure.error);
                    }
                    _ => Some(self.token(target, &asks, asked).await?),
                }
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
            self.grant(target, slot, Some(refused), answer, None, asked).await?
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
    pub(crate) fn asked_host(&self, target: &Target<'_>) -> Result<RegistryHost, HostError> {
        let registry = target.host();
        RegistryHost::parse(match self.inner.options.credential_use {
            CredentialUse::BestEffort | CredentialUse::ByRule => registry,
            CredentialUse::Required => wire_host(registry),
        })
    }

    /// Has the provider forget what it gave out for the host, unless it was read just now; whether it
    /// keeps anything at all.
    fn forget_credential(&self, target: &Target<'_>, before: Instant) -> bool {
        let Some(settled) = Instant::now().checked_sub(FRESH) else { return false };
        let before = before.min(settled);
        self.asked_host(target).is_ok_and(|host| self.inner.options.auth.forget(&host, before))
    }
}

impl Failure {
    /// Whether the same is asked for, of the same service.
    fn is_about(
        &self,
        target: &Target<'_>,
        challenge: Option<Challenge>,
        asks: &TokenRequest,
    ) -> bool {
        challenge.map(Challenge::without_scope).as_ref() == Some(&self.challenge)
            && target.scope(asks.scope.as_deref()) == target.scope(None)
    }
}

pub(crate) fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Nothing is shown for a while, unless another request has something to show by now.
async fn note_open(slot: &Slot) {
    let now = Instant::now();
    let mut kept = slot.lock().await;
    if kept.as_ref().is_none_or(|grant| grant.header().is_none() || !grant.is_valid(now)) {
        *kept = Some(Arc::new(Grant::nothing(now + OPEN_LIFETIME)));
    }
}

async fn forget(slot: &Slot, grant: Option<&Arc<Grant>>) {
    let mut kept = slot.lock().await;
    if let (Some(current), Some(refused)) = (kept.as_ref(), grant)
        && Arc::ptr_eq(current, refused)
    {
        *kept = None;
    }
}
