//! `ratify dev registry`: the embedded registry as a program.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;

use super::super::{end, output};
use crate::dev::registry::{RegistryOptions, RunningRegistry};

#[derive(Debug, Args)]
pub(super) struct Registry {
    /// Where to listen; a loopback address. Port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:5000")]
    address: SocketAddr,
    /// Serve HTTPS, by a certificate authority made for this run
    #[arg(long)]
    tls: bool,
    /// Where to write the certificate of that authority
    #[arg(long, requires = "tls")]
    ca_file: Option<PathBuf>,
    /// Keep at most this many bytes
    #[arg(long, default_value_t = 1 << 30)]
    max_bytes: u64,
    /// Serve no Referrers API: clients fall back to the tag schema
    #[arg(long)]
    no_referrers_api: bool,
    /// Serve so many requests a second, and answer the others with 429. How many those were is
    /// printed at the end
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,
}

impl Registry {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let options = RegistryOptions {
            address: self.address,
            tls: self.tls,
            max_bytes: self.max_bytes,
            referrers_api: !self.no_referrers_api,
            requests_per_second: self.requests_per_second,
            ..RegistryOptions::default()
        };
        let told = end::told()?;
        let registry = RunningRegistry::start(options).await?;
        if let Some(path) = &self.ca_file {
            registry.write_ca(path)?;
        }
        // The first line is the address alone, so that a script can read it.
        output::print_line(&registry.host())?;
        eprintln!(
            "An OCI registry, in memory, serves at {}. Interrupt it to end it.",
            registry.url()
        );
        told.await;
        if self.requests_per_second.is_some() {
            eprintln!("{} requests were too many, and answered with 429.", registry.throttled());
        }
        Ok(ExitCode::SUCCESS)
    }
}
