//! [`Api`]: the two calls to Alibaba Cloud: `AssumeRoleWithOIDC` of its token service, which wants
//! no signature, and the registry's `GetAuthorizationToken`, which wants one.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use reqwest::{
    Method, StatusCode,
    header::{DATE, HeaderName, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded::Serializer};

use super::{
    CloudAnswer, CloudCall, CloudHttp, Login, Secret, clock,
    sign::{self, Signed},
    token_file,
};

/// How long the keys of a role are asked for.
const ROLE_SECONDS: u64 = 3600;
const SESSION_NAME: &str = "ratify";

/// Who this process may become.
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) provider_arn: String,
    pub(super) token_file: PathBuf,
}

/// What a role signs with.
#[derive(Clone)]
pub(super) struct RoleKeys {
    id: String,
    secret: Secret,
    token: Secret,
}

/// Alibaba Cloud, as far as it is needed.
pub(super) struct Api {
    http: CloudHttp,
    token_service: String,
}

/// Why there is no login.
pub(super) struct Refusal {
    pub(super) why: String,
    /// The keys of the role are none any more: others may help.
    pub(super) is_about_the_keys: bool,
    /// At what time the call is worth another try: the server's, where it does not like ours.
    again_at: Option<SystemTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: AssumedKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedKeys {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Authorization {
    temp_username: String,
    authorization_token: String,
    /// Milliseconds since 1970.
    #[serde(default)]
    expire_time: f64,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "Code", alias = "code")]
    code: String,
}

impl Api {
    /// Over an HTTP client; with the token service of a region where one is given.
    ///
    /// # Errors
    /// When the region is none.
    pub(super) fn new(http: CloudHttp, sts_region: Option<&str>) -> Result<Self, String> {
        let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let token_service = match sts_region {
            None => "sts.aliyuncs.com".into(),
            Some(region) if region.bytes().all(is_inner) => format!("sts.{region}.aliyuncs.com"),
            Some(_) => return Err("ALIBABA_CLOUD_STS_REGION is no region".into()),
        };
        Ok(Self { http, token_service })
    }

    /// The keys of a role, by the token that is in the file now.
    pub(super) async fn assume(&self, role: &Role) -> Result<(RoleKeys, Option<Instant>), String> {
        let failed = |why: String| format!("failed to get credentials of the role: {why}");
        let token = token_file::read(&role.token_file).map_err(failed)?;
        let begun = Instant::now();
        let query = Serializer::new(String::new())
            .append_pair("Action", "AssumeRoleWithOIDC")
            .append_pair("Format", "JSON")
            .append_pair("Timestamp", &timestamp(SystemTime::now()))
            .append_pair("Version", "2015-04-01")
            .finish();
        let form = Serializer::new(String::new())
            .append_pair("RoleArn", &role.arn)
            .append_pair("OIDCProviderArn", &role.provider_arn)
            .append_pair("OIDCToken", token.reveal())
            .append_pair("RoleSessionName", SESSION_NAME)
            .append_pair("DurationSeconds", &ROLE_SECONDS.to_string())
            .finish();
        let url = root(&self.token_service, &query)?;
        let call = CloudCall::form(url, form);
        let answer = self.http.send(&call).await.map_err(|error| failed(error.to_string()))?;
        let Assumed { credentials } =
            read(&call, &answer).map_err(|refusal| failed(refusal.why))?;
        let keys = RoleKeys {
            id: credentials.access_key_id,
            secret: Secret::new(credentials.access_key_secret),
            token: Secret::new(credentials.security_token),
        };
        // From our own clock, by what was asked for: the answer's is another one.
        Ok((keys, Some(begun + Duration::from_secs(ROLE_SECONDS))))
    }

    /// A user and a password of an instance. Where our clock is wrong, by the server's.
    pub(super) async fn login(
        &self,
        keys: &RoleKeys,
        region: &str,
        instance: &str,
    ) -> Result<Login, Refusal> {
        let first = self.login_at(keys, region, instance, SystemTime::now()).await;
        let result = match first {
            Err(Refusal { again_at: Some(now), .. }) => {
                self.login_at(keys, region, instance, now).await
            }
            other => other,
        };
        result.map_err(|refusal| {
            let why = format!("failed to get acr authorization token: {}", refusal.why);
            Refusal { why, ..refusal }
        })
    }

    async fn login_at(
        &self,
        keys: &RoleKeys,
        region: &str,
        instance: &str,
        now: SystemTime,
    ) -> Result<Login, Refusal> {
        let host = format!("cr.{region}.aliyuncs.com");
        // An id has no character that the two ways to escape one disagree on.
        let query = Serializer::new(String::new()).append_pair("InstanceId", instance).finish();
        let mut call = CloudCall::new(Method::POST, root(&host, &query)?);
        for (name, value) in signed(&host, &query, keys, now)? {
            // The connection says its host itself.
            if name != "host" {
                let value = HeaderValue::from_str(&value)
                    .map_err(|_| "the keys of the role are no header".to_owned())?;
                call = call.header(HeaderName::from_static(name), value);
            }
        }
        let answer = self.http.send(&call).await.map_err(|error| error.to_string())?;
        let received = Instant::now();
        let answer: Authorization = read(&call, &answer)?;
        let ends = clock::from_unix(answer.expire_time / 1000.0).unwrap_or(now);
        Ok(Login {
            username: answer.temp_username,
            password: Secret::new(answer.authorization_token),
            good_until: clock::good_until(ends, now, received),
        })
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, is_about_the_keys: false, again_at: None }
    }
}

/// The headers of a signed call, in the order of their names.
fn signed(
    host: &str,
    query: &str,
    keys: &RoleKeys,
    now: SystemTime,
) -> Result<Vec<(&'static str, String)>, String> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "there is no randomness".to_owned())?;
    let mut headers = vec![
        ("host", host.to_owned()),
        ("x-acs-accesskey-id", keys.id.clone()),
        ("x-acs-action", "GetAuthorizationToken".into()),
        ("x-acs-content-sha256", sign::hash_of_nothing()),
        ("x-acs-date", timestamp(now)),
        ("x-acs-security-token", keys.token.reveal().to_owned()),
        ("x-acs-signature-nonce", sign::hex(&nonce)),
        ("x-acs-version", "2018-12-01".into()),
    ];
    let request = Signed { method: "POST", query, headers: &headers };
    let authorization = sign::authorization(&request, &keys.id, keys.secret.reveal());
    headers.push(("authorization", authorization));
    Ok(headers)
}

fn root(host: &str, query: &str) -> Result<Url, String> {
    Url::parse(&format!("https://{host}/?{query}")).map_err(|_| format!("{host} is no host"))
}

/// `2026-01-31T12:00:00Z`
fn timestamp(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time of a server.
fn date_of(answer: &CloudAnswer) -> Option<SystemTime> {
    let text = answer.headers.get(DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().into())
}

/// Reads an answer, or what it says is wrong: nothing but its code, for the rest is anybody's text.
fn read<T: DeserializeOwned>(call: &CloudCall, answer: &CloudAnswer) -> Result<T, Refusal> {
    if answer.status == StatusCode::OK {
        let parsed = serde_json::from_slice(&answer.body).ok();
        let why = || format!("{}: the answer has not what was asked for", call.service());
        return parsed.ok_or_else(|| why().into());
    }
    let failure: Option<Failure> = serde_json::from_slice(&answer.body).ok();
    let code = failure.map(|failure| failure.code).unwrap_or_default();
    let why = answer.refused(call.service(), Some(&code)).to_string();
    let is_one_of = |codes: &[&str]| codes.iter().any(|known| code.starts_with(known));
    let again_at = match code.as_str() {
        // The first attempt came through, and its answer was lost.
        "SignatureNonceUsed" => Some(SystemTime::now()),
        _ if is_one_of(&["InvalidTimeStamp", "IllegalTimestamp"]) => date_of(answer),
        _ => None,
    };
    let is_about_the_keys = is_one_of(&["InvalidSecurityToken", "InvalidAccessKeyId"]);
    Err(Refusal { why, is_about_the_keys, again_at })
}
