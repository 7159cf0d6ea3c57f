//! AWS under its true names, addresses and ports, over TLS, in a network of the test's own: nothing
//! in the product knows of it.

use ratify_core::Reference;
use ratify_store_oras::{Client, Connections, TlsRoots, Transport};

use super::{
    HOST, Setup, guarded,
    judge::{POD, password},
    on_the_page,
};
use crate::{
    cloud::environment,
    fake::{Content, Fake, Seen, options},
    network::{self, ADDRESS, AGENT},
};

const NAMES: [&str; 3] = ["sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com", HOST];

/// Reads an image of a registry of ECR for who the variables say the pod is; and who was asked, by
/// host and path.
async fn read(setup: &Setup, variables: &[(&str, &str)]) -> Vec<String> {
    let (content, judge) = (Content::new(), setup.judge.clone());
    let answer = move |seen: &Seen| match seen.header("host") {
        Some(HOST) => guarded(&content, seen, &password(0), 403),
        _ => judge.answer(seen),
    };
    let (server, certificate) = Fake::start_tls_at(&format!("{ADDRESS}:443"), &NAMES, answer).await;
    let roots = setup.directory.path().join("roots.pem");
    std::fs::write(&roots, certificate).unwrap();
    let connections = Connections::new(TlsRoots { file: Some(roots), directories: Vec::new() });
    let environment = environment(variables.iter().copied());
    let mut options = options();
    options.transport = Transport::Https;
    options.auth =
        super::super::provider(&on_the_page("awsEcrBasic"), &environment, &connections).unwrap();
    options.connections = connections;
    let client = Client::new(options).unwrap();
    let reference = Reference::parse(&format!("{HOST}/app:1")).unwrap();
    client.resolve(&reference, None).await.unwrap();
    let line = |seen: &Seen| format!("{}{}", seen.header("host").unwrap(), seen.path);
    server.seen().iter().map(line).collect()
}

fn in_own_network<F: Future<Output = ()>>(test: &str, run: impl FnOnce() -> F) {
    if network::is_own(&format!("cloud::aws::network::{test}"), &NAMES) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run());
    }
}

#[test]
fn a_role_opens_a_registry_of_ecr() {
    in_own_network("a_role_opens_a_registry_of_ecr", || async {
        let setup = Setup::new().await;
        let file = setup.token_file().display().to_string();
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ROLE_ARN", super::ROLE),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
        ];
        insta::assert_snapshot!(read(&setup, &variables).await.join("\n"), @r"
        123456789012.dkr.ecr.us-east-1.amazonaws.com/v2/app/manifests/1
        sts.us-east-1.amazonaws.com/
        api.ecr.us-east-1.amazonaws.com/
        123456789012.dkr.ecr.us-east-1.amazonaws.com/v2/app/manifests/1
        ");
        assert_eq!(setup.judge.asked(), (1, 1));
    });
}

#[test]
fn pod_identity_opens_a_registry_of_ecr() {
    in_own_network("pod_identity_opens_a_registry_of_ecr", || async {
        let setup = Setup::new().await;
        let judge = setup.judge.clone();
        let agent = Fake::start_at(&format!("{AGENT}:80"), move |seen| judge.answer(seen)).await;
        let file = setup.token_file().display().to_string();
        let uri = format!("http://{AGENT}/v1/credentials");
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.as_str()),
        ];
        assert_eq!(read(&setup, &variables).await.len(), 3);
        assert_eq!(agent.lines(), ["GET /v1/credentials"]);
        assert_eq!((setup.judge.asked(), setup.judge.count(POD)), ((0, 1), 1));
    });
}
