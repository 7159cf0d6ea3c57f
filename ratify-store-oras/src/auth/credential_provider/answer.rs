//! [`Answer`]: what a program of the kubelet's contract writes, and for whom it is good.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use ratify_core::duration;
use serde::Deserialize;

use super::{
    super::{
        Credential, RegistryHost, Secret,
        scope::{Scope, most_specific},
    },
    Image,
    config::API_VERSION,
};

const KIND: &str = "CredentialProviderResponse";
/// More credentials than this are no answer.
const MAX_ENTRIES: usize = 1024;

/// Credentials, and for what they were given out.
pub(super) struct Answer {
    pub(super) covers: Covers,
    /// Until when it may be kept; `None` where it may not.
    pub(super) good_until: Option<Instant>,
    /// When the question for it began.
    pub(super) read_at: Instant,
    image: String,
    registry: String,
    credentials: Vec<(Scope, Credential)>,
}

/// What a program wrote.
#[derive(Debug)]
pub(super) struct Said {
    covers: Covers,
    /// `None` where the configuration decides.
    pub(super) lifetime: Option<Duration>,
    credentials: Vec<(Scope, Credential)>,
}

/// For what an answer is good, from less to more (`cacheKeyType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Covers {
    Image,
    Registry,
    Global,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: Covers,
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// Reads an answer.
///
/// # Errors
/// When it is none. The text holds nothing that may be a secret.
pub(super) fn read(bytes: &[u8]) -> Result<Said, String> {
    let response: Response = serde_json::from_slice(bytes).map_err(|error| {
        // serde_json may quote values; the position is enough to find it.
        format!("no answer: line {} column {}", error.line(), error.column())
    })?;
    if response.kind != KIND || response.api_version != API_VERSION {
        return Err(format!("something else than a {KIND} of {API_VERSION}"));
    }
    let lifetime = response.cache_duration.as_deref().map(duration::parse).transpose();
    let lifetime = lifetime.map_err(|_| "a cacheDuration that is none".to_owned())?;
    let auth = response.auth.unwrap_or_default();
    if auth.len() > MAX_ENTRIES {
        return Err(format!("more than {MAX_ENTRIES} credentials"));
    }
    let credential = |(key, entry): (String, Entry)| {
        let Entry { username, password } = entry;
        let is_empty = username.is_empty() && password.is_empty();
        let scope =
            Scope::of_key(&key).map_err(|_| "a key of auth that is no pattern".to_owned())?;
        let credential = Credential::Basic { username, password: Secret::new(password) };
        Ok((!is_empty).then_some((scope, credential)))
    };
    let credentials = auth.into_iter().map(credential).filter_map(Result::transpose);
    let credentials = credentials.collect::<Result<_, String>>()?;
    Ok(Said { covers: response.cache_key_type, lifetime, credentials })
}

impl Said {
    /// The answer that this is to a question about an image.
    pub(super) fn about(
        self,
        image: &Image<'_>,
        read_at: Instant,
        good_until: Option<Instant>,
    ) -> Answer {
        Answer {
            covers: self.covers,
            good_until,
            read_at,
            image: image.text.clone(),
            registry: image.registry(),
            credentials: self.credentials,
        }
    }
}

impl Answer {
    /// Whether it may be used for an image.
    pub(super) fn is_for(&self, image: &Image<'_>) -> bool {
        match self.covers {
            Covers::Image => self.image == image.text,
            Covers::Registry => self.registry == image.registry(),
            Covers::Global => true,
        }
    }

    /// Whether it may be used for images of a host.
    pub(super) fn is_of(&self, host: &RegistryHost) -> bool {
        match self.covers {
            Covers::Image | Covers::Registry => self.registry == super::registry_of(host),
            Covers::Global => self.credentials.iter().any(|(scope, _)| scope.is_of(host)),
        }
    }

    /// The credentials under the most specific key that covers an image.
    pub(super) fn credential(&self, image: &Image<'_>) -> Option<&Credential> {
        let credentials = self.credentials.iter().map(|(scope, credential)| (scope, credential));
        most_specific(credentials, image.host, image.repository)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer() -> Value {
        json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "cacheDuration": "1h30m0s",
            "auth": {"*.example.com": {"username": "u", "password": "hunter2"}},
            "future": 1,
        })
    }

    #[test]
    fn an_answer_is_read_and_does_not_show() {
        let said = read(answer().to_string().as_bytes()).unwrap();
        assert_eq!(said.lifetime, Some(Duration::from_secs(5400)));
        assert_eq!(said.covers, Covers::Registry);
        assert!(!format!("{said:?}").contains("hunter2"));
        let mut bare = answer();
        bare["auth"] = Value::Null;
        bare["cacheDuration"] = Value::Null;
        let said = read(bare.to_string().as_bytes()).unwrap();
        assert!(said.lifetime.is_none() && said.credentials.is_empty());
    }

    #[test]
    fn what_is_no_answer_is_refused_and_not_repeated() {
        let with = |key: &str, value: Value| {
            let mut answer = answer();
            answer[key] = value;
            read(answer.to_string().as_bytes()).unwrap_err()
        };
        let errors = [
            with("apiVersion", json!("credentialprovider.kubelet.k8s.io/v1beta1")),
            with("kind", json!("CredentialProviderRequest")),
            with("cacheKeyType", json!("hunter2")),
            with("cacheDuration", json!("hunter2")),
            with("auth", json!("hunter2")),
            with("auth", json!({"hunter2[": {"username": "u", "password": "p"}})),
            read(b"hunter2").unwrap_err(),
            read(b"").unwrap_err(),
        ];
        let errors = errors.join("\n");
        assert!(!errors.contains("hunter2"), "{errors}");
        insta::assert_snapshot!(errors, @r"
        something else than a CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1
        something else than a CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1
        no answer: line 1 column 166
        a cacheDuration that is none
        no answer: line 1 column 69
        a key of auth that is no pattern
        no answer: line 1 column 1
        no answer: line 1 column 0
        ");
    }
}
