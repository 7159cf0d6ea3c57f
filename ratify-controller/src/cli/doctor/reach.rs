//! What else `serve` connects to: the Redis that replicas share verdicts through, and who receives
//! traces.

use std::{net::ToSocketAddrs as _, time::Duration};

use url::Url;

use super::finding::{Finding, shown};
use crate::{
    cache::{self, SharedOptions},
    cli::output,
};

const REDIS: &str = "cache.redis";
const OTLP: &str = "export.otlp";
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks Redis for a sign of life, with the user and the password that `serve` has.
pub(super) async fn redis(options: &SharedOptions) -> Finding {
    let on = options.address.to_string();
    let alone = "each replica stands alone: what one has verified the others verify again";
    match cache::probe(options).await {
        Err(why) => {
            Finding::warning(REDIS, &on, shown(&why)).why(alone).fix(format!(
                "look whether it is there: redis-cli -u {on} ping; and at the files of --cache-password-file, --cache-key-file and --cache-ca-file"
            ))
        }
        Ok(()) if !options.address.is_tls => Finding::warning(REDIS, &on, "it answers, in clear")
            .why("its password is for anybody on the way")
            .fix("speak TLS with it: --cache-address rediss://…, --cache-ca-file"),
        Ok(()) => Finding::ok(REDIS, &on, "it answers, and the key of the seal is long enough"),
    }
}

/// Connects to who receives traces, as OpenTelemetry's variables name it, and hangs up.
pub(super) async fn otlp(receiver: anyhow::Result<Option<Url>>) -> Option<Finding> {
    let url = match receiver {
        Ok(url) => url?,
        Err(error) => {
            let finding = Finding::failure(OTLP, "", shown(&output::error_text(&error)))
                .why("`ratify serve` does not start with this environment")
                .fix("OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example.com:4318, which speaks OTLP over HTTP");
            return Some(finding);
        }
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or_default();
    let on = format!("{host}:{port}");
    let fix = format!("look whether the collector is there: nc -vz {host} {port}");
    let connecting = tokio::task::spawn_blocking(move || {
        let addresses = (host.as_str(), port).to_socket_addrs()?;
        let mut last = std::io::Error::other("the name has no address");
        for address in addresses {
            match std::net::TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    let why = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(Ok(()))) => return Some(Finding::ok(OTLP, &on, "it takes connections")),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("there was no answer within {} s", PATIENCE.as_secs()),
    };
    let lost = "traces are lost; nothing else is";
    Some(Finding::warning(OTLP, &on, shown(&why)).why(lost).fix(fix))
}
