//! References that are none, and names of plugins that lead elsewhere.

use std::fs;

use serde_json::json;

use super::{Home, YES, config, verifier};

#[tokio::test]
async fn a_reference_that_is_none_is_an_error_before_anything_is_asked() {
    let home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    let hex = "a".repeat(64);
    let (long_name, long_tag) = (format!("127.0.0.1:1/{}:v1", "a".repeat(256)), "t".repeat(129));
    let references = [
        "",
        " ",
        ":",
        "@",
        "/",
        "127.0.0.1:1/App:v1",
        "127.0.0.1:1/app:v1 ",
        "127.0.0.1:1/app:",
        "127.0.0.1:1/app@",
        "127.0.0.1:1/app@sha256:bad",
        "127.0.0.1:1/app@sha256",
        &format!("127.0.0.1:1/app@sha256:{}", hex.to_uppercase()),
        &format!("127.0.0.1:1/app@md5:{}", &hex[..32]),
        &hex,
        "127.0.0.1:1/a//b:v1",
        "127.0.0.1:1/../etc/passwd:v1",
        "http://127.0.0.1:1/app:v1",
        "127.0.0.1:1/app:v1?x=y",
        "127.0.0.1:1/app:v1\u{1b}[31m\nlevel=info msg=forged",
        &long_name,
        &format!("127.0.0.1:1/app:{long_tag}"),
    ];
    let mut text = String::new();
    for reference in references {
        let ran = home.run(&["verify", "-s", reference]).await;
        assert!(ran.code == Some(1) && ran.stdout.is_empty(), "{reference}: {ran:?}");
        let control = ran.stderr.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{:?}", ran.stderr);
        let shown = ran.shown(&home).replace(&hex, "<hex>").replace(&"a".repeat(256), "<256 a>");
        text.push_str(&format!("{}\n", shown.replace(&long_tag, "<129 t>")));
    }
    insta::assert_snapshot!(text, @"
    [1] Error: subject parameter is required
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    [1] Error: REFERENCE_INVALID: failed to parse subject reference
    ");
}

#[tokio::test]
async fn an_argument_that_is_no_text_is_an_error() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let mut command = home.command(&["verify", "-s"]);
    command.arg(std::ffi::OsStr::from_bytes(b"a\xff"));
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap().trim_end(), @"
    Error: invalid UTF-8 was detected in one or more arguments

    Usage: ratify verify [OPTIONS]

    For more information, try '--help'.
    ");
}

// Long because: it is a table.
#[tokio::test]
async fn a_name_that_leads_out_of_the_plugin_directory_is_refused() {
    let home = Home::new();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    // Each of these would be run if the name were only put behind the directory.
    for place in [&outside, &home.path().join(".ratify"), &home.plugins()] {
        crate::host::script(place, "judge", YES);
        crate::host::script(place, ".judge", YES);
    }
    let absolute = outside.join("judge").display().to_string();
    let long = "j".repeat(256);
    let names = [
        "",
        ".",
        "..",
        "../judge",
        "a/../judge",
        "./judge",
        ".judge",
        &absolute,
        "judge/",
        "judge\0",
        "\0",
        "judge\n",
        "..\\judge",
        &long,
    ];
    let mut text = String::new();
    for name in names {
        let mut of_verifier = verifier("judge");
        of_verifier["type"] = json!(name);
        home.configure(&config(&of_verifier));
        let as_verifier = home.run(&["verify", "-s", "127.0.0.1:1/app:v1"]).await;
        let mut of_store = config(&verifier("judge"));
        of_store["store"]["plugins"][0]["name"] = json!(name);
        home.configure(&of_store);
        let as_store = home.run(&["verify", "-s", "127.0.0.1:1/app:v1"]).await;
        let shown = format!("{name:?}").replace(&home.path().display().to_string(), "<home>");
        text.push_str(&format!("# {shown}\n"));
        for (kind, ran) in [("verifier", as_verifier), ("store", as_store)] {
            assert!(ran.code == Some(1) && ran.stdout.is_empty(), "{name}: {ran:?}");
            text.push_str(&format!("{kind} {}\n", ran.shown(&home)));
        }
    }
    insta::assert_snapshot!(text.replace(&long, "<256 j>"), @r#"
    # ""
    verifier [1] Error: PLUGIN_NOT_FOUND: Verifier plugin judge-1 not found: failed to find plugin "judge-1" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured.
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store:
    # "."
    verifier [1] Error: CONFIG_INVALID: Invalid name [.] in the Verifier configuration, it must have 1 to 255 bytes and no leading dot
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: .
    # ".."
    verifier [1] Error: CONFIG_INVALID: Invalid name [..] in the Verifier configuration, it must have 1 to 255 bytes and no leading dot
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: ..
    # "../judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [../judge] in the Verifier configuration, [47] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: ../judge
    # "a/../judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [a/../judge] in the Verifier configuration, [47] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: a/../judge
    # "./judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [./judge] in the Verifier configuration, [47] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: ./judge
    # ".judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [.judge] in the Verifier configuration, it must have 1 to 255 bytes and no leading dot
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: .judge
    # "<home>/outside/judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [<home>/outside/judge] in the Verifier configuration, [47] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: <home>/outside/judge
    # "judge/"
    verifier [1] Error: CONFIG_INVALID: Invalid name [judge/] in the Verifier configuration, [47] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: judge/
    # "judge\0"
    verifier [1] Error: CONFIG_INVALID: Invalid name [judge�] in the Verifier configuration, [0] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: judge�
    # "\0"
    verifier [1] Error: CONFIG_INVALID: Invalid name [�] in the Verifier configuration, [0] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: �
    # "judge\n"
    verifier [1] Error: CONFIG_INVALID: Invalid name [judge�] in the Verifier configuration, [10] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: judge�
    # "..\\judge"
    verifier [1] Error: CONFIG_INVALID: Invalid name [..\judge] in the Verifier configuration, [92] is disallowed
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: ..\judge
    # "<256 j>"
    verifier [1] Error: CONFIG_INVALID: Invalid name [jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj...] in the Verifier configuration, it must have 1 to 255 bytes and no leading dot
    store [1] Error: CONFIG_INVALID: invalid plugin name for a store: jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj...
    "#);
}
