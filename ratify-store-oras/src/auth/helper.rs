//! [`Helpers`]: docker's credential helpers, `docker-credential-<name> get`, which are fed the
//! registry and write its credentials as JSON.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ratify_core::{ComponentType, Error, ErrorCode};
use serde::Deserialize;

use super::{
    Asked, Credential, CredentialPrograms, ProgramCall, ProgramEnd, ProgramFailure, ProgramName,
    RegistryHost, Secret, kept::Kept,
};

/// How long an answer is good for: the same as what `k8Secrets` reads.
const LIFETIME: Duration = Duration::from_secs(60);
/// The key under which docker keeps what is for Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// What docker's own library of helpers writes where it has none.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user that stands for a refresh token.
const TOKEN_USER: &str = "<token>";

/// Asks helpers, each at most once in a while for a registry.
pub(super) struct Helpers {
    programs: Option<Arc<dyn CredentialPrograms>>,
    answers: Kept<(ProgramName, String), Option<Credential>, ProgramFailure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

impl Helpers {
    pub(super) fn new(programs: Option<Arc<dyn CredentialPrograms>>) -> Self {
        Self { programs, answers: Kept::renewed_ahead(Duration::ZERO) }
    }

    /// What the helper of that name has for a registry; `None` where it says that it has none.
    ///
    /// # Errors
    /// When it cannot be run, or fails otherwise.
    pub(super) async fn get(
        &self,
        helper: &str,
        asked: &Asked<'_>,
    ) -> Result<Option<Credential>, Error> {
        let program = ProgramName::parse(&format!("docker-credential-{helper}"));
        let program = program.map_err(failed)?;
        let host = fed(asked.host);
        let key = (program, host.to_owned());
        let read = async {
            let credential = self.ask(&key.0, host, asked.give_up_at).await?;
            Ok((credential, Some(Instant::now() + LIFETIME)))
        };
        self.answers.get(&key, read).await.map_err(failed)
    }

    /// Forgets what was said of a host.
    pub(super) fn forget(&self, host: &RegistryHost, before: Instant) {
        self.answers.forget_those(before, |(_, known), _| known == fed(host));
    }

    async fn ask(
        &self,
        program: &ProgramName,
        host: &str,
        by: Option<Instant>,
    ) -> Result<Option<Credential>, ProgramFailure> {
        let programs = self.programs.as_ref().ok_or_else(|| {
            ProgramFailure::new(format!("{program} is not run: no programs are run here"))
        })?;
        let mut call = ProgramCall::new(program.clone(), host.to_owned(), by);
        call.arguments = vec!["get".into()];
        read(&programs.run(call).await?, program)
    }
}

/// What a helper is fed for a host.
fn fed(host: &RegistryHost) -> &str {
    if host.is_docker_hub() { DOCKER_HUB } else { host.as_written() }
}

fn read(end: &ProgramEnd, program: &ProgramName) -> Result<Option<Credential>, ProgramFailure> {
    if !end.succeeded {
        return match end.stdout.trim_ascii() == NOT_FOUND.as_bytes() {
            true => Ok(None),
            false => Err(ProgramFailure::new(format!("{program} failed"))),
        };
    }
    let answer: Answer = serde_json::from_slice(&end.stdout).map_err(|error| {
        // serde_json may quote values; the position is enough to find it.
        let (line, column) = (error.line(), error.column());
        let why = format!("{program} wrote no credentials: line {line} column {column}");
        ProgramFailure::new(why)
    })?;
    let Answer { username, secret } = answer;
    Ok(match (username.as_str(), secret.as_str()) {
        (_, "") => None,
        (TOKEN_USER, token) => Some(Credential::RefreshToken(Secret::new(token))),
        _ => Some(Credential::Basic { username, password: Secret::new(secret) }),
    })
}

fn failed(why: ProgramFailure) -> Error {
    ErrorCode::AuthDenied
        .error()
        .with_detail("a credential helper of docker's configuration failed")
        .with_source(why)
        .from_component(ComponentType::AuthProvider, super::DEFAULT_PROVIDER)
}

impl fmt::Debug for Helpers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Helpers").field("runs", &self.programs.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(succeeded: bool, stdout: &str) -> Result<Option<Credential>, ProgramFailure> {
        let end = ProgramEnd { succeeded, stdout: stdout.to_owned().into() };
        read(&end, &ProgramName::parse("docker-credential-x").unwrap())
    }

    #[test]
    fn an_answer_is_user_and_password_or_a_refresh_token_or_none() {
        let basic = Credential::Basic { username: "u".into(), password: Secret::new("p") };
        let text = r#"{"ServerURL":"a.io","Username":"u","Secret":"p"}"#;
        assert_eq!(answer(true, text), Ok(Some(basic)));
        let token = Credential::RefreshToken(Secret::new("t"));
        assert_eq!(answer(true, r#"{"Username":"<token>","Secret":"t"}"#), Ok(Some(token)));
        assert_eq!(answer(true, r#"{"Username":"","Secret":""}"#), Ok(None));
        assert_eq!(answer(false, "credentials not found in native keychain\n"), Ok(None));
    }

    #[test]
    fn a_failure_says_nothing_that_the_helper_wrote() {
        for (succeeded, text) in [
            (false, "hunter2"),
            (true, "hunter2"),
            (true, r#"{"Username":"hunter2"}"#),
            (true, r#"{"Username":["hunter2"],"Secret":"hunter2"}"#),
            (true, ""),
        ] {
            let error = answer(succeeded, text).unwrap_err().to_string();
            assert!(error.starts_with("docker-credential-x "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
