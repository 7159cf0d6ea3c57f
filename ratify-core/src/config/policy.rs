//! The `policy` section: what decides.

use serde_json::{Map, Value};

use super::{ConfigError, Section};

/// The `policy` section.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// The version of the section. Nothing depends on it.
    pub version: String,
    /// The one policy's entry, as written; `None` where it is missing.
    pub plugin: Option<Map<String, Value>>,
}

impl PolicyConfig {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        Ok(Self {
            version: section.string("version")?.unwrap_or_default(),
            plugin: section.section("plugin")?.map(|section| section.values),
        })
    }
}
