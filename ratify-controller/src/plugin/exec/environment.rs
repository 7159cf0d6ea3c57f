//! What a plugin sees of the host's environment variables.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use ratify_core::{Basis, config::PluginEnv};

/// What `pluginEnv: minimal` lets through; proxies are read in both cases by what uses them.
const MINIMAL: [&str; 10] = [
    "HOME",
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// What opens a collector of traces, or a key that signs, to this process is not every program's.
const PRIVATE: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "COSIGN_PASSWORD"];

/// What differs from replica to replica and means nothing.
const OF_THIS_POD: &str = "HOSTNAME";

/// The variables this process was started with.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// From `std::env::vars_os()`, or a test's own list.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().filter(|(name, _)| !is_private(name)).collect())
    }

    /// The whole environment of one call: the host's variables, or few of them, and the
    /// protocol's. Of several values the last counts, as in v1.
    pub fn for_plugin(
        &self,
        plugin_env: PluginEnv,
        protocol: &[(&'static str, String)],
    ) -> Vec<(OsString, OsString)> {
        let is_passed = |name: &OsStr| match plugin_env {
            PluginEnv::Inherit => true,
            PluginEnv::Minimal => MINIMAL.iter().any(|passed| *passed == name),
        };
        let inherited = self.0.iter().filter(|(name, _)| is_passed(name)).cloned();
        let protocol = protocol.iter().map(|(name, value)| (name.into(), value.into()));
        inherited.chain(protocol).collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Adds what a plugin sees of the host's variables, for it may decide by any of them.
    pub(super) fn add_basis(&self, plugin_env: PluginEnv, basis: &mut Basis) {
        for (name, value) in self.for_plugin(plugin_env, &[]) {
            if name != OF_THIS_POD {
                basis.add("variable", name.as_encoded_bytes());
                basis.add("is", value.as_encoded_bytes());
            }
        }
    }
}

/// Whether a variable is a secret that no program of those that this process starts is told.
pub(in crate::plugin) fn is_private(name: &OsStr) -> bool {
    PRIVATE.iter().any(|private| *private == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_the_collector_of_traces_or_a_key_is_passed_to_no_plugin() {
        let host = [
            "A",
            "COSIGN_PASSWORD",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        ];
        let host = Environment::new(host.map(|name| (name.into(), "x".into())));
        let passed = host.for_plugin(PluginEnv::Inherit, &[]);
        assert_eq!(passed, [("A".into(), "x".into())]);
    }

    #[test]
    fn any_variable_that_is_passed_on_counts_but_the_name_of_the_pod() {
        let basis = |plugin_env, variables: &[(&str, &str)]| {
            let host = variables.iter().map(|(name, value)| (name.into(), value.into()));
            let mut basis = Basis::default();
            Environment::new(host).add_basis(plugin_env, &mut basis);
            basis.bytes().unwrap().to_vec()
        };
        let (one, other) = ([("HOSTNAME", "a"), ("A", "1")], [("HOSTNAME", "b"), ("A", "2")]);
        let host_alone = [("A", "1"), ("HOSTNAME", "c")];
        assert_eq!(basis(PluginEnv::Inherit, &one), basis(PluginEnv::Inherit, &host_alone));
        assert_ne!(basis(PluginEnv::Inherit, &one), basis(PluginEnv::Inherit, &other));
        assert_eq!(basis(PluginEnv::Minimal, &one), basis(PluginEnv::Minimal, &other));
    }

    fn text(plugin_env: PluginEnv) -> String {
        let host = [
            ("HOME", "/h"),
            ("PATH", "/bin"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("https_proxy", "p"),
            ("RATIFY_VERIFIER_COMMAND", "of the host"),
            ("RATIFY_CONFIG", "/c"),
        ];
        let host = Environment::new(host.map(|(name, value)| (name.into(), value.into())));
        let protocol = [("RATIFY_VERIFIER_COMMAND", "VERIFY".to_owned())];
        let lines = host.for_plugin(plugin_env, &protocol).into_iter();
        let lines = lines.map(|(n, v)| format!("{}={}", n.display(), v.display()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_plugin_gets_the_whole_environment_and_the_protocol_wins() {
        insta::assert_snapshot!(text(PluginEnv::Inherit), @r"
        AWS_SECRET_ACCESS_KEY=s
        HOME=/h
        PATH=/bin
        RATIFY_CONFIG=/c
        RATIFY_VERIFIER_COMMAND=VERIFY
        https_proxy=p
        ");
    }

    #[test]
    fn a_minimal_environment_holds_no_credentials() {
        insta::assert_snapshot!(text(PluginEnv::Minimal), @r"
        HOME=/h
        PATH=/bin
        RATIFY_VERIFIER_COMMAND=VERIFY
        https_proxy=p
        ");
    }
}
