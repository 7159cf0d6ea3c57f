//! STS, ECR and the agent of Pod Identity in one server. It computes each signature by itself and
//! notes what is wrong with a request.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::Algorithm;
use ratify_store_oras::digest_of;

use crate::fake::{Fake, Reply, Seen};

pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/ratify";
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

/// Another answer than the right one, where there is one.
pub(super) type Instead = fn(&Seen) -> Option<Reply>;

/// What the server knows and counts.
pub(super) struct Judge {
    /// The file that holds the token which must be brought.
    pub(super) token_file: PathBuf,
    /// How far this server's clock is ahead, in seconds.
    pub(super) ahead: AtomicI64,
    /// Keys below this number have expired.
    pub(super) first_valid: AtomicU32,
    /// For how many seconds passwords are good.
    pub(super) life: AtomicI64,
    pub(super) instead: Mutex<Option<Instead>>,
    pub(super) counts: [AtomicU32; 3],
    pub(super) wrong: Mutex<Vec<String>>,
}

pub(super) const STS: usize = 0;
pub(super) const ECR: usize = 1;
pub(super) const POD: usize = 2;

impl Judge {
    pub(super) fn new(token_file: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            token_file,
            ahead: AtomicI64::new(0),
            first_valid: AtomicU32::new(0),
            life: AtomicI64::new(12 * 3600),
            instead: Mutex::default(),
            counts: Default::default(),
            wrong: Mutex::default(),
        })
    }

    pub(super) async fn start(self: &Arc<Self>) -> Fake {
        let judge = self.clone();
        Fake::start(move |seen| judge.answer(seen)).await
    }

    pub(super) fn count(&self, which: usize) -> u32 {
        self.counts[which].load(Ordering::Relaxed)
    }

    /// How often STS and ECR were asked; nothing was wrong with any request.
    pub(super) fn asked(&self) -> (u32, u32) {
        assert_eq!(*self.wrong.lock().unwrap(), Vec::<String>::new());
        (self.count(STS), self.count(ECR))
    }

    pub(super) fn answer(&self, seen: &Seen) -> Reply {
        let which = match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/v1/credentials") => POD,
            _ if seen.header("x-amz-target").is_some() => ECR,
            _ => STS,
        };
        let number = self.counts[which].fetch_add(1, Ordering::Relaxed);
        let instead = *self.instead.lock().unwrap();
        if let Some(reply) = instead.and_then(|instead| instead(seen)) {
            return reply.with("date", &self.http_date());
        }
        let judged = match which {
            STS => self.sts(seen).map(|()| Reply::ok(keys_in_xml(number))),
            POD => self.pod(seen).map(|()| Reply::ok(keys_in_json(number))),
            _ => self.ecr(seen, number),
        };
        let reply = judged.unwrap_or_else(|why| {
            self.wrong.lock().unwrap().push(why);
            Reply::new(400)
        });
        reply.with("date", &self.http_date())
    }

    /// The form of AssumeRoleWithWebIdentity, exactly, with the token that is in the file now.
    fn sts(&self, seen: &Seen) -> Result<(), String> {
        expect("the request", "POST /", &format!("{} {}", seen.method, seen.path))?;
        let form = "application/x-www-form-urlencoded";
        expect("the type", form, seen.header("content-type").unwrap_or_default())?;
        expect("authorization", "", seen.header("authorization").unwrap_or_default())?;
        let pairs: BTreeMap<String, String> =
            url::form_urlencoded::parse(&seen.body).into_owned().collect();
        let expected: BTreeMap<String, String> = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", ROLE),
            ("RoleSessionName", "ratifyEcrBasicAuth"),
            ("WebIdentityToken", &self.token()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        expect("the form", &format!("{expected:?}"), &format!("{pairs:?}"))
    }

    fn pod(&self, seen: &Seen) -> Result<(), String> {
        let shown = seen.header("authorization").unwrap_or_default();
        expect("the agent's token", &self.token(), shown)
    }

    fn ecr(&self, seen: &Seen, number: u32) -> Result<Reply, String> {
        expect("the request", "POST /", &format!("{} {}", seen.method, seen.path))?;
        expect("the body", "{}", std::str::from_utf8(&seen.body).unwrap_or_default())?;
        expect("the target", TARGET, seen.header("x-amz-target").unwrap_or_default())?;
        let json = "application/x-amz-json-1.1";
        expect("the type", json, seen.header("content-type").unwrap_or_default())?;
        let key = self.check_signature(seen)?;
        let date = seen.header("x-amz-date").unwrap_or_default();
        if date[..13] != basic_date(self.now())[..13] {
            return Ok(refusal("InvalidSignatureException"));
        }
        if key < self.first_valid.load(Ordering::Relaxed) {
            return Ok(refusal("com.amazon.coral#ExpiredTokenException"));
        }
        let token = BASE64_STANDARD.encode(format!("AWS:{}", password(number)));
        let ends = self.now() + self.life.load(Ordering::Relaxed);
        let data = serde_json::json!([{"authorizationToken": token, "expiresAt": ends as f64 + 0.5,
            "proxyEndpoint": "https://123456789012.dkr.ecr.us-east-1.amazonaws.com"}]);
        Ok(Reply::ok(serde_json::json!({"authorizationData": data}).to_string()))
    }

    /// Recomputes the signature (Signature Version 4) and says with which keys it was made.
    fn check_signature(&self, seen: &Seen) -> Result<u32, String> {
        let header = |name: &str| seen.header(name).unwrap_or_default().trim();
        let text = header("authorization");
        let fields = text.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("it is not signed")?;
        let fields: BTreeMap<&str, &str> =
            fields.split(',').filter_map(|field| field.trim().split_once('=')).collect();
        let (id, scope) = fields["Credential"].split_once('/').ok_or("no scope")?;
        let number: u32 = id.trim_start_matches("ASIA").parse().map_err(|_| "an unknown key")?;
        expect("the session", &session(number), header("x-amz-security-token"))?;
        let names: Vec<&str> = fields["SignedHeaders"].split(';').collect();
        for must in ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
            if !names.contains(&must) {
                return Err(format!("{must} is not signed"));
            }
        }
        let headers: String =
            names.iter().map(|name| format!("{name}:{}\n", header(name))).collect();
        let body = digest_of(Algorithm::Sha256, &seen.body);
        let canonical =
            format!("{}\n/\n\n{headers}\n{}\n{}", seen.method, names.join(";"), body.hex());
        let date = header("x-amz-date");
        let expected_scope = format!("{}/us-east-1/ecr/aws4_request", &date[..8]);
        expect("the scope", &expected_scope, scope)?;
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let first = format!("AWS4{}", secret(number)).into_bytes();
        let key = scope.split('/').fold(first, |key, part| mac(&key, part));
        expect("the signature", &hex(&mac(&key, &to_sign)), fields["Signature"])?;
        Ok(number)
    }

    fn token(&self) -> String {
        std::fs::read_to_string(&self.token_file).unwrap().trim().to_owned()
    }

    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() + self.ahead.load(Ordering::Relaxed)
    }

    fn http_date(&self) -> String {
        let basic = basic_date(self.now());
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = basic[4..6].parse::<usize>().unwrap() - 1;
        format!(
            "Thu, {} {} {} {}:{}:{} GMT",
            &basic[6..8],
            &months[month * 3..][..3],
            &basic[..4],
            &basic[9..11],
            &basic[11..13],
            &basic[13..15]
        )
    }
}

/// What is used as `n`th password, secret key, and session.
pub(super) fn password(number: u32) -> String {
    format!("pass:word-{number}-hunter2")
}

fn secret(number: u32) -> String {
    format!("secret/{number}+hunter2")
}

fn session(number: u32) -> String {
    format!("session/{number}+hunter2==")
}

pub(super) fn refusal(code: &str) -> Reply {
    let body = format!(r#"{{"__type":"{code}","message":"REMOTE TEXT"}}"#);
    Reply { status: 400, ..Reply::ok(body) }
}

fn keys_in_xml(number: u32) -> String {
    format!(
        r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/ratify/x</Arn></AssumedRoleUser>
    <Credentials>
      <SessionToken>{}</SessionToken>
      <SecretAccessKey>{}</SecretAccessKey>
      <Expiration>2099-01-01T00:00:00Z</Expiration>
      <AccessKeyId>ASIA{number}</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"#,
        session(number),
        secret(number)
    )
}

fn keys_in_json(number: u32) -> String {
    serde_json::json!({"AccessKeyId": format!("ASIA{number}"), "SecretAccessKey": secret(number),
        "Token": session(number), "AccountId": "123456789012",
        "Expiration": "2099-01-01T00:00:00Z"})
    .to_string()
}

fn expect(what: &str, expected: &str, found: &str) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what} is {found:?} and not {expected:?}"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20300131T235959Z`, counted day by day.
fn basic_date(seconds: i64) -> String {
    let mut days = seconds / 86400;
    let of_day = seconds % 86400;
    let mut year = 1970;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

/// How long something is still good, in seconds.
pub(super) fn life(granted: &ratify_store_oras::Granted) -> u64 {
    let left = granted.good_until.unwrap().duration_since(std::time::Instant::now());
    (left + Duration::from_millis(500)).as_secs()
}
