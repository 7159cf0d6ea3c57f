//! AWS's own program for the kubelet, run by the provider `credentialProvider`, against the judge.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use ratify_store_oras::auth::{
    CredentialPrograms, CredentialProviders, ProgramCall, ProgramEnd, ProgramFailure,
};
use serde_json::json;

use super::*;
use crate::real::tool;

const NAME: &str = "ecr-credential-provider";

/// Runs the programs that it is told to, in an environment of nothing but what they are given.
struct Real;

impl CredentialPrograms for Real {
    fn run(&self, call: ProgramCall) -> BoxFuture<'_, Result<ProgramEnd, ProgramFailure>> {
        Box::pin(async {
            let ran = tokio::task::spawn_blocking(move || run(&call)).await.unwrap();
            ran.map_err(|error| ProgramFailure::new(error.to_string()))
        })
    }
}

fn run(call: &ProgramCall) -> std::io::Result<ProgramEnd> {
    let mut command = Command::new(call.directory.as_ref().unwrap().join(call.name.as_str()));
    command.args(&call.arguments).env_clear().envs(call.environment.iter().cloned());
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    process.stdin.take().unwrap().write_all(&call.stdin)?;
    let ended = process.wait_with_output()?;
    Ok(ProgramEnd { succeeded: ended.status.success(), stdout: ended.stdout.into() })
}

/// The program with these variables.
fn by_program(variables: &[(&str, String)]) -> Option<Arc<dyn AuthProvider>> {
    let program = tool(NAME)?;
    let env = variables.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let document = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": [{
            "name": NAME, "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "matchImages": ["*.dkr.ecr.*.amazonaws.com"], "defaultCacheDuration": "1m",
            "env": env.collect::<Vec<_>>(),
        }],
    });
    let config = CredentialProviders::new(document, program.parent().unwrap()).unwrap();
    let environment = Environment {
        programs: Some(Arc::new(Real)),
        credential_providers: Some(Ok(Arc::new(config))),
        ..Environment::default()
    };
    let config = json!({"name": "credentialProvider"});
    Some(super::super::provider(&config, &environment, &Connections::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_that_aws_ships_gets_its_passwords_for_either_identity() {
    let setup = Setup::new().await;
    // It sends the line break along that a file ends with.
    std::fs::write(setup.token_file(), "jwt-1-hunter2").unwrap();
    let mut irsa = setup.irsa();
    irsa.push(("AWS_ROLE_SESSION_NAME", "ratifyEcrBasicAuth".into()));
    irsa.extend([("AWS_ENDPOINT_URL_STS", setup.url()), ("AWS_ENDPOINT_URL_ECR", setup.url())]);
    let (Some(irsa), Some(pod)) = (by_program(&irsa), by_program(&setup.pod())) else { return };
    assert_eq!(found(&*irsa).await, format!("AWS {}", password(0)));
    assert_eq!(setup.judge.asked(), (1, 1));
    // Kept for as long as the program says, or until it is refused.
    assert_eq!(found(&*irsa).await, format!("AWS {}", password(0)));
    assert_eq!(setup.judge.asked(), (1, 1));
    forget(&*irsa);
    assert_eq!(found(&*irsa).await, format!("AWS {}", password(1)));
    assert_eq!(found(&*pod).await, format!("AWS {}", password(2)));
    assert_eq!((setup.judge.asked(), setup.judge.count(POD)), ((2, 3), 1));
    let registry = registry(Arc::new(AtomicU32::new(2)), 401).await;
    let mut options = options();
    options.auth = Arc::new(AsEcr(pod));
    let client = Client::new(options).unwrap();
    client.resolve(&registry.reference("app:1"), None).await.unwrap();
    setup.instead(|_| Some(refusal("AccessDeniedException")));
    forget(&*irsa);
    let refused = found(&*irsa).await;
    assert!(refused.ends_with("ecr-credential-provider failed"), "{refused}");
}
