//! `ratify plugin push`: programs become one plugin artifact.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use ratify_core::Platform;

use super::{KindName, PluginContext, human_size, reference};
use crate::{
    cli::output,
    plugin::install::{PluginConfig, PushRequest, Pushed, parse_platform, push},
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// Where the index goes: REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "REF")]
    reference: String,
    /// What the plugin is called
    #[arg(long = "type", value_name = "TYPE")]
    type_: String,
    /// The plugin's version
    #[arg(long)]
    version: String,
    /// The program for a platform; may be given for several
    #[arg(long, value_name = "OS/ARCH=FILE", required = true, value_parser = platform)]
    platform: Vec<(Platform, PathBuf)>,
    /// What the plugin does
    #[arg(long, default_value = "verifier")]
    kind: KindName,
    /// A way the plugin can be run; may be given several times
    #[arg(long, default_value = "exec")]
    protocol: Vec<String>,
    /// The oldest Ratify that can run it
    #[arg(long, value_name = "VERSION")]
    host: Option<String>,
    /// A JSON Schema of the plugin's parameters
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// Accepted for scripts: loopback registries are spoken to in plain HTTP by themselves, and
    /// no others are
    #[arg(long, hide = true)]
    plain_http: bool,
}

impl Push {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let mut config = PluginConfig::new(self.type_, self.kind.into(), self.version);
        config.protocols = self.protocol;
        config.host = self.host;
        if let Some(path) = &self.parameters {
            let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let schema = serde_json::from_slice(&bytes);
            config.parameters =
                Some(schema.with_context(|| format!("{} is no JSON", path.display()))?);
        }
        let reference = reference(&self.reference)?;
        let request = PushRequest { reference, config, programs: self.platform };
        let client = context.client()?;
        let pushed = Box::pin(push(&client, &request)).await?;
        output::print_line(&text(&request, &pushed))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(request: &PushRequest, pushed: &Pushed) -> String {
    let mut lines = vec![format!("pushed {} {}", request.reference, pushed.index)];
    lines.extend(pushed.manifests.iter().map(|manifest| {
        let (reference, digest) = (&manifest.reference, &manifest.digest);
        let (platform, size) = (&manifest.platform, human_size(manifest.program.size));
        format!("  {platform} {reference} {digest} {size}")
    }));
    lines.join("\n")
}

fn platform(text: &str) -> Result<(Platform, PathBuf), String> {
    let parts = text.split_once('=').filter(|(_, path)| !path.is_empty());
    let platform = parts.and_then(|(platform, path)| Some((parse_platform(platform)?, path)));
    let (platform, path) = platform.ok_or_else(|| "write it as linux/amd64=FILE".to_owned())?;
    Ok((platform, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_written_with_its_file() {
        let (parsed, path) = platform("linux/arm64=/a=b").unwrap();
        assert_eq!((parsed.architecture.as_str(), path), ("arm64", PathBuf::from("/a=b")));
        for text in ["linux/amd64", "linux/amd64=", "amd64=/x", "=/x", ""] {
            assert!(platform(text).is_err(), "{text}");
        }
    }
}
