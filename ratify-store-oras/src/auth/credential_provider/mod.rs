//! [`CredentialProvider`]: the programs that clouds ship for the kubelet, by its contract
//! (`credentialprovider.kubelet.k8s.io/v1`): a request on stdin names an image, the answer on stdout
//! has credentials by pattern, and says for what and for how long it is good.
//!
//! `config` is the administrator's file, `answer` what a program writes.

mod answer;
mod config;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, ComponentType, ErrorCode, Result, capped_line};
use serde_json::json;

use super::{
    Asked, AuthProvider, Credential, CredentialPrograms, Environment, Granted, ProgramCall,
    ProgramFailure, RegistryHost, kept::Kept,
};
use answer::{Answer, Covers};
use config::{API_VERSION, ProgramConfig};
pub use config::{CredentialProviders, ProvidersError};

/// The name in `authProvider.name`.
pub(super) const NAME: &str = "credentialProvider";
/// Renewed so long before it ends what is kept longer.
const RENEWED_AHEAD: Duration = Duration::from_secs(300);
/// How long an answer is kept at most, whatever it says.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Asks the programs of a configuration that cover an image, in its order; the first that has
/// credentials for it wins, and one that fails is an error.
pub(super) struct CredentialProvider {
    programs: Arc<dyn CredentialPrograms>,
    config: Arc<CredentialProviders>,
    kept: Vec<KeptAnswers>,
}

/// What one program answered.
struct KeptAnswers {
    by_key: Kept<Key, Arc<Answer>, ProgramFailure>,
    /// For what the last answer was good: the next question is looked for under that.
    covers: AtomicU8,
}

/// For what an answer is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Image(String),
    Registry(String),
    Global,
}

/// What a program is asked about.
pub(super) struct Image<'a> {
    pub(super) host: &'a RegistryHost,
    pub(super) repository: &'a str,
    /// `host/repository`, with the name that the kubelet has for Docker Hub.
    pub(super) text: String,
}

impl CredentialProvider {
    /// A provider over the administrator's programs.
    ///
    /// # Errors
    /// When there are none, or their file could not be read.
    pub(super) fn new(environment: &Environment) -> Result<Self> {
        let invalid = |why: String| {
            ErrorCode::ConfigInvalid
                .detail("registries.credentialProviders")
                .with_source(why)
                .from_component(ComponentType::AuthProvider, NAME)
        };
        let config = match &environment.credential_providers {
            Some(Ok(config)) => config.clone(),
            Some(Err(why)) => return Err(invalid(why.clone())),
            None => return Err(invalid("the configuration names no such programs".into())),
        };
        let programs = environment.programs.clone();
        let programs = programs.ok_or_else(|| invalid("no programs are run here".into()))?;
        let kept = config.programs().iter().map(|_| KeptAnswers::default()).collect();
        Ok(Self { programs, config, kept })
    }

    async fn find(&self, asked: &Asked<'_>) -> Result<Granted> {
        let image = Image::of(asked);
        for (program, kept) in self.config.programs().iter().zip(&self.kept) {
            if !program.covers(&image) {
                continue;
            }
            let answer = self.answer(program, kept, &image, asked.give_up_at).await;
            let answer = answer.map_err(|why| {
                let text = capped_line(&image.text, 300);
                ErrorCode::AuthDenied
                    .detail(format!("no credentials for {text} by {}", program.name))
                    .with_source(why)
                    .from_component(ComponentType::AuthProvider, NAME)
            })?;
            if let Some(credential) = answer.credential(&image) {
                return Ok(Granted {
                    credential: credential.clone(),
                    good_until: answer.good_until,
                });
            }
        }
        tracing::debug!("no credential provider has credentials for {}", image.text);
        Ok(Granted { credential: Credential::Anonymous, good_until: None })
    }

    /// An answer that is good for an image. One that others waited for may turn out to be good for
    /// less than expected, and then it is asked for anew.
    async fn answer(
        &self,
        program: &ProgramConfig,
        kept: &KeptAnswers,
        image: &Image<'_>,
        by: Option<Instant>,
    ) -> Result<Arc<Answer>, ProgramFailure> {
        for covers in [kept.covers(), Covers::Image] {
            let key = Key::new(covers, image);
            let read = async {
                let answer = self.ask(program, image, by).await?;
                let is_less = answer.covers < covers;
                let good_until = answer.good_until.filter(|_| !is_less);
                Ok((Arc::new(answer), good_until))
            };
            let answer = kept.by_key.get(&key, read).await?;
            if let Some(good_until) = answer.good_until.filter(|_| answer.covers > covers) {
                let wider = Key::new(answer.covers, image);
                kept.by_key.keep(&wider, Arc::clone(&answer), answer.read_at, good_until);
            }
            kept.covers.store(answer.covers as u8, Ordering::Relaxed);
            if answer.is_for(image) {
                return Ok(answer);
            }
        }
        Err(ProgramFailure::new("its answers are for other images"))
    }

    async fn ask(
        &self,
        program: &ProgramConfig,
        image: &Image<'_>,
        by: Option<Instant>,
    ) -> Result<Answer, ProgramFailure> {
        let request = json!({
            "kind": "CredentialProviderRequest",
            "apiVersion": API_VERSION,
            "image": image.text,
        });
        let mut call = ProgramCall::new(program.name.clone(), request.to_string(), by);
        call.directory = Some(self.config.directory().to_owned());
        call.arguments.clone_from(&program.arguments);
        call.environment.clone_from(&program.environment);
        let read_at = Instant::now();
        let end = self.programs.run(call).await?;
        if !end.succeeded {
            return Err(ProgramFailure::new(format!("{} failed", program.name)));
        }
        let said = answer::read(&end.stdout)
            .map_err(|why| ProgramFailure::new(format!("{} wrote {why}", program.name)))?;
        let lifetime = said.lifetime.unwrap_or(program.default_lifetime).min(LONGEST);
        // Zero is "do not keep".
        let good_until = (!lifetime.is_zero()).then(|| Instant::now() + lifetime);
        Ok(said.about(image, read_at, good_until))
    }
}

impl AuthProvider for CredentialProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(self.find(asked))
    }

    /// What is kept for more than that host goes where it has credentials for it.
    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        for kept in &self.kept {
            kept.by_key.forget_those(before, |_, answer| answer.is_of(host));
        }
        true
    }
}

impl Default for KeptAnswers {
    fn default() -> Self {
        let covers = AtomicU8::new(Covers::Image as u8);
        Self { by_key: Kept::renewed_ahead(RENEWED_AHEAD), covers }
    }
}

impl KeptAnswers {
    fn covers(&self) -> Covers {
        let known = self.covers.load(Ordering::Relaxed);
        let all = [Covers::Image, Covers::Registry, Covers::Global];
        all.into_iter().find(|covers| *covers as u8 == known).unwrap_or(Covers::Image)
    }
}

impl Key {
    fn new(covers: Covers, image: &Image<'_>) -> Self {
        match covers {
            Covers::Image => Self::Image(image.text.clone()),
            Covers::Registry => Self::Registry(image.registry()),
            Covers::Global => Self::Global,
        }
    }
}

impl<'a> Image<'a> {
    fn of(asked: &Asked<'a>) -> Self {
        let Asked { host, repository, .. } = *asked;
        let mut image = Self { host, repository, text: String::new() };
        image.text = format!("{}/{repository}", image.registry());
        image
    }

    pub(super) fn registry(&self) -> String {
        registry_of(self.host)
    }
}

/// What the kubelet calls a host.
fn registry_of(host: &RegistryHost) -> String {
    if host.is_docker_hub() { "docker.io".into() } else { host.to_string() }
}
