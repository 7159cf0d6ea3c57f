//! `ratify crds`: the definitions of the custom resources, printed or applied to a cluster. The
//! image of that name has this command as its entry point, so that v1's upgrade hook
//! (`apply -f crds/`) works with it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};

use super::output;
use crate::k8s::{self, crd};

/// An API server learns of a role a moment after it has accepted it: the job of the chart may ask
/// before that, and is not run again.
const RIGHTS_WITHIN: Duration = Duration::from_secs(30);
const RIGHTS_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Crds {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the definitions as YAML
    Print(Print),
    /// Apply the definitions to the cluster
    Apply(Apply),
}

#[derive(Debug, Args)]
struct Print {
    /// Write one file a definition into this directory instead
    #[arg(short, long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Apply {
    /// A file or directory of definitions, instead of those of this program
    #[arg(short, long)]
    filename: Option<PathBuf>,
}

impl Crds {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Print(print) => print.run()?,
            Command::Apply(apply) => apply.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Print {
    fn run(&self) -> anyhow::Result<()> {
        for (name, text) in crd::yaml()? {
            match &self.output {
                None => output::print_bytes(format!("---\n{text}").as_bytes())?,
                Some(directory) => {
                    let path = directory.join(name);
                    std::fs::write(&path, text)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

impl Apply {
    async fn run(&self) -> anyhow::Result<()> {
        let texts = match &self.filename {
            None => crd::yaml()?.into_iter().map(|(_, text)| text).collect(),
            Some(path) => read(path)?,
        };
        let definitions = parse(&texts)?;
        let api: Api<CustomResourceDefinition> = Api::all(k8s::client().await?);
        for definition in definitions {
            let name = definition.name_any();
            put(&api, &definition)
                .await
                .with_context(|| format!("cannot apply the definition {name}"))?;
            output::print_line(&format!(
                "customresourcedefinition.apiextensions.k8s.io/{name} applied"
            ))?;
        }
        Ok(())
    }
}

/// Applies a definition, as soon as that is allowed.
async fn put(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
) -> kube::Result<CustomResourceDefinition> {
    let (name, by_us) = (definition.name_any(), PatchParams::apply(k8s::FIELD_MANAGER).force());
    let began = Instant::now();
    let mut is_said = false;
    loop {
        match api.patch(&name, &by_us, &Patch::Apply(definition)).await {
            Err(kube::Error::Api(answer))
                if answer.is_forbidden() && began.elapsed() < RIGHTS_WITHIN =>
            {
                if !std::mem::replace(&mut is_said, true) {
                    tracing::warn!("the right to apply {name} is not in force yet, waiting for it");
                }
                tokio::time::sleep(RIGHTS_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.with_context(|| format!("cannot read {}", path.display()))?;
    let mut paths = vec![path.to_owned()];
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        paths = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        paths.sort();
    }
    let text = |path: PathBuf| {
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    paths.into_iter().map(text).collect()
}

/// Nothing is applied unless all of it can be read.
fn parse(texts: &[String]) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let mut definitions = Vec::new();
    for text in texts {
        let read = serde_saphyr::from_multiple::<CustomResourceDefinition>(text)
            .context("this is no definition of a custom resource")?;
        // Serde takes a document without a kind, and one without a name, for a definition.
        if let Some(nameless) = read.iter().find(|one| one.metadata.name.is_none()) {
            bail!(
                "this is no definition of a custom resource: it has no name (group {:?})",
                nameless.spec.group
            );
        }
        definitions.extend(read);
    }
    if definitions.is_empty() {
        bail!("there is no definition to apply");
    }
    Ok(definitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_applied() {
        let texts: Vec<String> = crd::yaml().unwrap().into_iter().map(|(_, text)| text).collect();
        let definitions = parse(&texts).unwrap();
        assert_eq!(definitions.len(), 9);
        assert!(definitions.iter().all(|one| one.spec.group == crd::GROUP));
    }

    #[test]
    fn what_is_no_definition_is_refused_and_nothing_is_nothing() {
        assert!(parse(&["kind: [".to_owned()]).is_err());
        assert!(parse(&["a: 1".to_owned()]).is_err());
        assert_eq!(parse(&[]).unwrap_err().to_string(), "there is no definition to apply");
    }
}
