//! [`Keeper`]: what is in force after each look at the files. Pure: what was read comes in, what is
//! to be said comes out.
//!
//! Two rules. A pair that cannot be used leaves the one in force. And a door that was closed to
//! strangers is never opened to them again, whatever becomes of the file: a doubt is a deny.

use std::{io, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls::{ServerConfig, sign::CertifiedKey};

use super::{
    Ends, TlsFiles,
    admission::Clients,
    material::{self, Authorities},
};
use crate::{plugin::process::go_error_text, x509::Facts};

/// A certificate that ends within this time is spoken of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What a look at the files showed.
pub(super) struct Seen {
    pub(super) certificate: io::Result<Vec<u8>>,
    pub(super) key: io::Result<Vec<u8>>,
    pub(super) client_ca: Option<io::Result<Vec<u8>>>,
}

/// What a look came to.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Whether something else is to be served now.
    pub(super) changed: bool,
    /// The files that changed, in v1's words.
    pub(super) events: Vec<String>,
    /// Why the pair is not used.
    pub(super) pair_error: Option<String>,
    /// Why the authorities of clients are not used.
    pub(super) client_error: Option<String>,
    /// What else somebody should know.
    pub(super) remarks: Vec<String>,
}

pub(super) struct Keeper {
    files: TlsFiles,
    pair: Option<Arc<CertifiedKey>>,
    clients: Clients,
    /// What was last tried, so that nothing is tried or said twice.
    tried: [Option<Print>; 3],
    has_looked: bool,
    /// Until when the certificates are good, and what was said of the one that is shown.
    ends: Ends,
    said_of_age: Age,
}

/// How near the end of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Good,
    EndsSoon,
    Ended,
}

/// Tells one state of a file from another, without keeping a key in memory once more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Print {
    Bytes(Vec<u8>),
    Failure(io::ErrorKind),
}

impl Keeper {
    pub(super) fn new(files: TlsFiles) -> Self {
        Self {
            files,
            pair: None,
            clients: Clients::Anyone,
            tried: [const { None }; 3],
            has_looked: false,
            ends: Ends::default(),
            said_of_age: Age::Good,
        }
    }

    /// Puts in force what can be.
    pub(super) fn look(&mut self, seen: Seen, now: Timestamp) -> Noted {
        let mut noted = Noted::default();
        let prints = [
            Some(Print::of(&seen.certificate)),
            Some(Print::of(&seen.key)),
            seen.client_ca.as_ref().map(Print::of),
        ];
        let is_new: Vec<bool> = (0..3).map(|at| prints[at] != self.tried[at]).collect();
        noted.events = self.events(&is_new, &prints);
        self.tried = prints;
        if is_new[0] || is_new[1] {
            self.take_pair(&seen, &mut noted);
        }
        if let Some(authorities) = seen.client_ca.filter(|_| is_new[2]) {
            self.take_authorities(authorities, &mut noted);
        }
        if !std::mem::replace(&mut self.has_looked, true) {
            noted.changed = true;
            noted.remarks.extend(self.openness());
        }
        noted.remarks.extend(self.age(now));
        noted
    }

    /// What rustls is to serve: `None` while there is no pair, a configuration of none where nobody
    /// may come in.
    pub(super) fn config(&self) -> Option<Result<Option<ServerConfig>, String>> {
        let pair = Arc::clone(self.pair.as_ref()?);
        let clients = match &self.clients {
            Clients::Nobody => return Some(Ok(None)),
            Clients::Anyone => None,
            Clients::Proven(verifier) => Some(Arc::clone(verifier)),
        };
        Some(material::config(pair, clients).map(Some))
    }

    /// Who may come in.
    pub(super) fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// How this stands, for who asks whether the server is ready.
    pub(super) fn standing(&self) -> Result<String, &'static str> {
        let clients = match (&self.pair, &self.clients) {
            (None, _) => return Err("there is no certificate to serve yet"),
            (_, Clients::Nobody) => {
                return Err("the CA of clients cannot be used: nobody may come in");
            }
            (_, Clients::Anyone) => "open: no client certificate is asked for",
            (_, Clients::Proven(_)) => "a client certificate is required",
        };
        let until =
            self.ends.certificate.map(|until| format!(" until {until}")).unwrap_or_default();
        Ok(format!("TLS{until}, {clients}"))
    }

    /// Until when what is served is good.
    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    /// Why anybody may come in, if anybody may.
    pub(super) fn open(&self) -> Option<&'static str> {
        (self.pair.is_some() && matches!(self.clients, Clients::Anyone)).then_some(
            "open: whoever reaches the server may ask it, since no client certificate is required; put the authority of clients where --ca-cert-file looks for it",
        )
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.pair.is_none()
    }

    fn take_pair(&mut self, seen: &Seen, noted: &mut Noted) {
        let read = |file: &io::Result<Vec<u8>>, path: &Path| match file {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => Err(unreadable(path, error)),
        };
        let pair = read(&seen.certificate, &self.files.certificate).and_then(|certificate| {
            let key = read(&seen.key, &self.files.key)?;
            material::pair(&certificate, &key).map_err(|error| error.to_string())
        });
        match pair {
            Ok(pair) => {
                let facts = pair.cert.first().and_then(|first| Facts::read(first));
                self.ends.certificate = facts.map(|facts| facts.not_after);
                self.said_of_age = Age::Good;
                self.pair = Some(pair);
                noted.changed = true;
            }
            Err(error) => noted.pair_error = Some(error),
        }
    }

    fn take_authorities(&mut self, read: io::Result<Vec<u8>>, noted: &mut Noted) {
        // Only what is asked for where there is such a file.
        let Some(path) = self.files.client_ca.clone() else { return };
        let is_absent = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_absent && matches!(self.clients, Clients::Anyone) {
            return;
        }
        let taken = match read {
            Ok(bytes) => material::authorities(&bytes)
                .map_err(|error| format!("{}: {error}", path.display())),
            Err(error) => Err(unreadable(&path, &error)),
        };
        match taken {
            Ok(Authorities { verifier, unused, good_until }) => {
                self.ends.client_ca = good_until;
                if !matches!(self.clients, Clients::Proven(_)) {
                    noted.remarks.push("client certificates are required from now on".to_owned());
                }
                if unused > 0 {
                    let path = path.display();
                    noted.remarks.push(format!("{unused} certificates in {path} cannot be used"));
                }
                self.clients = Clients::Proven(verifier);
                noted.changed = true;
            }
            Err(error) => {
                if matches!(self.clients, Clients::Anyone) {
                    self.clients = Clients::Nobody;
                    noted.changed = true;
                }
                let stays = match self.clients {
                    Clients::Nobody => "nobody may come in",
                    _ => "the one in force stays",
                };
                noted.client_error = Some(format!("{error}: {stays}"));
            }
        }
    }

    /// Says once that the certificate is about to end, and once that it has.
    fn age(&mut self, now: Timestamp) -> Option<String> {
        let until = self.ends.certificate?;
        let (age, text) = if until <= now {
            (Age::Ended, "is good no more since")
        } else if until.duration_since(now).unsigned_abs() <= SOON {
            (Age::EndsSoon, "is good only until")
        } else {
            (Age::Good, "")
        };
        if age <= self.said_of_age {
            return None;
        }
        self.said_of_age = age;
        Some(format!("the certificate in {} {text} {until}", self.files.certificate.display()))
    }

    fn openness(&self) -> Option<String> {
        let Clients::Anyone = self.clients else { return None };
        let why = match &self.files.client_ca {
            None => "--ca-cert-file is not set".to_owned(),
            Some(path) => format!("{} does not exist yet", path.display()),
        };
        Some(format!("open: no client certificate is asked for: {why}"))
    }

    /// v1's words for what happened to which file; nothing for the first look.
    fn events(&self, is_new: &[bool], prints: &[Option<Print>]) -> Vec<String> {
        if !self.has_looked {
            return Vec::new();
        }
        let client_ca = self.files.client_ca.as_deref().unwrap_or(Path::new(""));
        let paths = [&self.files.certificate, &self.files.key, client_ca];
        let changed = paths.iter().enumerate().filter(|(at, _)| is_new[*at]);
        let name = |at: usize| match (&self.tried[at], &prints[at]) {
            (_, Some(Print::Failure(_))) => "REMOVE",
            (Some(Print::Failure(_)), _) => "CREATE",
            _ => "WRITE",
        };
        changed.map(|(at, path)| format!("{:<13} {path:?}", name(at))).collect()
    }
}

impl Print {
    fn of(read: &io::Result<Vec<u8>>) -> Self {
        match read {
            Ok(bytes) => Self::Bytes(digest(&SHA256, bytes).as_ref().to_vec()),
            Err(error) => Self::Failure(error.kind()),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("open {}: {}", path.display(), go_error_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(identity: &(String, String), client_ca: Option<io::Result<Vec<u8>>>) -> Seen {
        let (certificate, key) = identity;
        Seen {
            certificate: Ok(certificate.clone().into_bytes()),
            key: Ok(key.clone().into_bytes()),
            client_ca,
        }
    }

    /// A pair that is good from 1975 to 4096.
    fn identity() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn absent() -> Option<io::Result<Vec<u8>>> {
        Some(Err(io::ErrorKind::NotFound.into()))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_door_that_was_closed_is_never_opened_again() {
        let (identity, now) = (identity(), at("2026-01-01T00:00:00Z"));
        let denied = || Some(Err(io::ErrorKind::PermissionDenied.into()));
        let empty = || Some(Ok(Vec::new()));
        let good = || Some(Ok(identity.0.clone().into_bytes()));
        let standing = |looks: Vec<Option<io::Result<Vec<u8>>>>| {
            let mut keeper = Keeper::new(TlsFiles::new("tls", "ca.crt"));
            for client_ca in looks {
                keeper.look(seen(&identity, client_ca), now);
            }
            let Ends { certificate, client_ca } = keeper.ends();
            assert_eq!(certificate, Some(at("4096-01-01T00:00:00Z")));
            // What was proven once stays in force, and so does its end.
            let is_proven = matches!(keeper.clients(), Clients::Proven(_));
            assert_eq!(client_ca, certificate.filter(|_| is_proven));
            keeper.standing().unwrap_or_else(str::to_owned)
        };
        let open = "TLS until 4096-01-01T00:00:00Z, open: no client certificate is asked for";
        let closed = "TLS until 4096-01-01T00:00:00Z, a client certificate is required";
        let nobody = "the CA of clients cannot be used: nobody may come in";
        assert_eq!(standing(vec![absent()]), open);
        assert_eq!(standing(vec![absent(), good()]), closed);
        assert_eq!(standing(vec![denied()]), nobody);
        assert_eq!(standing(vec![absent(), empty(), absent()]), nobody);
        assert_eq!(standing(vec![empty(), good(), empty()]), closed);
        for last in [absent, denied, empty] {
            assert_eq!(standing(vec![good(), last()]), closed);
            assert_eq!(standing(vec![denied(), last()]), nobody);
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_said_before_it_comes_and_when_it_has() {
        let identity = identity();
        let mut keeper = Keeper::new(TlsFiles::new("tls", ""));
        let mut remarks = |now: &str| keeper.look(seen(&identity, None), at(now)).remarks;
        assert_eq!(remarks("4095-01-01T00:00:00Z").len(), 1, "that it is open");
        assert_eq!(remarks("4095-06-01T00:00:00Z"), [""; 0]);
        let soon = "the certificate in tls/tls.crt is good only until 4096-01-01T00:00:00Z";
        assert_eq!(remarks("4095-12-20T00:00:00Z"), [soon]);
        assert_eq!(remarks("4095-12-21T00:00:00Z"), [""; 0]);
        let ended = "the certificate in tls/tls.crt is good no more since 4096-01-01T00:00:00Z";
        assert_eq!(remarks("4096-01-01T00:00:00Z"), [ended]);
        assert_eq!(remarks("4096-01-02T00:00:00Z"), [""; 0]);
    }
}
