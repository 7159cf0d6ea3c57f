//! The server whose settings count: `ratify serve` as it runs in this container, and the files that it
//! shows itself with. [`judge`] is pure.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    certificate::{Shown, day, in_pem},
    finding::{Finding, shown},
};
use crate::{cli::serve::Serve, gatekeeper::tls::pair};

const CERTIFICATE: &str = "serve.certificate";
const CLIENTS: &str = "serve.clients";
const TRUST: &str = "serve.trust";
/// More bytes are no certificate.
const MAX_BYTES: u64 = 1 << 20;
/// A certificate that ends sooner is to be renewed.
const SOON: i64 = 21;

/// The process that a container starts with.
const FIRST_PROCESS: &str = "/proc/1/cmdline";

/// The command line of the server in this container, where it is what the container runs.
pub(super) fn beside() -> Option<Serve> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(FIRST_PROCESS).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let line = String::from_utf8(bytes).ok()?;
    let line: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    let program = Path::new(line.first()?).file_name()?;
    (program == "ratify").then(|| crate::cli::serve_of(&line)).flatten()
}

/// What the server shows itself with.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: (PathBuf, Result<Vec<u8>, String>),
    pub(super) key: (PathBuf, Result<Vec<u8>, String>),
    /// The authorities of clients, where a file of them is named.
    pub(super) clients: Option<(PathBuf, Result<Vec<u8>, String>)>,
    /// Whether Ratify makes and renews them by itself.
    pub(super) is_rotated: bool,
}

/// What Gatekeeper trusts, and by which name it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trust {
    /// The Provider.
    pub(super) provider: String,
    pub(super) host: String,
    /// PEM.
    pub(super) bundle: Vec<u8>,
}

impl Files {
    /// Reads v1's names in a directory, and the file of the other flag; empty for none.
    pub(super) fn read(cert_dir: &str, ca_cert_file: &str, is_rotated: bool) -> Self {
        let read = |path: PathBuf| {
            let bytes = bounded(&path).map_err(|error| error.to_string());
            (path, bytes)
        };
        let directory = Path::new(cert_dir);
        Self {
            certificate: read(directory.join("tls.crt")),
            key: read(directory.join("tls.key")),
            clients: (!ca_cert_file.is_empty()).then(|| read(PathBuf::from(ca_cert_file))),
            is_rotated,
        }
    }
}

fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The server has no TLS at all.
pub(super) fn in_clear() -> Finding {
    Finding::failure(CERTIFICATE, "", "--cert-dir is not set: plain HTTP is served")
        .why("Gatekeeper asks over TLS alone, and whoever reaches the server may ask it")
        .fix("ratify serve --cert-dir DIR --ca-cert-file FILE")
}

/// What is to be said of them, by the name that the server is asked by, where that is known.
pub(super) fn judge(files: &Files, name: Option<&str>, now: Timestamp) -> Vec<Finding> {
    vec![certificate(files, name, now), clients(files)]
}

fn certificate(files: &Files, name: Option<&str>, now: Timestamp) -> Finding {
    let (path, bytes) = &files.certificate;
    let on = path.display().to_string();
    let away = "Gatekeeper cannot ask: every image is refused, or admitted unseen where failurePolicy is Ignore";
    let renew = match files.is_rotated {
        true => "Ratify renews it by itself: kubectl logs says why it did not".to_owned(),
        false => "give the chart another pair: provider.tls.crt, provider.tls.key; or let Ratify make them: featureFlags.RATIFY_CERT_ROTATION=true".to_owned(),
    };
    let (bytes, key) = match (bytes, &files.key.1) {
        (Ok(bytes), Ok(key)) => (bytes, key),
        (Err(why), _) => {
            return Finding::failure(CERTIFICATE, &on, shown(why)).why(away).fix(renew);
        }
        (_, Err(why)) => {
            let on = files.key.0.display().to_string();
            return Finding::failure(CERTIFICATE, &on, shown(why)).why(away).fix(renew);
        }
    };
    if let Err(error) = pair(bytes, key) {
        return Finding::failure(CERTIFICATE, &on, shown(&error.to_string())).why(away).fix(renew);
    }
    let Some(own) = in_pem(bytes).first().and_then(|own| Shown::read(own)) else {
        return Finding::failure(CERTIFICATE, &on, "it cannot be read").why(away).fix(renew);
    };
    let days = own.days_left(now);
    let until = day(own.not_after);
    if now < own.not_before {
        return Finding::failure(CERTIFICATE, &on, format!("it begins on {}", day(own.not_before)))
            .why(away)
            .fix("look at the clock of this machine: timedatectl");
    }
    if days < 0 {
        return Finding::failure(CERTIFICATE, &on, format!("it ended on {until}"))
            .why(away)
            .fix(renew);
    }
    if let Some(name) = name.filter(|name| !own.is_for(name)) {
        let seen = format!("it is for {}, and Gatekeeper asks {}", own.names(), shown(name));
        return Finding::failure(CERTIFICATE, &on, seen).why(away).fix(renew);
    }
    let seen = format!("key and certificate belong together, {days} days are left, until {until}");
    match days {
        days if days < SOON => {
            Finding::warning(CERTIFICATE, &on, seen).why(format!("after that {away}")).fix(renew)
        }
        _ => Finding::ok(CERTIFICATE, &on, seen),
    }
}

fn clients(files: &Files) -> Finding {
    let open = "whoever reaches the server may ask it about any image, with Ratify's credentials for registries";
    let fix = "name the authority of Gatekeeper's certificate: --ca-cert-file; the chart takes it from the Secret gatekeeper-webhook-server-cert";
    let Some((path, bytes)) = &files.clients else {
        return Finding::warning(CLIENTS, "", "no authority of clients is named")
            .why(open)
            .fix(fix);
    };
    let on = path.display().to_string();
    match bytes {
        Err(why) => Finding::warning(CLIENTS, &on, shown(why)).why(open).fix(fix),
        Ok(bytes) if in_pem(bytes).is_empty() => {
            Finding::failure(CLIENTS, &on, "there is no certificate in it")
                .why("nobody is let in: Gatekeeper's requests are refused")
                .fix(fix)
        }
        Ok(bytes) => {
            let of = in_pem(bytes).first().and_then(|one| Shown::read(one));
            let of = of.map(|one| one.subject).unwrap_or_default();
            Finding::ok(CLIENTS, &on, format!("clients are of {of}"))
        }
    }
}

/// Whether Gatekeeper takes the server's certificate.
pub(super) fn judge_trust(certificate: &[u8], trust: &Trust, now: Timestamp) -> Finding {
    let on = trust.provider.as_str();
    match is_trusted(certificate, trust, now) {
        Ok(()) => Finding::ok(TRUST, on, "its caBundle trusts the certificate of the server"),
        Err(why) => Finding::failure(TRUST, on, format!("its caBundle does not trust the certificate of the server: {}", shown(&why)))
            .why("each question ends with a TLS error, and each image with it")
            .fix(format!("kubectl patch provider {on} --type=merge -p \"{{\\\"spec\\\":{{\\\"caBundle\\\":\\\"$(base64 -w0 < ca.crt)\\\"}}}}\", with the authority of tls.crt; or let Ratify do it: featureFlags.RATIFY_CERT_ROTATION=true")),
    }
}

fn is_trusted(certificate: &[u8], trust: &Trust, now: Timestamp) -> Result<(), String> {
    let chain: Vec<CertificateDer<'static>> =
        in_pem(certificate).into_iter().map(CertificateDer::from).collect();
    let (own, others) = chain.split_first().ok_or("there is none")?;
    let mut roots = RootCertStore::empty();
    let bundle = in_pem(&trust.bundle).into_iter().map(CertificateDer::from);
    if roots.add_parsable_certificates(bundle).0 == 0 {
        return Err("it holds no certificate".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(trust.host.clone()).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let verified = verifier.verify_server_cert(own, others, &name, &[], time);
    verified.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
        KeyUsagePurpose,
    };

    use super::{super::finding::State, *};

    const NAME: &str = "ratify.gatekeeper-system";

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    /// The server's pair, good until so many days from now.
    fn pair_of(authority: &CertifiedIssuer<'static, KeyPair>, days: i64) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let start = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_before = start;
        let now = Timestamp::now().as_second()
            - Timestamp::from_second(1_577_836_800).unwrap().as_second();
        let until = Duration::from_secs(u64::try_from(now + days * 86_400 + 60).unwrap());
        parameters.not_after = start + until;
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn files(certificate: &str, key: &str, clients: Option<&str>) -> Files {
        let file = |text: &str| (PathBuf::from("file"), Ok(text.as_bytes().to_vec()));
        Files {
            certificate: file(certificate),
            key: file(key),
            clients: clients.map(file),
            is_rotated: false,
        }
    }

    #[test]
    fn each_fault_of_the_servers_files_is_a_finding_with_its_fix() {
        let authority = authority("ratify");
        let (good, key) = pair_of(&authority, 100);
        let (late, late_key) = pair_of(&authority, 3);
        let (ended, ended_key) = pair_of(&authority, -3);
        let clients = authority.pem();
        let table = [
            (files(&good, &key, Some(&clients)), NAME, State::Ok, State::Ok),
            (files(&good, &key, None), NAME, State::Ok, State::Warning),
            (files(&good, &key, Some("none")), "other.name", State::Failure, State::Failure),
            (files(&good, &late_key, Some(&clients)), NAME, State::Failure, State::Ok),
            (files(&late, &late_key, Some(&clients)), NAME, State::Warning, State::Ok),
            (files(&ended, &ended_key, Some(&clients)), NAME, State::Failure, State::Ok),
            (files("", &key, Some(&clients)), NAME, State::Failure, State::Ok),
        ];
        for (number, (files, name, certificate, clients)) in table.into_iter().enumerate() {
            let findings = judge(&files, Some(name), Timestamp::now());
            assert_eq!([findings[0].state, findings[1].state], [certificate, clients], "{number}");
            for finding in findings {
                assert_eq!(finding.fix.is_empty(), finding.state == State::Ok, "{finding:?}");
                assert!(!format!("{finding:?}").contains("PRIVATE KEY"), "{finding:?}");
            }
        }
    }

    #[test]
    fn a_bundle_of_another_authority_is_found() {
        let (own, other) = (authority("own"), authority("other"));
        let (certificate, _) = pair_of(&own, 100);
        let trust = |bundle: String, host: &str| Trust {
            provider: "ratify-provider".into(),
            host: host.into(),
            bundle: bundle.into_bytes(),
        };
        let state =
            |trust: &Trust| judge_trust(certificate.as_bytes(), trust, Timestamp::now()).state;
        assert_eq!(state(&trust(own.pem(), NAME)), State::Ok);
        assert_eq!(state(&trust(other.pem() + &own.pem(), NAME)), State::Ok);
        assert_eq!(state(&trust(other.pem(), NAME)), State::Failure);
        assert_eq!(state(&trust(own.pem(), "ratify.elsewhere")), State::Failure);
        assert_eq!(state(&trust(String::new(), NAME)), State::Failure);
    }
}
