//! `ratify plugin verify`: whether the trust policies of a configuration let plugins run. It is asked as
//! at a load, and nothing is installed.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use ratify_core::{
    Digest,
    config::{PluginRules, PluginSource},
};
use ratify_store_oras::{Origin, auth::SecretScope};
use serde::Serialize;

use super::{
    Output, PATIENCE, PluginContext, install::source_of, lock::sources_of, read_config, reference,
};
use crate::{
    cli::output,
    plugin::{
        install::{InstallError, inspect},
        rules::Rules,
        signatures::Admission,
    },
    runtime::Runtime,
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Plugins, in place of every one with a source in the configuration: REGISTRY/REPOSITORY:TAG or
    /// REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// The configuration whose trust policies count
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// What is found of a plugin.
#[derive(Debug, Serialize)]
struct Verified {
    reference: String,
    digest: Digest,
    platforms: Vec<OfPlatform>,
}

/// What is found of it for one platform.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfPlatform {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    manifest: Digest,
    /// Whether it would run.
    is_admitted: bool,
    signers: Vec<String>,
    /// Why it should not run, where it would nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Why it would not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Verify {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let config = read_config(&self.config)?;
        context.runtime.rules.put(Rules::of(&config));
        let rules = Arc::clone(&context.runtime.rules.now().plugins);
        let mut sources = sources_of(&config)?;
        if !self.references.is_empty() {
            let known = std::mem::take(&mut sources);
            for text in &self.references {
                let of_config = known.iter().find(|source| source.artifact == *text);
                sources.push(of_config.map_or_else(|| source_of(text), |known| Ok(known.clone()))?);
            }
        }
        if sources.is_empty() {
            bail!("no plugin of {} has a source: name one", self.config.display());
        }
        let mut found = Vec::new();
        for source in &sources {
            found.push(Box::pin(verify(source, &rules, context)).await?);
        }
        match self.output {
            Output::Json => output::print_json(&found)?,
            Output::Text => output::print_line(&text(&found))?,
        }
        let mut platforms = found.iter().flat_map(|plugin| &plugin.platforms);
        Ok(ExitCode::from(u8::from(!platforms.all(|platform| platform.is_admitted))))
    }
}

async fn verify(
    source: &PluginSource,
    rules: &PluginRules,
    context: &PluginContext,
) -> anyhow::Result<Verified> {
    let of_cluster = rules.trust_policy.as_ref();
    let signatures = context.runtime.signatures(source, of_cluster, &SecretScope::Cluster);
    let signatures = signatures.ok_or_else(|| {
        anyhow!(
            "no trust policy is for {}: name one, in plugins.trustPolicy of the configuration or in source.trustPolicy",
            source.artifact
        )
    })?;
    let mut named = reference(&source.artifact)?;
    if let Some(lock) = Runtime::lock(rules)? {
        named = named.sibling(lock.digest_of(&source.artifact, None)?);
    }
    let give_up_at = Some(Instant::now() + PATIENCE);
    let client = context.client_for(source)?;
    let described = inspect(&client, &named, give_up_at).await?;
    let origin = Origin::from(client);
    let mut platforms = Vec::new();
    for platform in described.platforms {
        let (root, manifest) = (&described.digest, platform.manifest);
        let judged = signatures.judge(&origin, &named, root, &manifest, give_up_at).await;
        platforms.push(OfPlatform::new(platform.platform, manifest, judged));
    }
    if platforms.is_empty() {
        bail!("{named} is no plugin of any platform");
    }
    Ok(Verified { reference: source.artifact.clone(), digest: described.digest, platforms })
}

impl OfPlatform {
    fn new(
        platform: Option<String>,
        manifest: Digest,
        judged: Result<Admission, InstallError>,
    ) -> Self {
        let error = judged.as_ref().err().map(ToString::to_string);
        let Admission { signers, warnings, .. } = judged.unwrap_or_default();
        Self { platform, manifest, is_admitted: error.is_none(), signers, warnings, error }
    }

    fn text(&self) -> String {
        let platform = self.platform.as_deref().unwrap_or("any platform");
        let mut said: Vec<_> = self.signers.iter().map(|one| format!("signed by {one}")).collect();
        said.extend(self.warnings.iter().map(|why| format!("warning: {why}")));
        said.extend(self.error.clone());
        format!("  {platform}  {}", said.join("; "))
    }
}

fn text(found: &[Verified]) -> String {
    let of_plugin = |plugin: &Verified| {
        let platforms = plugin.platforms.iter().map(OfPlatform::text);
        let head = format!("{} {}", plugin.reference, plugin.digest);
        std::iter::once(head).chain(platforms).collect::<Vec<_>>().join("\n")
    };
    found.iter().map(of_plugin).collect::<Vec<_>>().join("\n")
}
