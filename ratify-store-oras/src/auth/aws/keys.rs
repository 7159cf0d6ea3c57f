//! [`Keys`]: what requests to AWS are signed with, for a while. They come from the token service for
//! the service account's token (IRSA), or from the agent of EKS Pod Identity on the node.

use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::AwsError;
use crate::auth::{
    Secret,
    cloud::{CloudAnswer, CloudCall, CloudError, CloudHttp, clock, token_file},
};

/// v1's name of a session.
const SESSION_NAME: &str = "ratifyEcrBasicAuth";

/// Temporary keys. `Debug` shows none of them.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) id: Secret,
    pub(super) secret: Secret,
    pub(super) session: Secret,
    pub(super) good_until: Instant,
}

/// Who this pod is to AWS.
#[derive(Debug)]
pub(super) enum Identity {
    /// A role, for the token in a file.
    Role { endpoint: Result<Url, String>, role: String, token_file: PathBuf },
    /// What an agent answers to the token in a file.
    Pod { uri: Result<Url, String>, token_file: Option<PathBuf> },
    /// Nothing says who: v1's text about it.
    Nobody(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PodAnswer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl Identity {
    /// Gets keys. The token file is read now.
    pub(super) async fn keys(&self, http: &CloudHttp) -> Result<Keys, AwsError> {
        match self {
            Self::Role { endpoint, role, token_file } => {
                let endpoint = endpoint.clone().map_err(AwsError::Setup)?;
                let token = token_file::read(token_file).map_err(AwsError::Setup)?;
                let call = web_identity_call(endpoint, role, &token);
                let answer = http.send(&call).await?;
                of_sts(&call, &answer).map_err(AwsError::Cloud)
            }
            Self::Pod { uri, token_file } => {
                let uri = uri.clone().map_err(AwsError::Setup)?;
                let mut call = CloudCall::new(Method::GET, uri);
                if let Some(path) = token_file {
                    let token = token_file::read(path).map_err(AwsError::Setup)?;
                    let value = HeaderValue::from_str(token.reveal());
                    let value = value.map_err(|_| AwsError::Setup("not one token".into()))?;
                    call = call.header(AUTHORIZATION, value);
                }
                let answer = http.send(&call).await?;
                of_pod(&call, &answer).map_err(AwsError::Cloud)
            }
            Self::Nobody(why) => Err(AwsError::Environment(why.clone())),
        }
    }
}

fn web_identity_call(endpoint: Url, role: &str, token: &Secret) -> CloudCall {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRoleWithWebIdentity")
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", role)
        .append_pair("RoleSessionName", SESSION_NAME)
        .append_pair("WebIdentityToken", token.reveal())
        .finish();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut call = CloudCall::new(Method::POST, endpoint).header(CONTENT_TYPE, form_type);
    call.body = form.into();
    call
}

fn of_sts(call: &CloudCall, answer: &CloudAnswer) -> Result<Keys, CloudError> {
    let received = Instant::now();
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    if answer.status != StatusCode::OK {
        return Err(answer.refused(call.service(), element(text, "Code")));
    }
    let get = |name| {
        let invalid =
            CloudError::Invalid { service: call.service(), why: "its answer has no keys" };
        element(text, name).ok_or(invalid)
    };
    Ok(Keys {
        id: Secret::new(get("AccessKeyId")?),
        secret: Secret::new(get("SecretAccessKey")?),
        session: Secret::new(get("SessionToken")?),
        good_until: ends(get("Expiration")?, received),
    })
}

fn of_pod(call: &CloudCall, answer: &CloudAnswer) -> Result<Keys, CloudError> {
    let received = Instant::now();
    if answer.status != StatusCode::OK {
        return Err(answer.refused(call.service(), None));
    }
    let parsed: Option<PodAnswer> = serde_json::from_slice(&answer.body).ok();
    let is_whole = |keys: &PodAnswer| {
        ![&keys.access_key_id, &keys.secret_access_key, &keys.token].iter().any(|k| k.is_empty())
    };
    let keys = parsed.filter(is_whole).ok_or_else(|| CloudError::Invalid {
        service: call.service(),
        why: "its answer has no keys",
    })?;
    Ok(Keys {
        id: Secret::new(keys.access_key_id),
        secret: Secret::new(keys.secret_access_key),
        session: Secret::new(keys.token),
        good_until: ends(&keys.expiration, received),
    })
}

/// A time that cannot be read is over: the keys are used, and soon renewed.
fn ends(expiration: &str, received: Instant) -> Instant {
    let ends = clock::from_rfc3339(expiration).unwrap_or(SystemTime::UNIX_EPOCH);
    clock::good_until(ends, SystemTime::now(), received)
}

/// The text of the one element of a name, without anything that would need an XML parser: keys and
/// codes have no entities. A name that is there twice is none.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = text.split_once(&open)?;
    let (value, after) = rest.split_once(&close)?;
    let is_plain = !value.is_empty() && !value.contains(['<', '>', '&']);
    (is_plain && !after.contains(&open)).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_only_where_it_can_be_read_in_one_way() {
        assert_eq!(element("<x><Key>a+/=</Key></x>", "Key"), Some("a+/="));
        for text in [
            "",
            "<Key>",
            "<Key></Key>",
            "<Key>a",
            "<Key>a&amp;b</Key>",
            "<Key><b>a</b></Key>",
            "<Key>a</Key><Key>b</Key>",
            "<Key><![CDATA[a]]></Key>",
        ] {
            assert_eq!(element(text, "Key"), None, "{text}");
        }
    }
}
