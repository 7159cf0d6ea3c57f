//! The one call to ECR: `GetAuthorizationToken`, signed. A clock that is wrong and keys that have
//! expired are mended once.

use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue},
};
use serde::Deserialize;
use url::Url;

use super::{AwsError, keys::Keys};
use crate::auth::{
    Credential, Granted, Secret,
    cloud::{CloudAnswer, CloudCall, CloudError, CloudHttp, clock},
};

const BODY: &[u8] = b"{}";
const JSON: &str = "application/x-amz-json-1.1";
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
static TARGET_HEADER: HeaderName = HeaderName::from_static("x-amz-target");
/// A smaller difference is no reason why a signature would be refused.
const SKEW: Duration = Duration::from_secs(60);
/// What is answered to a request of another time.
const SKEW_CODES: [&str; 6] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
];
/// What is answered to keys that are no more.
const KEY_CODES: [&str; 4] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

/// Where the call goes, and for which region it is signed.
pub(super) struct Service {
    pub(super) url: Url,
    pub(super) region: String,
}

/// How a call ended.
pub(super) enum Outcome {
    Granted(Granted),
    /// It was refused because of its time: the service's own.
    Skewed(SystemTime),
    /// Its keys are no more.
    NeedsKeys(CloudError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    authorization_data: Vec<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    authorization_token: String,
    expires_at: Option<f64>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
}

/// Asks for the password of a region's registries, as of a time.
pub(super) async fn ask(
    http: &CloudHttp,
    service: &Service,
    keys: &Keys,
    now: SystemTime,
) -> Result<Outcome, AwsError> {
    let call = signed(service, keys, now)?;
    let answer = http.send(&call).await?;
    let received = Instant::now();
    if answer.status == StatusCode::OK {
        return granted(&call, &answer, now, received).map(Outcome::Granted);
    }
    let code = code(&answer.body);
    let code = code.as_deref();
    let refused = answer.refused(call.service(), code);
    let is = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    match date(&answer).filter(|date| is(&SKEW_CODES) && is_skewed(*date, now)) {
        Some(date) => Ok(Outcome::Skewed(date)),
        None if is(&KEY_CODES) => Ok(Outcome::NeedsKeys(refused)),
        None => Err(AwsError::Collection(refused)),
    }
}

fn signed(service: &Service, keys: &Keys, now: SystemTime) -> Result<CloudCall, AwsError> {
    let (id, secret) = (keys.id.reveal(), keys.secret.reveal());
    let session = Some(keys.session.reveal().to_owned());
    let identity = Credentials::new(id, secret, session, None, "ratify").into();
    let failed = || AwsError::Setup("the request to ECR cannot be signed".into());
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&service.region)
        .name("ecr")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| failed())?
        .into();
    let headers = [(CONTENT_TYPE.as_str(), JSON), (TARGET_HEADER.as_str(), TARGET)];
    let body = SignableBody::Bytes(BODY);
    let request = SignableRequest::new("POST", service.url.as_str(), headers.into_iter(), body);
    let signed = sign(request.map_err(|_| failed())?, &params).map_err(|_| failed())?;
    let mut call = CloudCall::new(Method::POST, service.url.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static(JSON))
        .header(TARGET_HEADER.clone(), HeaderValue::from_static(TARGET));
    for (name, value) in signed.output().headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| failed())?;
        call = call.header(name, HeaderValue::from_str(value).map_err(|_| failed())?);
    }
    call.body = Bytes::from_static(BODY);
    Ok(call)
}

fn granted(
    call: &CloudCall,
    answer: &CloudAnswer,
    now: SystemTime,
    received: Instant,
) -> Result<Granted, AwsError> {
    let invalid = |why| CloudError::Invalid { service: call.service(), why };
    let parsed: Answer = serde_json::from_slice(&answer.body).map_err(|_| {
        AwsError::Collection(invalid("its answer is none of GetAuthorizationToken"))
    })?;
    let data = parsed.authorization_data.into_iter().next();
    let data = data.ok_or_else(|| AwsError::Collection(invalid("its answer has no token")))?;
    let decoded = BASE64_STANDARD.decode(&data.authorization_token).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let split = text.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = split
        .filter(|(username, password)| !username.is_empty() && !password.is_empty())
        .ok_or_else(|| AwsError::Decoding(invalid("its token is not the base64 of a password")))?;
    let ends = data.expires_at.and_then(clock::from_unix).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Granted {
        credential: Credential::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        },
        good_until: Some(clock::good_until(ends, now, received)),
    })
}

/// The code of a refusal, without the name space in front of it.
fn code(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(refusal.code.rsplit('#').next().unwrap_or_default().to_owned())
}

fn date(answer: &CloudAnswer) -> Option<SystemTime> {
    clock::from_http_date(answer.headers.get(DATE)?.to_str().ok()?)
}

fn is_skewed(date: SystemTime, now: SystemTime) -> bool {
    let between = date.duration_since(now).unwrap_or_else(|error| error.duration());
    between > SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_refusal_has_no_name_space() {
        let code = |body: &str| code(body.as_bytes());
        assert_eq!(
            code(r#"{"__type":"com.amazon.coral#ExpiredTokenException"}"#).unwrap(),
            "ExpiredTokenException"
        );
        assert_eq!(
            code(r#"{"__type":"AccessDeniedException","message":"x"}"#).unwrap(),
            "AccessDeniedException"
        );
        assert_eq!(code("<html>"), None);
    }
}
