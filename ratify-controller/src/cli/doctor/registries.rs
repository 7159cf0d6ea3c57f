//! What is to be said of a registry: by the facts of [`Client::probe`](ratify_store_oras::Client).
//! Pure, but that the time comes in.

use std::time::Duration;

use jiff::Timestamp;
use ratify_store_oras::{
    AddressFacts, AddressKind, AnswerFacts, ChallengeFacts, CredentialKind, PlaceFacts, Step,
    TlsFacts, TlsVerdict,
};

use super::{
    certificate::{Shown, day},
    finding::{Finding, shown},
    headroom,
};

const HOSTS: &str = "registry.hosts";
const DNS: &str = "registry.dns";
const ADDRESS: &str = "registry.address";
const CONNECT: &str = "registry.connect";
const TLS: &str = "registry.tls";
const EXPIRY: &str = "registry.expiry";
const API: &str = "registry.api";
const CLOCK: &str = "registry.clock";
const CREDENTIALS: &str = "registry.credentials";
const IMAGE: &str = "registry.image";
const REFERRERS: &str = "registry.referrers";
/// A name that takes longer to be looked up takes it from each verification.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);
/// Clocks that are further apart matter.
const SKEW: i64 = 30;
/// A certificate that ends sooner is to be renewed.
const SOON: i64 = 21;

/// What is asked for, and who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What findings are on: the registry, or the whole reference.
    pub(super) on: &'a str,
    /// The registry as it is written.
    pub(super) registry: &'a str,
    /// What time it is here.
    pub(super) now: Timestamp,
}

/// Where the registry is could not be found out.
pub(super) fn nowhere(asked: Asked<'_>, why: &str) -> Finding {
    Finding::failure(HOSTS, asked.on, shown(why))
        .why("nothing is asked of this registry as long as it is so: what the file forbids is not known")
        .fix(format!(
            "mend or remove {}/hosts.toml in the directory registries.hostsPath",
            shown(asked.registry)
        ))
}

/// All that is to be said of a place.
pub(super) fn judge(asked: Asked<'_>, facts: &PlaceFacts) -> Vec<Finding> {
    let on = match facts.is_mirror {
        true => format!("{} at {}", asked.on, facts.host),
        false => asked.on.to_owned(),
    };
    let asked = Asked { on: &on, ..asked };
    let mut findings = Vec::new();
    if let Some(proxy) = &facts.proxy {
        let seen = format!("the proxy {} is asked in its place", shown(proxy));
        findings.push(Finding::note(CONNECT, &on, seen).why(
            "its addresses and its certificate are the proxy's business; NO_PROXY lists hosts that are asked directly",
        ));
    }
    findings.extend(lookup(asked, &facts.lookup));
    findings.extend(facts.lookup.found().and_then(|found| addresses(asked, found, facts)));
    findings.extend(connection(asked, facts));
    findings.extend(tls(asked, facts));
    if let Some(answer) = facts.api.found() {
        findings.extend(clock(asked, answer));
    }
    findings.extend(api(asked, facts));
    findings.extend(credentials(asked, facts));
    findings.extend(image(asked, facts));
    let answers = [facts.manifest.found(), facts.api.found()];
    findings.extend(headroom::judge(&on, &answers.map(Option::<&AnswerFacts>::cloned)));
    findings.extend(referrers(asked, facts));
    findings
}

fn lookup(asked: Asked<'_>, step: &Step<Vec<AddressFacts>>) -> Option<Finding> {
    let on = asked.on;
    Some(match step {
        Step::Skipped => return None,
        Step::Failed { why, is_late } => {
            let fix = match is_late {
                true => {
                    "the name server does not answer: look at /etc/resolv.conf, and in a cluster at kubectl -n kube-system get pods -l k8s-app=kube-dns"
                }
                false => {
                    "mend the spelling of the registry, or the name server: getent hosts NAME shows what this machine knows"
                }
            };
            Finding::failure(DNS, on, shown(why)).why("the registry cannot be found").fix(fix)
        }
        Step::Done { found, took } => {
            let list: Vec<String> = found.iter().map(|one| one.address.to_string()).collect();
            let seen = format!("{} in {}", shown(&list.join(", ")), text(*took));
            if *took <= SLOW_LOOKUP {
                return Some(Finding::ok(DNS, on, seen));
            }
            Finding::warning(DNS, on, seen)
                .why("the time is taken from that of a verification, at each new connection")
                .fix("ask a nearer name server; in a cluster give the pod dnsConfig.options ndots:1, or write the registry's name with a dot at its end in no search list")
        }
    })
}

/// What an address is that no registry should have. The server asks none of them unless an
/// administrator lists it.
fn addresses(asked: Asked<'_>, found: &[AddressFacts], facts: &PlaceFacts) -> Option<Finding> {
    let special = found.iter().find(|one| one.kind.is_some() && !one.is_allowed);
    let Some((address, kind)) = special.and_then(|one| Some((one.address, one.kind?))) else {
        let refused = facts.refused.as_ref()?;
        return Some(
            Finding::failure(ADDRESS, asked.on, shown(refused))
                .why("it is not connected to")
                .fix("name a registry that has an address of its own"),
        );
    };
    let seen = format!("{address} is {}", kind.words());
    let list = format!(r#""registries": {{"allowedAddresses": ["{address}"]}}"#);
    Some(match kind {
        AddressKind::Metadata => Finding::failure(ADDRESS, asked.on, seen)
            .why("no registry is there but a cloud's credentials: it is not connected to, whoever asks")
            .fix("find out who made the name lead there"),
        _ => Finding::warning(ADDRESS, asked.on, seen)
            .why("`ratify serve` does not connect to it, since references may be anybody's words")
            .fix(format!("if it is meant, list it in the configuration: {list}")),
    })
}

fn connection(asked: Asked<'_>, facts: &PlaceFacts) -> Option<Finding> {
    let on = asked.on;
    Some(match &facts.connection {
        Step::Skipped => return None,
        Step::Done { found, took } => {
            Finding::ok(CONNECT, on, format!("{found} in {}", text(*took)))
        }
        Step::Failed { why, is_late } => {
            let fix = match is_late {
                true => {
                    "something drops the packets: look at firewalls, and in a cluster at kubectl get networkpolicies -A"
                }
                false => "nobody listens there: look at the port, and at the registry itself",
            };
            Finding::failure(CONNECT, on, shown(why))
                .why("every image of this registry is refused")
                .fix(fix)
        }
    })
}

fn tls(asked: Asked<'_>, facts: &PlaceFacts) -> Vec<Finding> {
    match &facts.tls {
        Step::Skipped => Vec::new(),
        Step::Failed { why, .. } => {
            let finding = Finding::failure(TLS, asked.on, shown(why))
                .why("the registry is asked over TLS alone, unless it is said otherwise")
                .fix(format!(
                    "a registry in clear is named so: hosts.toml of {} with server = \"http://{}\"",
                    shown(asked.registry),
                    shown(asked.registry)
                ));
            vec![finding]
        }
        Step::Done { found, took } => {
            let own = found.chain.first().and_then(|own| Shown::read(own));
            let Some(own) = own else {
                let finding = Finding::failure(TLS, asked.on, "its certificate cannot be read")
                    .why("it is trusted by nobody")
                    .fix("give the registry another certificate");
                return vec![finding];
            };
            let mut findings = vec![verdict(asked, facts, found, &own, *took)];
            if found.verdict.is_good() {
                findings.push(expiry(asked, found, &own));
            }
            findings
        }
    }
}

fn verdict(
    asked: Asked<'_>,
    facts: &PlaceFacts,
    tls: &TlsFacts,
    own: &Shown,
    took: Duration,
) -> Finding {
    let on = asked.on;
    let refused = "no connection is made: every image of this registry is refused";
    let (from, until) = (day(own.not_before), day(own.not_after));
    match &tls.verdict {
        TlsVerdict::Trusted => {
            Finding::ok(TLS, on, format!("issued by {} ({})", own.issuer, text(took)))
        }
        TlsVerdict::Unchecked => {
            Finding::ok(TLS, on, format!("issued by {}, which is not checked: it is this machine", own.issuer))
        }
        TlsVerdict::Expired => {
            let days = -own.days_left(asked.now);
            let seen = match own.not_after < asked.now {
                true => format!("its certificate ended on {until}, {days} days ago"),
                false => format!("a certificate of its chain has ended; its own is good until {until}"),
            };
            Finding::failure(TLS, on, seen).why(refused).fix(format!(
                "renew it. If it is good by other clocks, this machine's ({}) is ahead: set it, timedatectl set-ntp true",
                time(asked.now)
            ))
        }
        TlsVerdict::NotYetValid => Finding::failure(TLS, on, format!("its certificate begins on {from}"))
            .why(format!("{refused}. Mostly it is not the certificate but the clock: here it is {}", time(asked.now)))
            .fix("set the clock of this machine (of the node, in a cluster): timedatectl set-ntp true"),
        TlsVerdict::WrongName => {
            Finding::failure(TLS, on, format!("its certificate is for {}, not for {}", own.names(), facts.host))
                .why(refused)
                .fix("ask it by a name that the certificate is for, or give it one for this name")
        }
        TlsVerdict::UnknownIssuer => {
            Finding::failure(TLS, on, format!("its certificate is issued by {}, whom nobody trusts here", own.issuer))
                .why(refused)
                .fix(format!(
                    "name the authority: SSL_CERT_FILE=/path/ca.crt for all registries, or ca = \"/path/ca.crt\" in {}/hosts.toml; with the chart: registries.certificates",
                    shown(asked.registry)
                ))
        }
        TlsVerdict::Other(why) => {
            Finding::failure(TLS, on, shown(why)).why(refused).fix("give it another certificate")
        }
        _ => Finding::not_checked(TLS, on, "its certificate was judged in a way that is not known"),
    }
}

/// The certificate of the chain that ends first counts.
fn expiry(asked: Asked<'_>, tls: &TlsFacts, own: &Shown) -> Finding {
    let chain = tls.chain.iter().filter_map(|one| Shown::read(one));
    let first = chain.min_by_key(|one| one.not_after).unwrap_or_else(|| own.clone());
    let days = first.days_left(asked.now);
    let seen = format!("{days} days are left, until {}", day(first.not_after));
    match days {
        days if days >= SOON => Finding::ok(EXPIRY, asked.on, seen),
        _ => Finding::warning(EXPIRY, asked.on, format!("{seen} ({})", first.subject))
            .why("after that every image of this registry is refused")
            .fix("renew it"),
    }
}

fn clock(asked: Asked<'_>, answer: &AnswerFacts) -> Option<Finding> {
    let date = answer.date.as_deref()?;
    let theirs = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let here = Timestamp::try_from(answer.received).ok()?;
    let apart = here.as_second() - theirs.as_second();
    if apart.abs() <= SKEW {
        return Some(Finding::ok(CLOCK, asked.on, format!("{apart:+} s")));
    }
    let word = if apart > 0 { "ahead of" } else { "behind" };
    let seen = format!(
        "this machine is {} s {word} the registry, which says {}",
        apart.abs(),
        shown(date)
    );
    Some(
        Finding::warning(CLOCK, asked.on, seen)
            .why("tokens seem to end early, or are used when they have ended; certificates and signatures are judged by the wrong time")
            .fix("timedatectl set-ntp true (on the node, in a cluster), and timedatectl timesync-status to look"),
    )
}

fn api(asked: Asked<'_>, facts: &PlaceFacts) -> Option<Finding> {
    let on = asked.on;
    let answer = match &facts.api {
        Step::Skipped => return None,
        Step::Failed { why, .. } => {
            return Some(
                Finding::failure(API, on, shown(why))
                    .why("every image of this registry is refused")
                    .fix(format!("curl -v {} shows what answers there", facts.url)),
            );
        }
        Step::Done { found, .. } => found,
    };
    let asks = match &answer.asks {
        None => "asks for nothing".to_owned(),
        Some(ChallengeFacts::Basic) => "asks for user and password".to_owned(),
        Some(ChallengeFacts::Bearer { host }) => format!("asks for a token of {host}"),
        Some(_) => "asks for something".to_owned(),
    };
    Some(match answer.status {
        200 | 401 => Finding::ok(API, on, format!("{} answers and {asks}", facts.url)),
        // Of `headroom`.
        429 => Finding::ok(API, on, format!("{} answers that it is asked too much", facts.url)),
        403 => Finding::note(API, on, format!("{} answers 403", facts.url))
            .why("some registries refuse whoever shows nothing; others refuse this machine's address")
            .fix("give an image to see whether it is read with credentials: ratify doctor IMAGE"),
        404 => Finding::warning(API, on, format!("{} answers 404", facts.url))
            .why("a registry answers 200 or 401 there: this may be none, or one that has its API elsewhere")
            .fix("name the path of its API in a hosts.toml, with override_path = true"),
        500.. => Finding::failure(API, on, format!("{} answers {}", facts.url, answer.status))
            .why("the registry fails, or what stands in front of it")
            .fix("look at the registry; a mirror in hosts.toml answers meanwhile"),
        status => Finding::warning(API, on, format!("{} answers {status}", facts.url))
            .why("a registry answers 200 or 401 there")
            .fix(format!("curl -v {} shows what answers there", facts.url)),
    })
}

fn credentials(asked: Asked<'_>, facts: &PlaceFacts) -> Option<Finding> {
    let on = asked.on;
    Some(match &facts.credential {
        Step::Skipped => return None,
        Step::Failed { why, .. } => Finding::failure(CREDENTIALS, on, shown(why))
            .why("the auth provider gives out nothing: images that are not for everybody are refused")
            .fix("docs/registries.md tells what each auth provider needs"),
        Step::Done { found, .. } => {
            let has = match found.kind {
                CredentialKind::Nothing => "has nothing for it: it is asked without credentials",
                CredentialKind::Password => "has a user and a password",
                CredentialKind::RefreshToken => "has a refresh token",
            };
            let until = found.good_for.map(|left| format!(", good for {} more", text(left)));
            let seen = format!("{} {has}{}", shown(&found.provider), until.unwrap_or_default());
            match (found.kind, facts.manifest.found().map(|answer| answer.status)) {
                (CredentialKind::Nothing, Some(401 | 403)) => Finding::failure(CREDENTIALS, on, seen)
                    .why("the registry wants to know who asks")
                    .fix(format!("docker login {}; in a cluster name a Secret: authProvider k8Secrets of the Store (docs/registries.md)", shown(asked.registry))),
                (_, Some(401 | 403)) => Finding::failure(CREDENTIALS, on, format!("{seen}, and the registry refuses it"))
                    .why("it has ended, or has no right to this repository")
                    .fix(format!("docker login {} anew, or give the user the right to pull", shown(asked.registry))),
                _ => Finding::ok(CREDENTIALS, on, seen),
            }
        }
    })
}

fn image(asked: Asked<'_>, facts: &PlaceFacts) -> Option<Finding> {
    let on = asked.on;
    Some(match &facts.manifest {
        Step::Skipped => return None,
        Step::Failed { why, .. } => {
            let is_token = why.contains("the token") || why.contains("/token");
            let fix = match is_token {
                true => format!(
                    "the token service refuses or is away: docker login {} anew, and look whether its host can be reached from here",
                    shown(asked.registry)
                ),
                false => "look at the findings above, of the same registry".to_owned(),
            };
            Finding::failure(IMAGE, on, shown(why)).why("the image cannot be looked up").fix(fix)
        }
        Step::Done { found, took } => match found.status {
            200 => {
                let digest = found.digest.as_ref().map(|digest| format!(", as {digest}"));
                let digest = digest.unwrap_or_default();
                Finding::ok(IMAGE, on, format!("it is there{digest} ({})", text(*took)))
            }
            404 => {
                Finding::failure(IMAGE, on, "there is no such image, or not for these credentials")
                    .why("an image that is not found is refused")
                    .fix("mend the reference; some registries say 404 to who has no right")
            }
            401 | 403 => {
                Finding::failure(IMAGE, on, format!("the registry refuses it ({})", found.status))
                    .why("an image that may not be looked up is refused")
                    .fix("mend the credentials, as is said above")
            }
            // Of `headroom`.
            429 => return None,
            status => Finding::failure(IMAGE, on, format!("the registry answers {status}"))
                .why("an image that cannot be looked up is refused")
                .fix("look at the registry; a mirror in hosts.toml answers meanwhile"),
        },
    })
}

fn referrers(asked: Asked<'_>, facts: &PlaceFacts) -> Option<Finding> {
    let on = asked.on;
    Some(match &facts.referrers {
        Step::Skipped => return None,
        Step::Failed { why, .. } => Finding::failure(REFERRERS, on, shown(why))
            .why("what is attached cannot be listed: the image is refused")
            .fix("look at the rights of the credentials, and at the registry"),
        Step::Done { found, .. } => match (found.by_api, found.count) {
            (Some(true), 0) => Finding::note(REFERRERS, on, "nothing is attached")
                .why("an image that nothing speaks for is refused; signatures that cosign keeps under tags are not counted here")
                .fix("attach what proves it: ratify discover -s IMAGE shows what there is"),
            (Some(true), count) => Finding::ok(REFERRERS, on, format!("{count} attached, by the Referrers API")),
            (Some(false), count) => {
                Finding::note(REFERRERS, on, format!("{count} attached, by the tag schema: there is no Referrers API"))
                    .why("it works, at one more request, and two who attach at the same time may lose one")
            }
            (None, _) => Finding::note(REFERRERS, on, "there is neither a list nor a tag in its place")
                .why("nothing is attached, and the registry has no Referrers API: an image that nothing speaks for is refused")
                .fix("attach what proves it: ratify discover -s IMAGE shows what there is"),
        },
    })
}

/// A time as people read it.
fn text(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        milliseconds @ 1..10_000 => format!("{milliseconds} ms"),
        milliseconds => format!("{} s", milliseconds / 1000),
    }
}

fn time(now: Timestamp) -> String {
    format!("{now:.0}")
}
