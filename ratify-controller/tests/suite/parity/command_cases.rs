//! The other command lines that both hosts are given.

use super::{
    rows::*,
    verify_cases::{clear, sample},
};

/// One command line; `--config` with the file is added where there is one.
pub(super) struct CommandCase {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) config: Option<String>,
    pub(super) rows: &'static [&'static str],
}

impl CommandCase {
    fn differs(mut self, rows: &'static [&'static str]) -> Self {
        self.rows = rows;
        self
    }
}

pub(super) fn command_cases() -> Vec<CommandCase> {
    [reading(), referrer(), configurations(), lines()].into_iter().flatten().collect()
}

/// With the usual configuration.
fn usual(name: &'static str, arguments: &'static [&'static str]) -> CommandCase {
    CommandCase { name, arguments, config: Some(clear(sample()).to_string()), rows: &[] }
}

/// With no configuration named.
fn bare(name: &'static str, arguments: &'static [&'static str]) -> CommandCase {
    CommandCase { name, arguments, config: None, rows: &[] }
}

fn reading() -> Vec<CommandCase> {
    vec![
        usual("resolve a tag", &["resolve", "-s", "{api}/one:v1"]),
        usual("resolve a digest", &["resolve", "-s", "{api}/one@{one}"]),
        usual("resolve an unknown tag", &["resolve", "-s", "{api}/one:v9"]),
        usual("resolve an unknown repository", &["resolve", "-s", "{api}/absent:v1"]),
        usual("resolve where nobody is", &["resolve", "-s", "{nobody}/one:v1"]),
        usual("resolve nothing", &["resolve"]),
        usual("resolve what is no reference", &["resolve", "-s", "A/B"]),
        usual("discover one", &["discover", "-s", "{api}/one:v1"]),
        usual("discover by digest", &["discover", "-s", "{api}/one@{one}"]),
        usual("discover nested", &["discover", "-s", "{api}/nested:v1"]),
        usual("discover nothing", &["discover", "-s", "{api}/plain:v1"]),
        usual("discover with a password", &["discover", "-s", "{tags}/one:v1"]),
        usual("discover a list", &["discover", "-s", "{api}/nested:v1", "--flat"]),
        usual("discover an empty list", &["discover", "-s", "{api}/plain:v1", "--flat"]),
        usual("discover of a type", &["discover", "-s", "{api}/nested:v1", "--flat", "-t", "a/b"]),
        usual("discover an unknown tag", &["discover", "-s", "{api}/one:v9"]),
        usual("discover without a subject", &["discover"]),
        usual("verify in silence", &["verify", "-s", "{api}/one:v1", "--silent"]),
        usual("verify a type", &["verify", "-s", "{api}/one:v1", "-t", "a/b"]),
        usual("verify a digest", &["verify", "-s", "{api}/one@{one}"]),
        usual("verify a tag with a digest", &["verify", "-s", "{api}/one:v1@{one}"]),
        usual("verify without a subject", &["verify"]),
    ]
}

fn referrer() -> Vec<CommandCase> {
    vec![
        usual(
            "show a manifest",
            &[
                "referrer",
                "show-manifest",
                "-s",
                "{api}/one:v1",
                "-d",
                "{statement}",
                "--store",
                "oras",
            ],
        )
        .differs(&[REFERRER_DIGEST]),
        usual(
            "show a blob",
            &["referrer", "show-blob", "-s", "{api}/one:v1", "-d", "{blob}", "--store", "oras"],
        )
        .differs(&[REFERRER_DIGEST]),
        usual(
            "show a blob without a digest",
            &["referrer", "show-blob", "-s", "{api}/one:v1", "--store", "oras"],
        )
        .differs(&[REFERRER_DIGEST]),
        bare("referrer alone", &["referrer"]).differs(&[USAGE]),
    ]
}

fn configurations() -> Vec<CommandCase> {
    let one = |name, text: &str| CommandCase {
        name,
        arguments: &["verify", "-s", "{api}/one:v1"],
        config: Some(text.to_owned()),
        rows: &[],
    };
    vec![
        bare("no configuration", &["verify", "-s", "{api}/one:v1"]),
        bare(
            "a configuration that is not there",
            &["verify", "-s", "{api}/one:v1", "-c", "absent.json"],
        ),
        bare(
            "a configuration that is a directory",
            &["verify", "-s", "{api}/one:v1", "-c", "{home}"],
        )
        .differs(&[CONFIG_FILE]),
        one("an empty configuration", "").differs(&[DECODE_TEXT]),
        one("half a configuration", "{\"store\":").differs(&[DECODE_TEXT]),
        one("a configuration that is a list", "[]").differs(&[DECODE_TEXT]),
        one("a configuration that is null", "null").differs(&[NULL_CONFIG]),
        one("a configuration with something behind it", "{} {}").differs(&[DECODE_TEXT]),
        one("a configuration that is no JSON", "store: oras").differs(&[DECODE_TEXT]),
        one("a section of another type", r#"{"store": []}"#).differs(&[DECODE_TEXT]),
        one("an unknown logger", r#"{"logger": {"formatter": "xml"}}"#),
    ]
}

fn lines() -> Vec<CommandCase> {
    vec![
        bare("ratify alone", &[]).differs(&[USAGE]),
        bare("an unknown command", &["absent"]).differs(&[USAGE]),
        bare("an unknown flag", &["verify", "--absent"]).differs(&[USAGE]),
        bare("a flag without its value", &["verify", "-s"]).differs(&[USAGE]),
        bare("version", &["version"]).differs(&[VERSION]),
        bare("serve without a configuration", &["serve", "--http", "127.0.0.1:0"]),
        CommandCase {
            config: Some("{".to_owned()),
            rows: &[DECODE_TEXT],
            ..bare("serve with half a configuration", &["serve", "--http", "127.0.0.1:0"])
        },
        CommandCase {
            config: Some("{}".to_owned()),
            ..bare("serve with no sections", &["serve", "--http", "127.0.0.1:0"])
        },
    ]
}
