//! `ratify plugin sign`: a signature of a plugin in its registry, which the real `cosign` and `notation`
//! verify, and a trust policy asks for.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::Args;

use super::{Output, PATIENCE, PluginContext, reference};
use crate::{
    cli::output,
    plugin::sign::{Chain, PrivateKey, Signed, Signer, sign},
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// What to sign: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    reference: String,
    /// The private key, in PEM; one that cosign encrypted is opened with the environment's
    /// COSIGN_PASSWORD
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The certificates of the key, in PEM, its own first and the root last: the signature is one of
    /// notation then, and else one of cosign
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    /// Sign the manifest of each platform as well
    #[arg(short, long)]
    recursive: bool,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Sign {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let read = |file: &PathBuf| {
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
        };
        let of_file = |file: &PathBuf| file.display().to_string();
        let password = context.runtime.environment.cosign_password.as_ref();
        let key = PrivateKey::from_pem(&read(&self.key)?, password);
        let key = key.with_context(|| of_file(&self.key))?;
        let signer = match &self.certificates {
            Some(file) => {
                let chain = Chain::from_pem(&read(file)?).with_context(|| of_file(file))?;
                Signer::Notation(key, chain)
            }
            None => Signer::Cosign(key),
        };
        let reference = reference(&self.reference)?;
        let give_up_at = Some(Instant::now() + PATIENCE);
        let client = context.client()?;
        let signing = sign(&client, &reference, &signer, self.recursive, give_up_at);
        let signed = Box::pin(signing).await?;
        match self.output {
            Output::Json => output::print_json(&signed)?,
            Output::Text => output::print_line(&text(&self.reference, &signed))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(reference: &str, signed: &[Signed]) -> String {
    let of = |signed: &Signed| {
        let at = signed.tag.as_deref().map(|tag| format!(" ({tag})")).unwrap_or_default();
        format!("  {} by {}{at}", signed.digest, signed.signature)
    };
    let lines = signed.iter().map(of);
    std::iter::once(format!("signed {reference}")).chain(lines).collect::<Vec<_>>().join("\n")
}
