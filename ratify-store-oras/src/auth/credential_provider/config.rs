//! [`CredentialProviders`]: which programs there are and for which images, as the kubelet's
//! `CredentialProviderConfig` says (`kubelet.config.k8s.io/v1`).

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use ratify_core::{capped_line, duration};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{ProgramName, scope::Scope},
    Image,
};

/// The version of the contract that is spoken with programs.
pub(super) const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
const CONFIG_API_VERSION: &str = "kubelet.config.k8s.io/v1";
const CONFIG_KIND: &str = "CredentialProviderConfig";
/// More than this is no configuration that a person wrote.
const MAX_PROGRAMS: usize = 64;

/// The administrator's programs. `Debug` shows no value of their environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialProviders {
    directory: PathBuf,
    programs: Vec<ProgramConfig>,
}

/// Why a document is no configuration of programs: where in it, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProvidersError(String);

#[derive(Clone, PartialEq, Eq)]
pub(super) struct ProgramConfig {
    pub(super) name: ProgramName,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) default_lifetime: Duration,
    scopes: Vec<Scope>,
}

// A key that is not known may be one that says "only for some": it is an error, as the kubelet has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    api_version: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    token_attributes: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

impl CredentialProviders {
    /// Reads a document, which a YAML or a JSON file holds; the programs are in `directory`.
    ///
    /// # Errors
    /// When it is none of the version that is known, or names what could not be kept.
    pub fn new(document: Value, directory: impl Into<PathBuf>) -> Result<Self, ProvidersError> {
        let document: Document = serde_json::from_value(document)
            // What it quotes is a key or a kind of value, and of a file that is no secret.
            .map_err(|error| ProvidersError::new("the document", error.to_string()))?;
        expect("apiVersion", &document.api_version, CONFIG_API_VERSION)?;
        expect("kind", &document.kind, CONFIG_KIND)?;
        let number = document.providers.len();
        if number == 0 || number > MAX_PROGRAMS {
            let why = format!("expected 1 to {MAX_PROGRAMS}, found {number}");
            return Err(ProvidersError::new("providers", why));
        }
        let numbered = document.providers.into_iter().enumerate();
        let programs =
            numbered.map(|(number, provider)| provider.read(&format!("providers[{number}]")));
        let programs = programs.collect::<Result<Vec<_>, _>>()?;
        let names: BTreeSet<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        if names.len() < programs.len() {
            return Err(ProvidersError::new("providers", "a name is given twice"));
        }
        Ok(Self { directory: directory.into(), programs })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn programs(&self) -> &[ProgramConfig] {
        &self.programs
    }
}

impl ProgramConfig {
    /// Whether it is to be asked about an image.
    pub(super) fn covers(&self, image: &Image<'_>) -> bool {
        self.scopes.iter().any(|scope| scope.covers(image.host, image.repository))
    }
}

impl Provider {
    fn read(self, at: &str) -> Result<ProgramConfig, ProvidersError> {
        let key = |key: &str| format!("{at}.{key}");
        expect(&key("apiVersion"), &self.api_version, API_VERSION)?;
        let name = ProgramName::parse(&self.name);
        let name = name.map_err(|why| ProvidersError::new(key("name"), why.to_string()))?;
        if self.token_attributes.is_some() {
            let why = "tokens of service accounts are not handed on";
            return Err(ProvidersError::new(key("tokenAttributes"), why));
        }
        let lifetime = self.default_cache_duration.ok_or("it is missing".to_owned());
        let lifetime = lifetime.and_then(|text| duration::parse(&text));
        let default_lifetime =
            lifetime.map_err(|why| ProvidersError::new(key("defaultCacheDuration"), why))?;
        let scopes = self.match_images.iter().map(|pattern| Scope::of_key(pattern));
        let scopes = scopes.collect::<Result<Vec<_>, _>>();
        let scopes = scopes.map_err(|why| ProvidersError::new(key("matchImages"), why))?;
        if scopes.is_empty() {
            return Err(ProvidersError::new(key("matchImages"), "expected at least one pattern"));
        }
        let environment = self.env.unwrap_or_default();
        if environment.iter().any(|v| v.name.is_empty() || v.name.contains(['=', '\0'])) {
            return Err(ProvidersError::new(key("env"), "a name is none of a variable"));
        }
        let environment = environment.into_iter().map(|Variable { name, value }| (name, value));
        Ok(ProgramConfig {
            name,
            arguments: self.args.unwrap_or_default(),
            environment: environment.collect(),
            default_lifetime,
            scopes,
        })
    }
}

fn expect(at: &str, found: &str, expected: &str) -> Result<(), ProvidersError> {
    if found == expected {
        return Ok(());
    }
    let found = capped_line(found, 100);
    Err(ProvidersError::new(at, format!("expected {expected}, found {found}")))
}

impl ProvidersError {
    fn new(at: impl AsRef<str>, why: impl AsRef<str>) -> Self {
        Self(capped_line(&format!("{}: {}", at.as_ref(), why.as_ref()), 500))
    }
}

impl fmt::Debug for ProgramConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("ProgramConfig")
            .field("name", &self.name)
            .field("environment", &variables)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1",
            "kind": "CredentialProviderConfig",
            "providers": [{
                "name": "ecr-credential-provider",
                "matchImages": ["*.dkr.ecr.*.amazonaws.com", "registry.example.com:8080/team"],
                "defaultCacheDuration": "12h",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "args": ["get-credentials"],
                "env": [{"name": "AWS_PROFILE", "value": "hunter2"}],
            }],
        })
    }

    #[test]
    fn the_kubelets_configuration_is_read() {
        let read = CredentialProviders::new(document(), "/bin/dir").unwrap();
        let program = &read.programs()[0];
        assert_eq!(program.default_lifetime, Duration::from_secs(12 * 3600));
        assert_eq!(program.arguments, ["get-credentials"]);
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_not_known_or_could_not_be_kept_is_refused_with_its_place() {
        let with = |pointer: &str, value: Value| {
            let mut document = document();
            match document.pointer_mut(pointer) {
                Some(found) => *found = value,
                None => document["providers"][0][pointer] = value,
            }
            CredentialProviders::new(document, "/").unwrap_err().to_string()
        };
        let twice = json!([document()["providers"][0], document()["providers"][0]]);
        insta::assert_snapshot!([
            with("/apiVersion", json!("kubelet.config.k8s.io/v1beta1")),
            with("/kind", json!("KubeletConfiguration")),
            with("/providers", json!([])),
            with("/providers", twice),
            with("/providers/0/apiVersion", json!("credentialprovider.kubelet.k8s.io/v1alpha1")),
            with("/providers/0/name", json!("../sh")),
            with("/providers/0/defaultCacheDuration", json!("-1s")),
            with("/providers/0/defaultCacheDuration", json!(null)),
            with("/providers/0/matchImages", json!([])),
            with("/providers/0/matchImages", json!(["reg[0-9].example.com"])),
            with("/providers/0/env/0/name", json!("A=B")),
            with("tokenAttributes", json!({"serviceAccountTokenAudience": "x"})),
            with("matchImage", json!([])),
        ].join("\n"), @r#"
        apiVersion: expected kubelet.config.k8s.io/v1, found kubelet.config.k8s.io/v1beta1
        kind: expected CredentialProviderConfig, found KubeletConfiguration
        providers: expected 1 to 64, found 0
        providers: a name is given twice
        providers[0].apiVersion: expected credentialprovider.kubelet.k8s.io/v1, found credentialprovider.kubelet.k8s.io/v1alpha1
        providers[0].name: "../sh" is no name of a program: letters, digits, dots, dashes, underscores
        providers[0].defaultCacheDuration: "-1s" is no duration; write it as 10s, 1m30s or 250ms
        providers[0].defaultCacheDuration: it is missing
        providers[0].matchImages: expected at least one pattern
        providers[0].matchImages: "reg[0-9].example.com" is no pattern of hosts: not a name or an address
        providers[0].env: a name is none of a variable
        providers[0].tokenAttributes: tokens of service accounts are not handed on
        the document: unknown field `matchImage`, expected one of `name`, `matchImages`, `defaultCacheDuration`, `apiVersion`, `args`, `env`, `tokenAttributes`
        "#);
    }
}
