//! Which registries are looked at, for whose sake, and how far. Pure.

use ratify_core::{
    Reference,
    config::{PluginSource, StorePluginConfig},
};
use ratify_store_oras::Depth;
use serde_json::Value;

use super::finding::{Finding, shown};

/// More are not looked at: each costs requests.
const MOST: usize = 24;

/// One question to a registry.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What findings are on.
    pub(super) on: String,
    pub(super) reference: Reference,
    pub(super) depth: Depth,
    pub(super) by: By,
}

/// Who asks: with whose credentials, and by which scheme.
#[derive(Debug, Clone)]
pub(super) enum By {
    Store(Box<StorePluginConfig>),
    Source(Box<PluginSource>),
}

/// All that name a registry.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    /// What was typed.
    pub(super) images: &'a [String],
    pub(super) stores: &'a [StorePluginConfig],
    pub(super) sources: &'a [PluginSource],
    /// The directories of `hosts.toml` files.
    pub(super) hosts: &'a [String],
}

/// Each registry once, as deep as anybody asks; and what is to be said of what names none.
pub(super) fn targets(named: &Named<'_>) -> (Vec<Target>, Vec<Finding>) {
    let (mut targets, mut findings) = (Vec::new(), Vec::new());
    let stores: Vec<_> = named.stores.iter().filter(|store| store.name == "oras").collect();
    for image in named.images {
        match Reference::parse_subject(image) {
            Err(error) => findings.push(
                Finding::failure("registry.image", image, shown(&error.to_string()))
                    .why("it names no image")
                    .fix("ratify doctor registry.example.com/app:v1"),
            ),
            Ok(reference) => targets.extend(stores.iter().map(|store| Target {
                on: image.clone(),
                reference: reference.clone(),
                depth: Depth::Image,
                by: By::Store(Box::new((*store).clone())),
            })),
        }
    }
    for source in named.sources {
        // What names none is a finding of the plugin.
        let Ok(reference) = Reference::parse_exact(&source.artifact) else { continue };
        let is_known = |target: &Target| target.reference == reference && target.is_of_source();
        if !targets.iter().any(is_known) {
            let (on, by) = (source.artifact.clone(), By::Source(Box::new(source.clone())));
            targets.push(Target { on, reference, depth: Depth::Image, by });
        }
    }
    if let Some(store) = stores.first() {
        let matched = stores.iter().flat_map(|store| matched(store));
        for host in named.hosts.iter().cloned().chain(matched) {
            let is_known = |target: &Target| target.reference.registry() == host;
            let Ok(reference) = Reference::parse_exact(&format!("{host}/any:any")) else {
                continue;
            };
            if !targets.iter().any(is_known) {
                let by = By::Store(Box::new((*store).clone()));
                targets.push(Target { on: host, reference, depth: Depth::Registry, by });
            }
        }
    }
    for target in targets.iter().skip(MOST) {
        let why = format!("{MOST} others were; name it alone: ratify doctor {}", shown(&target.on));
        findings.push(Finding::not_checked("registry.connect", &target.on, why));
    }
    targets.truncate(MOST);
    (targets, findings)
}

impl Target {
    fn is_of_source(&self) -> bool {
        matches!(self.by, By::Source(_))
    }
}

/// The hosts that the rules of `authProviders` name, without those that stand for several.
fn matched(store: &StorePluginConfig) -> Vec<String> {
    let rules = store.raw.get("authProviders").and_then(Value::as_array).into_iter().flatten();
    let matches = rules.filter_map(|rule| rule.get("match")?.as_array()).flatten();
    let hosts = matches.filter_map(|text| text.as_str()?.split('/').next());
    hosts.filter(|host| !host.contains('*')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(raw: Value) -> StorePluginConfig {
        StorePluginConfig::from_entry(raw.as_object().unwrap(), "1.0.0").unwrap()
    }

    fn source(artifact: &str) -> PluginSource {
        let entry = json!({"source": {"artifact": artifact}});
        PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_registry_is_looked_at_once_and_as_deep_as_anybody_asks() {
        let rules = json!([{"match": ["a.example.com", "*.b.example.com", "c.example.com/team/*"], "anonymous": true}]);
        let stores = [
            store(json!({"name": "oras", "authProviders": rules})),
            store(json!({"name": "other"})),
        ];
        let images = ["a.example.com/app:v1".to_owned(), "app@x".to_owned()];
        let sources = [source("p.example.com/p:1"), source("p.example.com/p:1"), source("none")];
        let hosts = ["a.example.com".to_owned(), "h.example.com:5000".to_owned()];
        let named = Named { images: &images, stores: &stores, sources: &sources, hosts: &hosts };
        let (targets, findings) = targets(&named);
        let seen: Vec<_> = targets.iter().map(|one| (one.on.as_str(), one.depth)).collect();
        let expected = [
            ("a.example.com/app:v1", Depth::Image),
            ("p.example.com/p:1", Depth::Image),
            ("h.example.com:5000", Depth::Registry),
            ("c.example.com", Depth::Registry),
        ];
        assert_eq!(seen, expected);
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn their_number_is_bounded_and_what_is_left_out_is_said() {
        let images: Vec<_> = (0..MOST + 2).map(|n| format!("r{n}.example.com/app:v1")).collect();
        let stores = [store(json!({"name": "oras"}))];
        let named = Named { images: &images, stores: &stores, ..Named::default() };
        let (targets, findings) = targets(&named);
        assert_eq!((targets.len(), findings.len()), (MOST, 2));
    }
}
