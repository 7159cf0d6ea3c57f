//! Alibaba Cloud's provider against its token service and its registry, under their true names. The
//! servers make the signature anew, from what came over the wire, and refuse all that is not as
//! they want it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::Reference;
use ratify_store_oras::{
    AuthProvider, Client, Connections, Credential, CredentialUse, TlsRoots, Transport,
    auth::{Environment, RegistryHost},
};
use serde_json::json;

use super::{Lines, environment, form, granted, on_the_page, provider, query};
use crate::{
    fake::{Content, Fake, Reply, Seen, options},
    network,
};

const TOKEN_SERVICE: &str = "sts.aliyuncs.com";
const API: &str = "cr.cn-hangzhou.aliyuncs.com";
const REGISTRY: &str = "acme-registry.cn-hangzhou.cr.aliyuncs.com";
const INNER: &str = "registry-vpc.cn-hangzhou.aliyuncs.com";
const NAMES: [&str; 4] = [TOKEN_SERVICE, API, REGISTRY, INNER];
const ROLE: &str = "acs:ram::1:role/ratify";
const ISSUER: &str = "acs:ram::1:oidc-provider/ack";

/// What the servers know and count.
#[derive(Default)]
struct Cloud {
    token_file: PathBuf,
    /// The life that passwords are said to have, in seconds.
    life: AtomicU32,
    assumed: AtomicU32,
    logins: AtomicU32,
    /// Whether the server's clock is an hour ahead of the caller's.
    is_ahead: AtomicBool,
    /// Whether the keys that were given out are no more.
    has_revoked: AtomicBool,
    /// Whether no password is given out.
    is_closed: AtomicBool,
}

impl Cloud {
    fn answer(&self, content: &Content, seen: &Seen) -> Reply {
        match seen.header("host").unwrap() {
            TOKEN_SERVICE => self.token_service(seen),
            API => self.api(seen),
            REGISTRY | INNER => self.registry(content, seen),
            _ => Reply::error(400, "HOST"),
        }
    }

    fn token_service(&self, seen: &Seen) -> Reply {
        let (form, query) = (form(seen), query(seen));
        let token = std::fs::read_to_string(&self.token_file).unwrap();
        let expected = [
            ("DurationSeconds", "3600"),
            ("OIDCProviderArn", ISSUER),
            ("OIDCToken", token.trim()),
            ("RoleArn", ROLE),
            ("RoleSessionName", "ratify"),
        ];
        let named = ["Action", "Format", "Version"].map(|name| query.get(name).map(String::as_str));
        let is_right = seen.method == "POST"
            && seen.path.starts_with("/?")
            && form == map(expected)
            && named == [Some("AssumeRoleWithOIDC"), Some("JSON"), Some("2015-04-01")]
            && is_recent(&query["Timestamp"], 0);
        if !is_right {
            return refused(400, "AuthenticationFail.OIDCToken.Invalid");
        }
        self.has_revoked.store(false, Relaxed);
        let number = self.assumed.fetch_add(1, Relaxed) + 1;
        let body = json!({"RequestId": "r", "Credentials": {
            "AccessKeyId": format!("STS.KEY{number}"), "AccessKeySecret": format!("SIGNS-{number}"),
            "SecurityToken": format!("SESSION+/{number}"), "Expiration": "2020-01-01T00:00:00Z"}});
        Reply::ok(body.to_string())
    }

    fn api(&self, seen: &Seen) -> Reply {
        let number = self.assumed.load(Relaxed);
        let header = |name| seen.header(name).unwrap_or_default();
        let (key, secret) = (format!("STS.KEY{number}"), format!("SIGNS-{number}"));
        let is_right = seen.method == "POST"
            && seen.path.starts_with("/?")
            && seen.body.is_empty()
            && header("x-acs-action") == "GetAuthorizationToken"
            && header("x-acs-version") == "2018-12-01"
            && header("x-acs-accesskey-id") == key
            && header("x-acs-security-token") == format!("SESSION+/{number}")
            && header("x-acs-signature-nonce").len() == 32
            && header("authorization") == authorization(seen, &key, &secret);
        if !is_right {
            return refused(400, "SignatureDoesNotMatch");
        }
        if self.has_revoked.load(Relaxed) {
            return refused(403, "InvalidSecurityToken.Expired");
        }
        if self.is_closed.load(Relaxed) {
            return refused(403, "NoPermission");
        }
        if self.is_ahead.load(Relaxed) && !is_recent(header("x-acs-date"), 3600) {
            let now = jiff::Timestamp::now() + Duration::from_secs(3600);
            let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            return refused(400, "InvalidTimeStamp.Expired").with("date", &date);
        }
        let instance = &query(seen)["InstanceId"];
        let number = self.logins.fetch_add(1, Relaxed) + 1;
        let ahead = if self.is_ahead.load(Relaxed) { 3600 } else { 0 };
        let life = u64::from(self.life.load(Relaxed)) + ahead;
        let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let body = json!({"Code": "success", "IsSuccess": true, "RequestId": "r",
            "TempUsername": format!("cr_temp_user/{instance}"),
            "AuthorizationToken": format!("PASSWORD-{number}"), "ExpireTime": ends + 1000 * life});
        Reply::ok(body.to_string())
    }

    fn registry(&self, content: &Content, seen: &Seen) -> Reply {
        let number = self.logins.load(Relaxed);
        let instance = if seen.header("host") == Some(INNER) { "cri-default" } else { "cri-acme" };
        let login = format!("cr_temp_user/{instance}:PASSWORD-{number}");
        if seen.header("authorization") == Some(&format!("Basic {}", BASE64_STANDARD.encode(login)))
        {
            return content.answer(seen);
        }
        Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="acr""#)
    }

    fn counts(&self) -> (u32, u32) {
        (self.assumed.load(Relaxed), self.logins.load(Relaxed))
    }
}

/// The signature of a request that came in, by the specification of ACS3-HMAC-SHA256.
fn authorization(seen: &Seen, key: &str, secret: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let headers: BTreeMap<&str, &str> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .filter(|(name, _)| name.starts_with("x-acs-") || ["host", "content-type"].contains(name))
        .collect();
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let query: Vec<_> = query(seen).iter().map(|(name, value)| format!("{name}={value}")).collect();
    let canonical =
        format!("{}\n/\n{}\n{lines}\n{names}\n{}", seen.method, query.join("&"), hash(&seen.body));
    assert_eq!(headers["x-acs-content-sha256"], hash(&seen.body));
    let key_of_hmac = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let text = format!("ACS3-HMAC-SHA256\n{}", hash(canonical.as_bytes()));
    let signature = hex(hmac::sign(&key_of_hmac, text.as_bytes()).as_ref());
    format!("ACS3-HMAC-SHA256 Credential={key},SignedHeaders={names},Signature={signature}")
}

fn refused(status: u16, code: &str) -> Reply {
    let body = json!({"Code": code, "Message": "REMOTE TEXT", "RequestId": "r"});
    Reply { status, ..Reply::ok(body.to_string()) }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Whether a time is now by a clock that is so many seconds ahead.
fn is_recent(text: &str, ahead: i64) -> bool {
    let time: jiff::Timestamp = text.parse().unwrap();
    text.ends_with('Z')
        && text.len() == 20
        && (jiff::Timestamp::now().as_second() + ahead - time.as_second()).abs() < 30
}

/// The cloud, its servers, and how they are reached.
struct Servers {
    cloud: Arc<Cloud>,
    fake: Fake,
    connections: Connections,
    _directory: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, "the-service-account\n").unwrap();
        let life = AtomicU32::new(3600);
        let cloud = Arc::new(Cloud { token_file, life, ..Cloud::default() });
        let (known, content) = (cloud.clone(), Content::new());
        let answer = move |seen: &Seen| known.answer(&content, seen);
        let address = format!("{}:443", network::ADDRESS);
        let (fake, pem) = Fake::start_tls_at(&address, &NAMES, answer).await;
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let connections = Connections::new(TlsRoots { file: Some(file), directories: vec![] });
        Self { cloud, fake, connections, _directory: directory }
    }

    fn provider(&self) -> Arc<dyn AuthProvider> {
        let token_file = self.cloud.token_file.to_str().unwrap();
        let config = on_the_page("alibabacloudAcrBasic");
        provider(&config, &variables(token_file), &self.connections).unwrap()
    }

    fn client(&self, provider: Arc<dyn AuthProvider>) -> Client {
        let mut options = options();
        options.transport = Transport::Https;
        options.credential_use = CredentialUse::Required;
        options.auth = provider;
        options.connections = self.connections.clone();
        Client::new(options).unwrap()
    }
}

fn variables(token_file: &str) -> Environment {
    environment([
        ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", ISSUER),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token_file),
    ])
}

/// Runs a test in a network of its own, where the names are.
fn in_own_network<F: Future<Output = ()>>(test: &str, run: impl FnOnce() -> F) {
    if network::is_own(&format!("cloud::alibaba::{test}"), &NAMES) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run());
    }
}

#[test]
fn an_instance_is_opened_and_no_secret_is_told() {
    in_own_network("an_instance_is_opened_and_no_secret_is_told", || async {
        let (lines, _guard) = Lines::watch();
        let servers = Servers::start().await;
        let client = servers.client(servers.provider());
        for (host, logins) in [(REGISTRY, 1), (REGISTRY, 1), (INNER, 2)] {
            let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
            client.resolve(&reference, None).await.unwrap();
            assert_eq!(servers.cloud.counts(), (1, logins));
        }
        let text = lines.text();
        let expected = format!(
            "Alibaba Cloud ACR basic artifact={REGISTRY}/app:1, registry={REGISTRY}, \
             region=cn-hangzhou, instance=cri-acme"
        );
        assert!(text.contains(&expected), "{text}");
        let secrets = ["the-service-account", "SIGNS-1", "SESSION+/1", "PASSWORD-1", "PASSWORD-2"];
        lines.assert_silent_about(&secrets);
        lines.assert_silent_about(&["REMOTE TEXT", "Basic Y3"]);
    });
}

#[test]
fn a_thousand_at_once_make_one_login_and_another_host_none() {
    in_own_network("a_thousand_at_once_make_one_login_and_another_host_none", || async {
        let servers = Servers::start().await;
        let provider = servers.provider();
        let hosts = [REGISTRY, "registry.example.com"];
        let all = (0..1000).map(|index| granted(&*provider, hosts[index % 2]));
        for (index, result) in futures_util::future::join_all(all).await.into_iter().enumerate() {
            assert_eq!(result.is_ok(), index % 2 == 0);
        }
        assert_eq!((servers.cloud.counts(), servers.fake.seen().len()), ((1, 1), 2));
    });
}

#[test]
fn a_password_is_good_for_its_life_and_then_asked_for_anew() {
    in_own_network("a_password_is_good_for_its_life_and_then_asked_for_anew", || async {
        let servers = Servers::start().await;
        for (life, least, most) in [(3600, 3590, 3600), (1, 55, 60), (90_000, 43_190, 43_200)] {
            servers.cloud.life.store(life, Relaxed);
            let granted = granted(&*servers.provider(), REGISTRY).await.unwrap();
            let Credential::Basic { username, .. } = granted.credential else { panic!() };
            assert_eq!(username, "cr_temp_user/cri-acme");
            let life = granted.good_until.unwrap().duration_since(Instant::now()).as_secs();
            assert!((least..=most).contains(&life), "{life}");
        }
        let provider = servers.provider();
        granted(&*provider, REGISTRY).await.unwrap();
        let (assumed, logins) = servers.cloud.counts();
        assert!(provider.forget(&RegistryHost::parse(REGISTRY).unwrap(), Instant::now()));
        granted(&*provider, REGISTRY).await.unwrap();
        assert_eq!(servers.cloud.counts(), (assumed, logins + 1));
    });
}

#[test]
fn a_password_is_renewed_ahead_of_its_end_and_not_given_out_beyond_it() {
    in_own_network(
        "a_password_is_renewed_ahead_of_its_end_and_not_given_out_beyond_it",
        || async {
            let servers = Servers::start().await;
            // No password is given a shorter life than a minute.
            servers.cloud.life.store(1, Relaxed);
            let provider = servers.provider();
            let password = async || {
                granted(&*provider, REGISTRY).await.map(|granted| match granted.credential {
                    Credential::Basic { password, .. } => password.reveal().to_owned(),
                    other => panic!("{other:?}"),
                })
            };
            let asked =
                || servers.fake.seen().iter().filter(|s| s.header("host") == Some(API)).count();
            let begun = tokio::time::Instant::now();
            let at = |seconds| tokio::time::sleep_until(begun + Duration::from_secs(seconds));
            assert_eq!(password().await.unwrap(), "PASSWORD-1");
            servers.cloud.is_closed.store(true, Relaxed);
            at(20).await;
            assert_eq!((password().await.unwrap().as_str(), asked()), ("PASSWORD-1", 1));
            // In the last half of its life it is renewed, and used where that fails.
            at(34).await;
            assert_eq!((password().await.unwrap().as_str(), asked()), ("PASSWORD-1", 2));
            at(61).await;
            let refused = password().await.unwrap_err().to_string();
            assert!(refused.contains("403: NoPermission"), "{refused}");
            servers.cloud.is_closed.store(false, Relaxed);
            at(63).await;
            assert_eq!(password().await.unwrap(), "PASSWORD-2");
        },
    );
}

#[test]
fn a_clock_that_is_wrong_costs_one_more_request() {
    in_own_network("a_clock_that_is_wrong_costs_one_more_request", || async {
        let servers = Servers::start().await;
        servers.cloud.is_ahead.store(true, Relaxed);
        let granted = granted(&*servers.provider(), REGISTRY).await.unwrap();
        let life = granted.good_until.unwrap().duration_since(Instant::now()).as_secs();
        assert!((3590..=3600).contains(&life), "{life}");
        assert_eq!(servers.fake.seen().len(), 3);
    });
}

#[test]
fn a_token_file_may_appear_late_and_keys_may_be_revoked() {
    in_own_network("a_token_file_may_appear_late_and_keys_may_be_revoked", || async {
        let servers = Servers::start().await;
        let provider = servers.provider();
        let token_file = &servers.cloud.token_file;
        let said = |error: ratify_core::Error| {
            error.to_string().replace(&token_file.display().to_string(), "FILE")
        };
        std::fs::remove_file(token_file).unwrap();
        let late = granted(&*provider, REGISTRY).await.unwrap_err();
        assert!(servers.fake.seen().is_empty());
        std::fs::write(token_file, "the-late-one").unwrap();
        // A failure answers all who ask within a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        granted(&*provider, REGISTRY).await.unwrap();
        servers.cloud.has_revoked.store(true, Relaxed);
        provider.forget(&RegistryHost::parse(REGISTRY).unwrap(), Instant::now());
        let revoked = granted(&*provider, REGISTRY).await.unwrap_err();
        insta::assert_snapshot!(format!("{}\n{}", said(late), said(revoked)), @r"
        AUTH_DENIED: could not get ACR auth token for acme-registry.cn-hangzhou.cr.aliyuncs.com/app:1: failed to get credentials of the role: the token file FILE: No such file or directory (os error 2)
        AUTH_DENIED: could not get ACR auth token for acme-registry.cn-hangzhou.cr.aliyuncs.com/app:1: failed to get acr authorization token: https://cr.cn-hangzhou.aliyuncs.com/: response status code 403: InvalidSecurityToken.Expired
        ");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        granted(&*provider, REGISTRY).await.unwrap();
        assert_eq!(servers.cloud.counts(), (2, 2));
    });
}

#[tokio::test]
async fn what_is_missing_is_said_with_v1s_texts() {
    let text = async |config: serde_json::Value, variables: Environment, host: &str| {
        let provider = match provider(&config, &variables, &Connections::default()) {
            Ok(provider) => provider,
            Err(error) => return format!("new: {error}"),
        };
        granted(&*provider, host).await.unwrap_err().to_string()
    };
    let of_instances = |instances: serde_json::Value| json!({"name": "alibabacloudAcrBasic", "acrInstancesConfig": instances});
    let default = |id| json!({"name": "alibabacloudAcrBasic", "defaultInstanceId": id});
    let without = |name: &str| {
        let mut variables = variables("/nowhere");
        variables.lookup.remove(name);
        variables
    };
    let all = || without("");
    let of_environment = |name: &str, value: &str| {
        let mut variables = all();
        variables.lookup.insert(name.into(), value.into());
        variables
    };
    let one = json!([{"instanceName": "other", "instanceId": "cri-other"}]);
    let texts = [
        text(json!({"name": "alibabacloudAcrBasic"}), all(), REGISTRY).await,
        text(
            of_instances(json!([])),
            of_environment("ALIBABA_CLOUD_ACR_INSTANCE_ID", "cri-1"),
            "a",
        )
        .await,
        text(of_instances(one), all(), REGISTRY).await,
        text(of_instances(json!({})), all(), REGISTRY).await,
        text(of_instances(json!([{"instanceId": 1}])), all(), REGISTRY).await,
        text(default("cri/../x"), all(), REGISTRY).await,
        text(default("cri-1"), of_environment("ALIBABA_CLOUD_STS_REGION", "x.example.com/"), "a")
            .await,
        text(default("cri-1"), without("ALIBABA_CLOUD_ROLE_ARN"), REGISTRY).await,
        text(default("cri-1"), all(), "registry.cn-hangzhou.aliyuncs.com:8443").await,
        text(default("cri-1"), all(), "registry.hangzhou.aliyuncs.com").await,
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    new: ENV_NOT_SET: no instance ID provided and ALIBABA_CLOUD_ACR_INSTANCE_ID environment variable is empty
    ALIBABACLOUD_IMAGE_INVALID: could not get ACR auth token for a/app:1: Invalid Alibaba Cloud Registry image a which does not end with `aliyuncs.com`
    AUTH_DENIED: could not get ACR auth token for acme-registry.cn-hangzhou.cr.aliyuncs.com/app:1: no instance id found for the given artifact
    new: CONFIG_INVALID: failed to parse alibaba cloud auth provider configuration: acrInstancesConfig must be an array of objects: https://ratify.dev/docs/reference/oras-auth-provider
    new: CONFIG_INVALID: failed to parse alibaba cloud auth provider configuration: instanceId must be a string: https://ratify.dev/docs/reference/oras-auth-provider
    new: CONFIG_INVALID: "cri/../x" is no id of an instance
    new: CONFIG_INVALID: ALIBABA_CLOUD_STS_REGION is no region
    AUTH_DENIED: could not get ACR auth token for acme-registry.cn-hangzhou.cr.aliyuncs.com/app:1: required environment variables not set, ALIBABA_CLOUD_ROLE_ARN: , ALIBABA_CLOUD_OIDC_PROVIDER_ARN: acs:ram::1:oidc-provider/ack, ALIBABA_CLOUD_OIDC_TOKEN_FILE: /nowhere
    ALIBABACLOUD_IMAGE_INVALID: could not get ACR auth token for registry.cn-hangzhou.aliyuncs.com:8443/app:1: Invalid Alibaba Cloud Registry image registry.cn-hangzhou.aliyuncs.com:8443 which does not end with `aliyuncs.com`
    ALIBABACLOUD_IMAGE_INVALID: could not get ACR auth token for registry.hangzhou.aliyuncs.com/app:1: Invalid Alibaba Cloud Registry image format
    "#);
}
