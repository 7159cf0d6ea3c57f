//! The steps below HTTP: addresses, a connection, and a TLS handshake that goes on whatever the
//! certificate is, so that it can be told what is wrong with it. Nothing is sent over it.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ratify_core::capped_line;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use url::{Host, Url};

use super::Step;
use crate::{AddressRules, tls::AnyCertificate, transport::looks_like_plain_http};

/// More certificates are no chain.
const MAX_CHAIN: usize = 16;

/// What a handshake shows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The certificates that the server sent, its own first, in DER.
    pub chain: Vec<Vec<u8>>,
    /// What is thought of them by the roots and the authorities that count here.
    pub verdict: TlsVerdict,
}

/// What is thought of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVerdict {
    /// It is trusted.
    Trusted,
    /// Nobody looks: the host is this machine, and no `hosts.toml` names its authority.
    Unchecked,
    /// It was good until a time that is past.
    Expired,
    /// It is good from a time on that is to come.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// Nobody who is trusted issued it.
    UnknownIssuer,
    /// Anything else.
    Other(String),
}

/// A configuration that takes any certificate, and who remembers what was taken.
pub(crate) struct Recording {
    pub(crate) config: ClientConfig,
    pub(crate) recorder: Arc<Recorder>,
}

/// Says yes to any certificate, and remembers what would have been said.
pub(crate) struct Recorder {
    any: AnyCertificate,
    /// `None` where nobody looks.
    judge: Option<Judge>,
    seen: Mutex<Option<TlsFacts>>,
}

enum Judge {
    Roots(Arc<WebPkiServerVerifier>),
    /// There is no root at all.
    Nobody,
}

impl TlsVerdict {
    /// Whether a connection is used.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Trusted | Self::Unchecked)
    }

    fn of(judged: &Result<ServerCertVerified, Error>) -> Self {
        let error = match judged {
            Ok(_) => return Self::Trusted,
            Err(Error::InvalidCertificate(error)) => error,
            Err(other) => return Self::Other(capped_line(&other.to_string(), 200)),
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            other => Self::Other(capped_line(&other.to_string(), 200)),
        }
    }
}

impl Recorder {
    /// Judges by these roots; by none at all where `None`.
    pub(crate) fn new(roots: Option<RootCertStore>) -> Self {
        let any = AnyCertificate::new();
        let judge = roots.map(|roots| {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), any.provider());
            builder.build().map_or(Judge::Nobody, Judge::Roots)
        });
        Self { any, judge, seen: Mutex::default() }
    }

    fn seen(&self) -> Option<TlsFacts> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.judge {
            None => TlsVerdict::Unchecked,
            Some(Judge::Nobody) => TlsVerdict::UnknownIssuer,
            Some(Judge::Roots(roots)) => {
                TlsVerdict::of(&roots.verify_server_cert(own, others, name, ocsp, now))
            }
        };
        let chain = std::iter::once(own).chain(others).take(MAX_CHAIN);
        let chain = chain.map(|certificate| certificate.to_vec()).collect();
        let facts = TlsFacts { chain, verdict };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}

/// The addresses of the host of a URL, each once.
pub(super) async fn look_up(url: &Url, rules: &AddressRules) -> Result<Vec<IpAddr>, String> {
    let name = match url.host() {
        Some(Host::Ipv4(address)) => return Ok(vec![address.into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![address.into()]),
        Some(Host::Domain("localhost")) => {
            return Ok(rules.here().iter().map(SocketAddr::ip).collect());
        }
        Some(Host::Domain(name)) => name.to_owned(),
        None => return Err("there is no host in it".to_owned()),
    };
    let looked_up = tokio::task::spawn_blocking(move || {
        (name, 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    });
    let found = looked_up.await.map_err(|error| error.to_string())?;
    let mut addresses = Vec::new();
    for address in found.map_err(|error| error.to_string())? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

/// Connects to the first address that answers.
pub(super) async fn connect(
    addresses: Vec<IpAddr>,
    port: u16,
    patience: Duration,
) -> (Step<IpAddr>, Option<TcpStream>) {
    let connecting = tokio::task::spawn_blocking(move || {
        let mut failures = Vec::new();
        let begun = Instant::now();
        for address in addresses {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&SocketAddr::new(address, port), left) {
                Ok(stream) => return Ok((address, begun.elapsed(), stream)),
                Err(error) => failures.push((format!("{address}: {error}"), error.kind())),
            }
        }
        Err(failures)
    });
    match connecting.await {
        Ok(Ok((found, took, stream))) => (Step::Done { found, took }, Some(stream)),
        Ok(Err(failures)) => {
            let is_late = failures.iter().all(|(_, kind)| *kind == io::ErrorKind::TimedOut);
            let why: Vec<String> = failures.into_iter().map(|(why, _)| why).collect();
            (Step::Failed { why: capped_line(&why.join("; "), 400), is_late }, None)
        }
        Err(error) => (Step::Failed { why: error.to_string(), is_late: false }, None),
    }
}

/// Shakes hands, and hangs up.
pub(super) async fn shake_hands(
    stream: TcpStream,
    host: String,
    recording: Result<Recording, crate::OrasError>,
    patience: Duration,
) -> Result<TlsFacts, String> {
    let Recording { config, recorder } = recording.map_err(|error| error.to_string())?;
    let shaking = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        let mut stream = stream;
        let bounded = stream.set_read_timeout(Some(patience));
        bounded.and_then(|()| stream.set_write_timeout(Some(patience))).map_err(text)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(text)?;
        }
        connection.send_close_notify();
        // Who has hung up already need not be told.
        let _ = connection.write_tls(&mut stream);
        recorder.seen().ok_or_else(|| "the server showed no certificate".to_owned())
    });
    shaking.await.map_err(|error| error.to_string())?
}

fn text(error: io::Error) -> String {
    if looks_like_plain_http(&error) {
        return "it answers something that is no TLS, such as plain HTTP".to_owned();
    }
    error.to_string()
}
