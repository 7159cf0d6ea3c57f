//! What a plugin of Notation has to say of a signature that names one: it is found before anything is
//! checked, for it may judge in the verifier's place, and asked in the end.

use std::sync::Arc;

use semver::Version;
use serde_json::Value;

use super::{Verification, untrusted_revocation};
use crate::{
    VerificationPlugin,
    envelope::{Attribute, Envelope},
    go,
    plugin::{Answer, Capability, Metadata, ask, cut, verify_signature},
    policy::{Action, Check},
    refusal::{Refusal, Result},
};

/// The signed attribute that names a plugin.
pub(super) const VERIFICATION_PLUGIN: &str = "io.cncf.notary.verificationPlugin";
/// The one that names the least version of it.
const VERIFICATION_PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// The plugin that a signature names, found.
pub(super) struct Named {
    name: String,
    program: Arc<dyn VerificationPlugin>,
    capabilities: Vec<Capability>,
}

impl Named {
    /// Whether it judges this in the verifier's place.
    pub(super) fn judges(&self, what: Capability) -> bool {
        self.capabilities.contains(&what)
    }
}

impl Verification<'_> {
    /// Finds the plugin that a signature names; `None` where it names none, so that nobody is there to
    /// understand what is critical and not of the specification.
    pub(super) async fn plugin(&self, envelope: &Envelope) -> Result<Option<Named>> {
        let Some(name) = text(envelope, VERIFICATION_PLUGIN)? else {
            let mut unknown = of_plugin(envelope).filter(|one| one.is_critical);
            return match unknown.next() {
                None => Ok(None),
                Some(attribute) => Err(format!("extended critical attribute {} was not processed, since the signature names no verification plugin", shown(&attribute.key)).into()),
            };
        };
        let least = least_version(envelope).map_err(|refusal| {
            refusal.within("error while getting plugin minimum version, error: ")
        })?;
        let found = match self.plugins {
            Some(plugins) => plugins.find(name),
            None => Err("no plugins of Notation are run here".to_owned()),
        };
        let program = found.map_err(|reason| {
            let text = format!("error while locating the verification plugin {}, make sure the plugin is installed successfully before verifying the signature. error: {reason}", shown(name));
            Refusal::from(text).unknown()
        })?;
        let metadata = Metadata::of(&*program, name, self.plugin_config, self.context).await?;
        metadata.check(name, least.as_ref())?;
        let capabilities = metadata.capabilities;
        Ok(Some(Named { name: name.to_owned(), program, capabilities }))
    }

    /// Asks a plugin, and weighs what it found out. Nobody is asked whether certificates were revoked that
    /// nobody vouches for: the addresses in them are anybody's.
    pub(super) async fn ask(
        &self,
        plugin: &Named,
        envelope: &Envelope,
        is_trusted: bool,
    ) -> Result<()> {
        let mut asked = plugin.capabilities.clone();
        if plugin.judges(Capability::RevocationCheck) {
            let is_skipped = self.statement.level.action(Check::Revocation) == Action::Skip;
            if is_skipped || !is_trusted {
                asked.retain(|what| *what != Capability::RevocationCheck);
            }
            if !is_skipped && !is_trusted {
                self.weigh::<()>(Check::Revocation, Err(untrusted_revocation()))?;
            }
        }
        if asked.is_empty() {
            return check_processed(plugin, envelope, |attribute| !attribute.is_critical);
        }
        let attributes: Vec<&Attribute> = of_plugin(envelope).filter(|one| one.is_text).collect();
        let identities = &self.statement.identities;
        let failed = |refusal: Refusal| {
            let name = ratify_core::capped_line(&plugin.name, 200);
            refusal.within(&format!("failed to verify with plugin {name}: "))
        };
        let config = self.plugin_config;
        let call =
            verify_signature(envelope, &attributes, identities, &asked, config, self.context);
        let call = call.map_err(failed)?;
        let command = call.command;
        let fields = ask(&*plugin.program, &plugin.name, call).await.map_err(failed)?;
        let answer = Answer::read(&fields)
            .ok_or_else(|| failed(crate::plugin::malformed(&plugin.name, command)))?;
        // As in v1, all that it was shown has to be processed, also what is not critical.
        check_processed(plugin, envelope, |attribute| match attribute.is_text {
            true => answer.has_processed(&attribute.key),
            false => !attribute.is_critical,
        })?;
        asked.into_iter().try_for_each(|what| self.weigh_finding(plugin, &answer, what))
    }

    fn weigh_finding(&self, plugin: &Named, answer: &Answer, what: Capability) -> Result<()> {
        let name = shown(&plugin.name);
        let Some(finding) = answer.finding(what) else {
            let what = go::quoted(what.name());
            let text = format!("verification plugin {name} failed to verify {what}");
            return Err(Refusal::from(text).unknown());
        };
        let (check, words) = match what {
            Capability::TrustedIdentity => {
                (Check::Authenticity, "trusted identify verification by plugin")
            }
            Capability::RevocationCheck => {
                (Check::Revocation, "revocation check by verification plugin")
            }
        };
        let result = match finding.is_success {
            true => Ok(None),
            false => {
                let reason = go::quoted(cut(&finding.reason));
                Err(format!("{words} {name} failed with reason {reason}").into())
            }
        };
        self.weigh::<()>(check, result).map(drop)
    }
}

/// The attributes that are for the plugin to understand.
fn of_plugin(envelope: &Envelope) -> impl Iterator<Item = &Attribute> {
    let is_about = [VERIFICATION_PLUGIN, VERIFICATION_PLUGIN_MIN_VERSION];
    envelope.attributes.iter().filter(move |one| !is_about.contains(&one.key.as_str()))
}

fn check_processed(
    plugin: &Named,
    envelope: &Envelope,
    is_processed: impl Fn(&Attribute) -> bool,
) -> Result<()> {
    match of_plugin(envelope).find(|attribute| !is_processed(attribute)) {
        None => Ok(()),
        Some(attribute) => {
            let [key, name] = [&attribute.key, &plugin.name].map(|text| shown(text));
            Err(format!("extended critical attribute {key} was not processed by the verification plugin {name} (all extended critical attributes must be processed by the verification plugin)").into())
        }
    }
}

fn least_version(envelope: &Envelope) -> Result<Option<Version>> {
    let key = VERIFICATION_PLUGIN_MIN_VERSION;
    let Some(version) = text(envelope, key)? else { return Ok(None) };
    match Version::parse(version) {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(format!("{key} from extended attribute is not a valid SemVer").into()),
    }
}

/// The text of an attribute, which has to be critical.
fn text<'a>(envelope: &'a Envelope, key: &str) -> Result<Option<&'a str>> {
    let Some(attribute) = envelope.attributes.iter().find(|one| one.key == key) else {
        return Ok(None);
    };
    if !attribute.is_critical {
        return Err(format!("{key} is not a critical Extended attribute").into());
    }
    match &attribute.value {
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(format!("{key} from extended attribute is an empty string").into())
        }
        Some(Value::String(text)) => Ok(Some(text)),
        _ => Err(format!("{key} from extended attribute is not a string").into()),
    }
}

fn shown(text: &str) -> String {
    go::quoted(&ratify_core::capped_line(text, 200))
}
