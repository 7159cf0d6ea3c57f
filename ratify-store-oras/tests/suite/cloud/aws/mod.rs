//! The provider `awsEcrBasic`: who the pod is, what is signed, how often who is asked, and which
//! hosts are shown a password.

mod foreign;
mod judge;
mod network;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::{BoxFuture, Result};
use ratify_store_oras::{
    AuthProvider, Client, Connections, Credential, Granted,
    auth::{self, Asked, Environment, RegistryHost},
};

use self::judge::{ECR, Instead, Judge, POD, ROLE, STS, life, password, refusal};
use super::{Lines, granted, on_the_page};
use crate::fake::{Content, Fake, Reply, Seen, options};

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A judge, its server, and a provider that knows where they are.
struct Setup {
    judge: Arc<Judge>,
    server: Fake,
    directory: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, "jwt-1-hunter2\n").unwrap();
        let judge = Judge::new(token_file);
        let server = judge.start().await;
        Self { judge, server, directory }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.server.registry())
    }

    fn token_file(&self) -> &Path {
        &self.judge.token_file
    }

    fn irsa(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ROLE_ARN", ROLE.into()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", self.token_file().display().to_string()),
            ("AWS_ENDPOINT_URL", self.url()),
        ]
    }

    fn pod(&self) -> Vec<(&'static str, String)> {
        let file = self.token_file().display().to_string();
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}v1/credentials", self.url())),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
            ("AWS_ENDPOINT_URL_ECR", self.url()),
        ]
    }

    /// Answers something else from now on.
    fn instead(&self, reply: Instead) {
        *self.judge.instead.lock().unwrap() = Some(reply);
    }
}

fn provider(variables: &[(&str, String)]) -> Arc<dyn AuthProvider> {
    let lookup: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert!(lookup.keys().all(|name| auth::VARIABLES.contains(&name.as_str())));
    let environment = Environment { lookup, ..Environment::default() };
    let config = serde_json::json!({"name": "awsEcrBasic"});
    super::provider(&config, &environment, &Connections::default()).unwrap()
}

async fn found(provider: &dyn AuthProvider) -> String {
    match granted(provider, HOST).await.map(|granted| granted.credential) {
        Ok(Credential::Basic { username, password }) => {
            format!("{username} {}", password.reveal())
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(1100);

fn forget(provider: &dyn AuthProvider) {
    assert!(provider.forget(&RegistryHost::parse(HOST).unwrap(), Instant::now()));
}

/// Asks for the registry of ECR whatever registry is asked for, which is on loopback here.
struct AsEcr(Arc<dyn AuthProvider>);

impl AuthProvider for AsEcr {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn credential<'a>(&'a self, _: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(granted(&*self.0, HOST))
    }

    fn forget(&self, _: &RegistryHost, before: Instant) -> bool {
        self.0.forget(&RegistryHost::parse(HOST).unwrap(), before)
    }
}

/// A registry that takes the password of one number, and answers others with a status.
async fn registry(number: Arc<AtomicU32>, refusal: u16) -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| {
        guarded(&content, seen, &password(number.load(Ordering::Relaxed)), refusal)
    })
    .await
}

/// What a registry with a password answers; `refusal` is the status for wrong ones.
fn guarded(content: &Content, seen: &Seen, password: &str, refusal: u16) -> Reply {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("AWS:{password}")));
    match seen.header("authorization") {
        Some(shown) if shown == expected => content.answer(seen),
        Some(_) => Reply::error(refusal, "DENIED").with("www-authenticate", "Basic"),
        None => Reply::new(401).with("www-authenticate", r#"Basic realm="ecr""#),
    }
}

#[tokio::test]
async fn a_thousand_questions_at_once_make_one_request_of_each_service() {
    let setup = Setup::new().await;
    let registry = registry(Arc::default(), 401).await;
    let mut options = options();
    options.auth = Arc::new(AsEcr(provider(&setup.irsa())));
    let client = Client::new(options).unwrap();
    // Of as many repositories: each asks the provider for itself.
    let references: Vec<_> =
        (0..1000).map(|number| registry.reference(&format!("app{number}:1"))).collect();
    let all = references.iter().map(|reference| client.resolve(reference, None));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(setup.judge.asked(), (1, 1));
}

#[tokio::test]
async fn a_password_that_is_refused_is_dropped_and_asked_for_once_more() {
    for refusal in [401, 403] {
        let setup = Setup::new().await;
        let number = Arc::new(AtomicU32::new(0));
        let registry = registry(number.clone(), refusal).await;
        let mut options = options();
        options.auth = Arc::new(AsEcr(provider(&setup.irsa())));
        let client = Client::new(options).unwrap();
        let reference = registry.reference("app:1");
        client.resolve(&reference, None).await.unwrap();
        // What was got just now would not be asked for again.
        tokio::time::sleep(PAUSE).await;
        number.store(1, Ordering::Relaxed);
        client.resolve(&reference, None).await.unwrap();
        assert_eq!(setup.judge.asked(), (1, 2), "{refusal}");
        assert_eq!(registry.seen().len(), 4, "{refusal}: {:?}", registry.lines());
        tokio::time::sleep(PAUSE).await;
        number.store(100, Ordering::Relaxed);
        client.resolve(&reference, None).await.unwrap_err();
        assert_eq!(setup.judge.asked(), (1, 3), "{refusal}");
        assert_eq!(registry.seen().len(), 6, "{refusal}: {:?}", registry.lines());
    }
}

#[tokio::test]
async fn keys_that_have_expired_are_replaced_with_the_token_that_is_in_the_file_then() {
    let setup = Setup::new().await;
    for (variables, service) in [(setup.irsa(), STS), (setup.pod(), POD)] {
        let before = setup.judge.count(service);
        std::fs::write(setup.token_file(), "jwt-1-hunter2\n").unwrap();
        setup.judge.first_valid.store(0, Ordering::Relaxed);
        let provider = provider(&variables);
        assert!(found(&*provider).await.starts_with("AWS pass:word-"));
        std::fs::write(setup.token_file(), " jwt-2-hunter2 \r\n").unwrap();
        forget(&*provider);
        assert!(found(&*provider).await.starts_with("AWS pass:word-"), "its keys are still good");
        assert_eq!(setup.judge.count(service) - before, 1);
        setup.judge.first_valid.store(setup.judge.count(service), Ordering::Relaxed);
        forget(&*provider);
        assert!(found(&*provider).await.starts_with("AWS pass:word-"));
        assert_eq!(setup.judge.count(service) - before, 2);
        assert_eq!(setup.judge.asked().0, setup.judge.count(STS));
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_mended_once_and_a_life_is_never_too_short_or_too_long() {
    let setup = Setup::new().await;
    let provider = provider(&setup.irsa());
    for (ahead, says, lives, asked) in [
        (0, 3600, 3600, 1),
        (0, -3600, 60, 1),
        (0, 90 * 3600, 12 * 3600, 1),
        (7200, 3600, 3600, 2),
        (-7200, 3600, 3600, 2),
    ] {
        setup.judge.ahead.store(ahead, Ordering::Relaxed);
        setup.judge.life.store(says, Ordering::Relaxed);
        forget(&*provider);
        let before = setup.judge.count(ECR);
        let granted = granted(&*provider, HOST).await.unwrap();
        assert!((lives - 2..=lives + 1).contains(&life(&granted)), "{}", life(&granted));
        assert_eq!(setup.judge.asked(), (1, before + asked), "{ahead} {says}");
    }
}

#[tokio::test]
async fn hosts_that_are_no_registries_of_ecr_make_no_request_at_all() {
    let setup = Setup::new().await;
    let provider = provider(&setup.irsa());
    let mut refused = Vec::new();
    for host in [
        "a.b.c.us-east-1.example.com.evil",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com",
        "123456789012.dkr.ecr.us-east-1.example.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com:5000",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com:80",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn",
        "123456789012.dkr.ecr.us-east-1.amazonaws.co",
        "123456789012.dkr.ecr.us-east-1.xamazonaws.com",
        "123456789012.dkr.ecr.us-east-1x.amazonaws.com",
        "123456789012.dkr.ecr.amazonaws.com",
        "123456789012.dkr.ecr..amazonaws.com",
        "x.123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "12345678901.dkr.ecr.us-east-1.amazonaws.com",
        "12345678901a.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecs.us-east-1.amazonaws.com",
        "123456789012.dkr-ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr-fips-x.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.",
        "user@123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "public.ecr.aws",
        "registry.example.com",
        "127.0.0.1:5000",
        "[::1]:5000",
    ] {
        let Ok(parsed) = RegistryHost::parse(host) else { continue };
        let asked = Asked { host: &parsed, repository: "app", artifact: host, give_up_at: None };
        let error = provider.credential(&asked).await.unwrap_err().to_string();
        assert!(
            error.starts_with("HOST_NAME_INVALID: could not get ECR auth token for "),
            "{host}"
        );
        refused.push(error);
    }
    assert_eq!(setup.judge.asked(), (0, 0));
    assert_eq!(refused.len(), 20);
    insta::assert_snapshot!(refused[0], @"HOST_NAME_INVALID: could not get ECR auth token for a.b.c.us-east-1.example.com.evil: failed to get region from image: a.b.c.us-east-1.example.com.evil is no registry of ECR");
    granted(&*provider, "123456789012.DKR.ECR.us-east-1.amazonaws.com:443").await.unwrap();
    assert_eq!(setup.judge.asked(), (1, 1));
}

#[tokio::test]
async fn without_an_identity_v1s_text_says_which_variables_are_missing() {
    let setup = Setup::new().await;
    let mut texts = Vec::new();
    for missing in ["AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let mut variables = setup.irsa();
        variables[2].1 = "/token".into();
        variables.iter_mut().filter(|(name, _)| *name == missing).for_each(|pair| pair.1.clear());
        texts.push(found(&*provider(&variables)).await);
    }
    assert_eq!(setup.judge.asked(), (0, 0));
    insta::assert_snapshot!(texts.join("\n"), @"
    ENV_NOT_SET: could not get ECR auth token for 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1: required environment variables not set, AWS_REGION: , AWS_ROLE_ARN: arn:aws:iam::123456789012:role/ratify, AWS_WEB_IDENTITY_TOKEN_FILE: /token
    ENV_NOT_SET: could not get ECR auth token for 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1: required environment variables not set, AWS_REGION: us-east-1, AWS_ROLE_ARN: , AWS_WEB_IDENTITY_TOKEN_FILE: /token
    ENV_NOT_SET: could not get ECR auth token for 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1: required environment variables not set, AWS_REGION: us-east-1, AWS_ROLE_ARN: arn:aws:iam::123456789012:role/ratify, AWS_WEB_IDENTITY_TOKEN_FILE: 
    ");
}

#[tokio::test]
async fn v1s_override_is_for_its_region_alone_and_comes_first() {
    let (setup, by_override) = (Setup::new().await, Setup::new().await);
    for (region, expected) in [("us-east-1", (0, 1)), ("eu-west-1", (1, 0)), ("", (1, 0))] {
        let before = (setup.judge.count(ECR), by_override.judge.count(ECR));
        let mut variables = setup.irsa();
        variables.push(("AWS_API_OVERRIDE_REGION", region.into()));
        variables.push(("AWS_API_OVERRIDE_PARTITION", "aws".into()));
        variables.push(("AWS_API_OVERRIDE_ENDPOINT", by_override.url()));
        assert!(found(&*provider(&variables)).await.starts_with("AWS "));
        let after = (setup.judge.count(ECR), by_override.judge.count(ECR));
        assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{region}");
    }
    assert_eq!(by_override.judge.asked(), (0, 1));
}

#[tokio::test]
async fn the_page_shows_a_configuration_that_works() {
    let setup = Setup::new().await;
    let config = on_the_page("awsEcrBasic");
    let lookup = setup.irsa().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let environment = Environment { lookup, ..Environment::default() };
    let provider = super::provider(&config, &environment, &Connections::default()).unwrap();
    assert_eq!(found(&*provider).await, format!("AWS {}", password(0)));
    let team = environment.for_namespace("team");
    let refused = super::provider(&config, &team, &Connections::default()).err().unwrap();
    assert!(refused.to_string().contains("a namespace may not use awsEcrBasic"), "{refused}");
}

#[tokio::test]
async fn a_token_file_may_come_late() {
    let setup = Setup::new().await;
    std::fs::remove_file(setup.token_file()).unwrap();
    let provider = provider(&setup.irsa());
    let error = found(&*provider).await;
    assert!(error.contains("/token: No such file or directory"), "{error}");
    std::fs::write(setup.token_file(), "jwt-late-hunter2").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(found(&*provider).await, format!("AWS {}", password(0)));
    assert_eq!(setup.judge.asked(), (1, 1));
}

#[tokio::test]
async fn what_services_say_wrong_is_told_by_its_code_and_never_more() {
    let mut texts = Vec::new();
    let cases: [(usize, Instead); 11] = [
        (STS, |_| {
            let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                <Message>REMOTE TEXT</Message></Error></ErrorResponse>";
            Some(Reply { status: 403, ..Reply::ok(body) })
        }),
        (STS, |_| Some(Reply { status: 400, ..Reply::ok("<Code>REMOTE TEXT</Code>") })),
        (STS, |_| Some(Reply::ok("REMOTE TEXT"))),
        (STS, |_| Some(Reply::ok("x".repeat(200_000)))),
        (STS, |_| Some(Reply::new(307).with("location", "/elsewhere"))),
        (ECR, |seen| is_ecr(seen).then(|| refusal("AccessDeniedException"))),
        (ECR, |seen| is_ecr(seen).then(|| refusal("REMOTE TEXT"))),
        (ECR, |seen| is_ecr(seen).then(|| refusal("ExpiredTokenException"))),
        (ECR, |seen| is_ecr(seen).then(|| Reply::ok("REMOTE TEXT"))),
        (ECR, |seen| is_ecr(seen).then(|| Reply::ok(r#"{"authorizationData":[]}"#))),
        (ECR, |seen| {
            is_ecr(seen).then(|| Reply::ok(
            r#"{"authorizationData":[{"authorizationToken":"aHVudGVyMg==","expiresAt":1}]}"#,
        ))
        }),
    ];
    for (service, reply) in cases {
        let setup = Setup::new().await;
        setup.instead(reply);
        let text = found(&*provider(&setup.irsa())).await;
        assert!(setup.judge.count(service) > 0 && setup.server.lines().len() < 6);
        assert!(setup.server.lines().iter().all(|line| !line.contains("elsewhere")));
        texts.push(text.replace(&setup.server.registry(), "HOST").replace(HOST, "ECR"));
    }
    insta::assert_snapshot!(texts.join("\n"), @"
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 403: AccessDenied
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 400: Bad Request
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: its answer has no keys
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: its answer is longer than 128 KiB
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 307: Temporary Redirect
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 400: AccessDeniedException
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 400: Bad Request
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: response status code 400: ExpiredTokenException
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: its answer is none of GetAuthorizationToken
    AUTH_DENIED: could not get ECR auth token for ECR/app:1: could not retrieve ECR auth token collection: http://HOST/: its answer has no token
    AUTH_DENIED: could not retrieve ECR credentials for ECR/app:1: could not decode ECR auth token: http://HOST/: its token is not the base64 of a password
    ");
}

fn is_ecr(seen: &Seen) -> bool {
    seen.header("x-amz-target").is_some()
}

#[tokio::test]
async fn a_service_that_stumbles_is_asked_again_and_one_that_lies_down_is_not_for_ever() {
    let setup = Setup::new().await;
    setup.instead(|seen| is_ecr(seen).then(|| Reply::new(503)));
    let text = found(&*provider(&setup.irsa())).await;
    assert!(text.ends_with("response status code 503: Service Unavailable"), "{text}");
    assert_eq!((setup.judge.count(STS), setup.judge.count(ECR)), (1, 3));
}

#[tokio::test]
async fn endpoints_that_could_be_read_on_the_way_are_not_asked() {
    let setup = Setup::new().await;
    for (name, value) in [
        ("AWS_ENDPOINT_URL_STS", "http://sts.example.com/"),
        ("AWS_ENDPOINT_URL_STS", "ftp://127.0.0.1/"),
        ("AWS_ENDPOINT_URL_STS", "nothing"),
        ("AWS_ENDPOINT_URL_ECR", "http://169.254.169.253/"),
        ("AWS_REGION", "us-east-1.example.com/"),
    ] {
        let mut variables = setup.irsa();
        variables.retain(|(known, _)| *known != "AWS_ENDPOINT_URL" || name != "AWS_REGION");
        variables.push((name, value.to_owned()));
        let text = found(&*provider(&variables)).await;
        assert!(text.starts_with("AUTH_DENIED: could not get ECR auth token for "), "{text}");
    }
    let mut pod = setup.pod();
    pod[0].1 = "http://169.254.170.3/v1/credentials".into();
    let text = found(&*provider(&pod)).await;
    assert!(text.contains("plain HTTP is for this machine"), "{text}");
    assert_eq!(setup.judge.count(ECR), 0);
}

#[tokio::test]
async fn no_line_of_the_log_holds_a_secret() {
    let (log, _guard) = Lines::watch();
    let setup = Setup::new().await;
    let by_pod = provider(&setup.pod());
    found(&*by_pod).await;
    let registry = registry(Arc::new(AtomicU32::new(1)), 401).await;
    let mut options = options();
    let irsa = provider(&setup.irsa());
    options.auth = Arc::new(AsEcr(irsa.clone()));
    let client = Client::new(options).unwrap();
    client.resolve(&registry.reference("app:1"), None).await.unwrap();
    let granted = granted(&*irsa, HOST).await.unwrap();
    setup.instead(|_| Some(Reply { status: 403, ..Reply::ok("hunter2") }));
    forget(&*by_pod);
    let failure = found(&*by_pod).await;
    let mut variables = setup.irsa();
    variables[2].1 = setup.directory.path().join("nothing").display().to_string();
    let missing = found(&*provider(&variables)).await;
    let text = format!("{}{granted:?}{failure}{missing}", log.text());
    assert!(text.contains("AWS ECR basic artifact="), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let coded = BASE64_STANDARD.encode(format!("AWS:{}", password(1)));
    assert!(!text.contains(&coded[..12]), "{text}");
}
