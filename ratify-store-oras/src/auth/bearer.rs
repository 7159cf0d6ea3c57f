//! Tokens of a token service, as a Bearer challenge asks for them: a POST with a refresh token
//! (OAuth2), else a GET (distribution's token specification).

use std::time::Instant;

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use tracing::Instrument as _;
use url::Url;

use super::{
    Credential,
    challenge::{self, Challenge},
    tokens::{self, Grant},
};
use crate::{
    Client, OrasError,
    client::Target,
    exchange::{Answer, Call},
    trace,
};

/// v1's bound on the answer of a token service.
const MAX_TOKEN_BYTES: u64 = 128 << 10;

/// What a registry asks to be brought.
pub(crate) struct TokenRequest {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
}

/// The challenge that is answered: a bearer's where there is one, else the first.
pub(crate) fn challenge_of(answer: &Answer) -> Option<Challenge> {
    let mut challenges = challenge::parse(answer.all(&WWW_AUTHENTICATE));
    let bearer = challenges.iter().position(|c| matches!(c, Challenge::Bearer { .. }));
    (!challenges.is_empty()).then(|| challenges.swap_remove(bearer.unwrap_or(0)))
}

/// Asks a token service: a POST with a refresh token where there is one, else a GET, with user and
/// password where there are.
pub(crate) async fn fetch_token(
    client: &Client,
    target: &Target<'_>,
    asks: &TokenRequest,
    credential: &Credential,
) -> Result<Grant, OrasError> {
    let span = trace::token(&asks.realm);
    let fetching = Box::pin(exchange_for_token(client, target, asks, credential));
    let granted = fetching.instrument(span.clone()).await;
    if let Err(error) = &granted {
        trace::fail(&span, error);
    }
    granted
}

async fn exchange_for_token(
    client: &Client,
    target: &Target<'_>,
    asks: &TokenRequest,
    credential: &Credential,
) -> Result<Grant, OrasError> {
    let (realm, service) = (asks.realm.clone(), asks.service.as_deref());
    let scope = target.scope(asks.scope.as_deref());
    let mut authorization = None;
    let mut call = if let Credential::RefreshToken(token) = credential {
        refresh_call(client, realm, service, &scope, token.reveal())
    } else {
        let mut url = realm;
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        for scope in scope.split(' ') {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        if let Credential::Basic { username, password } = credential {
            authorization = tokens::basic_header(username, password.reveal());
        }
        client.call_url(Method::GET, url)
    };
    call.follows_redirects = false;
    let call = target.furnish(&call);
    let what = format!("the token for {}", target.reference.path());
    let exchange = client.exchange();
    let answer = exchange.send(&call, authorization.as_ref(), target.give_up_at).await?;
    if answer.status() != StatusCode::OK {
        return Err(token_error(answer, &what).await);
    }
    let body = answer.read(&what, None, MAX_TOKEN_BYTES).await?;
    Grant::bearer(&body, Instant::now())
        .ok_or_else(|| OrasError::invalid(what, "the token service sent no usable token"))
}

fn refresh_call(
    client: &Client,
    realm: Url,
    service: Option<&str>,
    scope: &str,
    token: &str,
) -> Call {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token)
        .append_pair("client_id", "ratify")
        .append_pair("scope", scope);
    if let Some(service) = service {
        form.append_pair("service", service);
    }
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut call = client.call_url(Method::POST, realm).header(CONTENT_TYPE, form_type);
    call.body = form.finish().into();
    call
}

/// A token service that is not found is a failure, not an artifact that does not exist.
async fn token_error(answer: Answer, what: &str) -> OrasError {
    let request = answer.request.clone();
    match answer.into_error(what).await {
        OrasError::NotFound { .. } => {
            OrasError::Status { request, status: 404, reason: "Not Found".into() }
        }
        other => other,
    }
}
