//! What the administrators' sections take, and which repository a pattern covers.

use super::*;
use crate::config::Config;

fn read(text: &str) -> Result<Config, String> {
    Config::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

fn covers(pattern: &str, artifact: &str) -> bool {
    let reference = Reference::parse_exact(artifact).unwrap();
    RepositoryPattern::parse(pattern).unwrap().covers(&reference)
}

#[test]
fn without_the_sections_nothing_is_forbidden_but_programs_of_namespaces() {
    let config = read("{}").unwrap();
    assert_eq!((config.plugins, config.namespaces), Default::default());
    assert!(!PluginRules::default().namespaced_source);
}

#[test]
fn every_switch_is_read() {
    let hex = "a".repeat(64);
    let text = format!(
        r#"{{"Plugins":{{"allowedRepositories":["registry.example.com/team/*","docker.io/x"],
            "deniedDigests":["sha256:{hex}"],"requireDigest":true,"maxSizeBytes":7,
            "namespaces":{{"source":true,"anyAddress":true}}}},"namespaces":{{"tightenOnly":true,"clusterCredentials":true}}}}"#
    );
    let config = read(&text).unwrap();
    let rules = config.plugins;
    let patterns: Vec<String> =
        rules.allowed_repositories.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["registry.example.com/team/*", "docker.io/library/x"]);
    assert!(rules.denied_digests.contains(&format!("sha256:{hex}").parse().unwrap()));
    assert!(rules.require_digest && rules.namespaced_source && rules.namespaced_any_address);
    assert_eq!(rules.max_size, Some(7));
    assert!(config.namespaces.tighten_only && config.namespaces.cluster_credentials);
    assert!(config.rest.is_empty());
}

#[test]
fn a_misspelt_key_a_null_and_a_wrong_kind_are_errors_that_say_where() {
    let cases = [
        (
            r#"{"plugins":{"denyDigests":[]}}"#,
            "plugins: unknown key denyDigests: a rule that is misspelt would not be kept",
        ),
        (
            r#"{"plugins":{"namespaces":{"sources":true}}}"#,
            "plugins.namespaces: unknown key sources: a rule that is misspelt would not be kept",
        ),
        (
            r#"{"namespaces":{"tighten":true}}"#,
            "namespaces: unknown key tighten: a rule that is misspelt would not be kept",
        ),
        (
            r#"{"plugins":{"allowedRepositories":null}}"#,
            "plugins.allowedRepositories: expected a value, or no such key, found null",
        ),
        (
            r#"{"plugins":{"allowedRepositories":"a/b"}}"#,
            "plugins.allowedRepositories: expected an array of strings, found a string",
        ),
        (
            r#"{"plugins":{"deniedDigests":["sha256:ab"]}}"#,
            r#"plugins.deniedDigests[0]: "sha256:ab": invalid checksum digest length"#,
        ),
        (
            r#"{"plugins":{"maxSizeBytes":0}}"#,
            "plugins.maxSizeBytes: a program has at least 1 byte",
        ),
        (
            r#"{"plugins":{"requireDigest":"true"}}"#,
            "plugins.requireDigest: expected true or false, found a string",
        ),
        (
            r#"{"plugins":{"namespaces":{"source":1}}}"#,
            "plugins.namespaces.source: expected true or false, found a number",
        ),
        (r#"{"plugins":[]}"#, "plugins: expected an object, found an array"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_pattern_is_a_repository_or_all_below_a_folder_and_nothing_else() {
    let refused = [
        "",
        "*",
        "/*",
        "registry.example.com",
        "*/x",
        "*.example.com/x",
        "registry.example.com:*/x",
        "registry.example.com/te*",
        "registry.example.com/*/x",
        "registry.example.com/team/**",
        "registry.example.com/team/",
        "registry.example.com/team:1",
        "registry.example.com/team@sha256:aa",
        "https://registry.example.com/team",
        "registry.example.com/Team/*",
        "registry.example.com/../*",
        "user@registry.example.com/x",
    ];
    for text in refused {
        assert!(RepositoryPattern::parse(text).is_err(), "{text} must be refused");
    }
}

#[test]
fn what_a_pattern_covers() {
    let covered = [
        ("registry.example.com/team/*", "registry.example.com/team/a:1"),
        ("registry.example.com/team/*", "registry.example.com/team/a/b/c:1"),
        ("registry.example.com/team/*", "Registry.Example.COM/team/a:1"),
        ("registry.example.com/*", "registry.example.com/a:1"),
        ("registry.example.com/a", "registry.example.com/a:1"),
        ("registry.example.com:5000/a", "registry.example.com:5000/a:1"),
        ("docker.io/team/*", "index.docker.io/team/a:1"),
        ("index.docker.io/library/a", "docker.io/a:1"),
        ("docker.io/a", "registry-1.docker.io/library/a:1"),
        ("registry/a", "registry/a:1"),
    ];
    for (pattern, artifact) in covered {
        assert!(covers(pattern, artifact), "{pattern} must cover {artifact}");
    }
}

#[test]
fn no_game_with_names_gets_past_a_pattern() {
    let attacks = [
        // A longer host, a shorter one, another one that begins or ends so.
        ("registry.example.com/team/*", "registry.example.com.evil/team/a:1"),
        ("registry.example.com/team/*", "registry.example.co/team/a:1"),
        ("registry.example.com/team/*", "evil-registry.example.com/team/a:1"),
        ("registry.example.com/team/*", "evil.registry.example.com/team/a:1"),
        // The allowed host as a path, or as a folder of another registry.
        ("registry.example.com/team/*", "evil.example/registry.example.com/team/a:1"),
        // A port is another registry.
        ("registry.example.com/team/*", "registry.example.com:8443/team/a:1"),
        ("registry.example.com/team/*", "registry.example.com:443/team/a:1"),
        ("registry.example.com:5000/a", "registry.example.com:50000/a:1"),
        ("registry.example.com:5000/a", "registry.example.com:05000/a:1"),
        ("registry.example.com:5000/a", "registry.example.com/a:5000"),
        // A folder that begins so, the folder itself, the folder further down.
        ("registry.example.com/team/*", "registry.example.com/team-evil/a:1"),
        ("registry.example.com/team/*", "registry.example.com/team:1"),
        ("registry.example.com/team/*", "registry.example.com/x/team/a:1"),
        ("registry.example.com/a", "registry.example.com/a/b:1"),
        ("registry.example.com/a", "registry.example.com/ab:1"),
        // A host without a dot is a host, never a folder of Docker Hub.
        ("docker.io/*", "team/a:1"),
        ("docker.io/team/*", "team/a:1"),
        ("team/*", "docker.io/team/a:1"),
        ("docker.io/library/*", "docker.io/team/a:1"),
    ];
    for (pattern, artifact) in attacks {
        assert!(!covers(pattern, artifact), "{pattern} must not cover {artifact}");
    }
    for artifact in [
        "registry.example.com/team/../evil/a:1",
        "registry.example.com/team/%2e%2e/a:1",
        "registry.example.com./team/a:1",
        "user@registry.example.com/team/a:1",
        "registry.example.com@evil.example/team/a:1",
        "registry.example.com#evil.example/team/a:1",
        "registry.example.com\\evil/team/a:1",
        "regiſtry.example.com/team/a:1",
        "https://registry.example.com/team/a:1",
    ] {
        assert!(Reference::parse_exact(artifact).is_err(), "{artifact} is no reference");
    }
}
