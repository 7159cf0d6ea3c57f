//! [`refresh_token`]: Entra's token exchanged at a registry of Azure for one of the registry's own.
//! Always over HTTPS, whatever the store says of the registry.

use reqwest::StatusCode;
use serde::Deserialize;
use url::{Url, form_urlencoded::Serializer};

use super::{CloudCall, CloudHttp, Secret};

/// The registry's refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// It takes Entra's token for none: another one may help.
    pub(super) is_about_the_token: bool,
}

#[derive(Deserialize)]
struct Answer {
    refresh_token: String,
}

/// The registry's refresh token.
///
/// # Errors
/// When the registry refuses, or cannot be reached, or answers without one.
pub(super) async fn refresh_token(
    http: &CloudHttp,
    host: &str,
    tenant: &str,
    access_token: &Secret,
) -> Result<Secret, Refusal> {
    let plain = |why: String| Refusal { why, is_about_the_token: false };
    let url = Url::parse(&format!("https://{host}/oauth2/exchange?api-version=2021-07-01"))
        .map_err(|_| plain(format!("{host} is no host")))?;
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "access_token")
        .append_pair("service", host)
        .append_pair("tenant", tenant)
        .append_pair("access_token", access_token.reveal())
        .finish();
    let call = CloudCall::form(url, form);
    let answer = http.send(&call).await.map_err(|error| plain(error.to_string()))?;
    if answer.status != StatusCode::OK {
        let why = answer.refused(call.service(), None).to_string();
        let is_about_the_token = answer.status == StatusCode::UNAUTHORIZED;
        return Err(Refusal { why, is_about_the_token });
    }
    // serde_json quotes what it does not expect.
    let parsed: Option<Answer> = serde_json::from_slice(&answer.body).ok();
    let token = parsed.map(|answer| answer.refresh_token).filter(|token| !token.is_empty());
    token
        .map(Secret::new)
        .ok_or_else(|| plain(format!("{}: the answer has no refresh token", call.service())))
}
