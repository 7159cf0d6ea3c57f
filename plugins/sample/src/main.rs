//! A verifier that accepts every artifact that has a size. The documentation shows what stands
//! between the anchors, and the tests of the main job run it.

mod first_blob;
#[cfg(feature = "v1-host")]
mod v1_host;

use std::process::ExitCode;

#[cfg(not(feature = "v1-host"))]
use ratify_plugin_sdk::run;
#[cfg(feature = "v1-host")]
use v1_host::run;

// ANCHOR: plugin
use ratify_plugin_sdk::{Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default, rename = "readBlobs")]
    read_blobs: bool,
}

impl VerifierPlugin for Sample {
    type Parameters = Self;

    fn new(parameters: Self, config: &VerifierConfig) -> Result<Self> {
        ratify_plugin_sdk::log::info(format_args!("initialized plugin {}", config.name));
        Ok(parameters)
    }

    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
        let mut report = VerifierReport::success("Sample verification success");
        report.is_success = subject.referrer.size > 0;
        if self.read_blobs {
            report.extensions = first_blob::describe(subject, store)?;
        }
        Ok(report)
    }
}

fn main() -> ExitCode {
    run::<Sample>()
}
// ANCHOR_END: plugin

#[cfg(test)]
mod tests;
