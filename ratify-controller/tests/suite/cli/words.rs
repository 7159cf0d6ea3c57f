//! Command lines: what is asked of each command, and what is said to one that cannot be understood.

use super::Home;

/// Runs each command line and shows exit code, stdout and error, one after another.
async fn shown(home: &Home, lines: &[&[&str]]) -> String {
    let mut text = String::new();
    for line in lines {
        let ran = home.run(line).await;
        text.push_str(&format!("$ ratify {}\n{}\n", line.join(" "), ran.shown(home)));
    }
    text
}

// Long because: it is a table.
#[tokio::test]
async fn a_command_line_that_cannot_be_understood_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    let lines: [&[&str]; 16] = [
        &["verfy"],
        &["--nonsense"],
        &["verify", "--nonsense"],
        &["verify", "--subject"],
        &["verify", "-s"],
        &["verify", "-s", "a", "--silent=perhaps"],
        &["verify", "-s", "a", "--timeout", "10"],
        &["verify", "a"],
        &["referrer", "show-blob", "--digest"],
        &["referrer", "show-everything"],
        &["serve", "--cache-size", "large"],
        &["serve", "--cache-ttl", "-1s"],
        &["plugin", "push", "x"],
        &["plugin", "push", "x", "--type", "t", "--version", "1", "--platform", "linux/amd64"],
        &["dev", "image", "x", "--attach", "text/plain"],
        &["dev", "registry", "--address", "here"],
    ];
    insta::assert_snapshot!(shown(&home, &lines).await, @r#"
    $ ratify verfy
    [1] Error: unrecognized subcommand 'verfy'

      tip: a similar subcommand exists: 'verify'

    Usage: ratify [OPTIONS] [COMMAND]

    For more information, try '--help'.
    $ ratify --nonsense
    [1] Error: unexpected argument '--nonsense' found

    Usage: ratify [OPTIONS] [COMMAND]

    For more information, try '--help'.
    $ ratify verify --nonsense
    [1] Error: unexpected argument '--nonsense' found

    Usage: ratify verify [OPTIONS]

    For more information, try '--help'.
    $ ratify verify --subject
    [1] Error: a value is required for '--subject <SUBJECT>' but none was supplied

    For more information, try '--help'.
    $ ratify verify -s
    [1] Error: a value is required for '--subject <SUBJECT>' but none was supplied

    For more information, try '--help'.
    $ ratify verify -s a --silent=perhaps
    [1] Error: invalid value 'perhaps' for '--silent[=<SILENT>]': give true or false

    For more information, try '--help'.
    $ ratify verify -s a --timeout 10
    [1] Error: invalid value '10' for '--timeout <TIMEOUT>': "10" is no duration; write it as 10s, 1m30s or 250ms

    For more information, try '--help'.
    $ ratify verify a
    [1] Error: unexpected argument 'a' found

    Usage: ratify verify [OPTIONS]

    For more information, try '--help'.
    $ ratify referrer show-blob --digest
    [1] Error: a value is required for '--digest <DIGEST>' but none was supplied

    For more information, try '--help'.
    $ ratify referrer show-everything
    [1] Error: unrecognized subcommand 'show-everything'

    Usage: ratify referrer [COMMAND]

    For more information, try '--help'.
    $ ratify serve --cache-size large
    [1] Error: invalid value 'large' for '--cache-size <CACHE_SIZE>': invalid digit found in string

    For more information, try '--help'.
    $ ratify serve --cache-ttl -1s
    [1] Error: failed to retrieve logger configuration: unable to load config: unable to read config file at path : open <home>/.ratify/config.json: no such file or directory
    $ ratify plugin push x
    [1] Error: the following required arguments were not provided:
      --type <TYPE>
      --version <VERSION>
      --platform <OS/ARCH=FILE>

    Usage: ratify plugin push --type <TYPE> --version <VERSION> --platform <OS/ARCH=FILE> <REF>

    For more information, try '--help'.
    $ ratify plugin push x --type t --version 1 --platform linux/amd64
    [1] Error: invalid value 'linux/amd64' for '--platform <OS/ARCH=FILE>': write it as linux/amd64=FILE

    For more information, try '--help'.
    $ ratify dev image x --attach text/plain
    [1] Error: invalid value 'text/plain' for '--attach <TYPE=FILE>': write it as TYPE=FILE, for example application/spdx+json=sbom.json

    For more information, try '--help'.
    $ ratify dev registry --address here
    [1] Error: invalid value 'here' for '--address <ADDRESS>': invalid socket address syntax

    For more information, try '--help'.
    "#);
}

#[tokio::test]
async fn what_a_command_needs_and_does_not_get_is_named_in_v1s_words() {
    let home = Home::new();
    home.write(".ratify/config.json", r#"{"store":{"plugins":[{"name":"oras"}]}}"#);
    let digest = format!("sha256:{}", "a".repeat(64));
    let lines: [&[&str]; 10] = [
        &["verify"],
        &["resolve"],
        &["discover"],
        &["referrer", "show-blob"],
        &["referrer", "show-blob", "-s", "a"],
        &["referrer", "show-blob", "-s", "a", "-d", &digest],
        &["referrer", "show-blob", "-s", "a", "-d", "sha256:beef", "--store", "oras"],
        &["referrer", "show-manifest", "-s", "a", "-d", &digest, "--store", "other"],
        &["serve", "--enable-crd-manager"],
        &["dev", "registry", "--address", "0.0.0.0:0"],
    ];
    insta::assert_snapshot!(shown(&home, &lines).await, @"
    $ ratify verify
    [1] Error: subject parameter is required
    $ ratify resolve
    [1] Error: subject parameter is required
    $ ratify discover
    [1] Error: subject parameter is required
    $ ratify referrer show-blob
    [1] Error: subject parameter is required
    $ ratify referrer show-blob -s a
    [1] Error: digest parameter is required
    $ ratify referrer show-blob -s a -d sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    [1] Error: store name parameter is required
    $ ratify referrer show-blob -s a -d sha256:beef --store oras
    [1] Error: the digest of the subject is invalid sha256:beef: invalid checksum digest length
    $ ratify referrer show-manifest -s a -d sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --store other
    [1] Error: cannot find store with name other
    $ ratify serve --enable-crd-manager
    [1] Error: --enable-crd-manager needs --http: there is nobody to ask
    $ ratify dev registry --address 0.0.0.0:0
    [1] Error: the registry listens on loopback addresses only, and 0.0.0.0:0 is none
    ");
}

#[tokio::test]
async fn ratify_alone_and_asked_for_help_prints_its_usage_and_succeeds() {
    let home = Home::new();
    let alone = home.must(&[]).await;
    insta::assert_snapshot!(alone, @"
    Ratify verifies what proves that a container image may be trusted

    Usage: ratify [OPTIONS] [COMMAND]

    Commands:
      verify    Verify a subject
      resolve   Resolve digest of a subject that is referenced by a tag
      discover  Discover referrers for a subject
      referrer  Read the manifest or a blob of a referrer
      serve     Run ratify as a server
      version   Show the ratify version information
      plugin    Install, list, inspect, push and try plugins
      crds      Print or apply the definitions of the custom resources
      doctor    Say what stands in the way of a verification, and what to do about it
      migrate   Say what of an installation of v1 carries over
      dev       Tools for development
      help      Print this message or the help of the given subcommand(s)

    Options:
      -d, --debug[=<DEBUG>]  Log at level debug [default: false]
      -h, --help             Print help
    ");
    for line in ["--help", "-h", "help"] {
        assert_eq!(home.must(&[line]).await, alone, "{line}");
    }
    let usage = [
        ("verify", "Usage: ratify verify [OPTIONS]"),
        ("resolve", "Usage: ratify resolve [OPTIONS]"),
        ("discover", "Usage: ratify discover [OPTIONS]"),
        ("serve", "Usage: ratify serve [OPTIONS]"),
        ("version", "Usage: ratify version [OPTIONS]"),
        ("plugin", "Usage: ratify plugin <COMMAND>"),
        ("dev", "Usage: ratify dev <COMMAND>"),
        ("referrer", "Usage: ratify referrer [COMMAND]"),
    ];
    for (command, usage) in usage {
        let help = home.must(&[command, "--help"]).await;
        assert!(help.contains(usage), "{command}: {help}");
    }
    // A command alone that has others below it prints its usage, too.
    for (command, one) in [("referrer", "show-blob"), ("plugin", "install"), ("dev", "registry")] {
        let usage = home.must(&[command]).await;
        assert!(usage.contains(one), "{command}: {usage}");
    }
}

#[tokio::test]
async fn version_prints_labels_and_values() {
    let home = Home::new();
    let version = home.must(&["version"]).await;
    let of_this_build = version.replace(env!("CARGO_PKG_VERSION"), "<version>");
    let lines: Vec<&str> = of_this_build.lines().filter(|line| !line.starts_with("Git")).collect();
    insta::assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_RUST_VERSION"), "<rust>"), @"
    Version:      v<version>
    Rust version: <rust>
    Replaces:     Ratify v1.4.0
    ");
}

#[tokio::test]
async fn of_a_flag_that_is_given_twice_the_last_one_counts() {
    let home = Home::new();
    let line = ["-d", "-d", "resolve", "-s", "a", "-c", "first.json", "--config", "last.json"];
    let ran = home.run(&line).await;
    assert!(ran.stderr.contains("last.json"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("first.json"), "{}", ran.stderr);
}
