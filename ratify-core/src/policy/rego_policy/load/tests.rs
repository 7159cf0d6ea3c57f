//! What is refused, by line and name.

use super::*;

fn refused(policy: &str) -> String {
    load(policy).unwrap_err().to_string().replace("1 error occurred: policy.rego:", "")
}

/// The refusal of a body, each statement of which stands on a line of its own, from line 3 on.
fn body(statements: &str) -> String {
    let head = "package ratify.policy\nimport future.keywords";
    let rules = "f(x) { x == 1 } s[x] { x := 1 } p = 1 { input.a } valid {";
    refused(&format!("{head} {rules}\n{}\n}}", statements.replace("; ", "\n")))
}

#[test]
fn every_form_that_is_not_proven_is_refused_by_line_and_name() {
    let unproven = |line: u32, what: &str| format!("{line}: rego_unproven_error: {what}");
    let cases = [
        ("true; p == 1 with input as {}", 4, "`with`"),
        ("not input.xs[_] == 1", 3, "`[_]`, which runs over a collection, in `not`"),
        ("not input.xs[i]", 3, "`[i]`, which runs over a collection, in `not`"),
        ("not input.a = 1", 3, "`=` in `not`: write `==`, or `!=` without it"),
        ("x := 1 in input.xs", 3, "`in` as a value: write it as a statement"),
        ("[input.a in input.xs]", 3, "`in` as a value: write it as a statement"),
        ("0, 1 in input.xs", 3, "`k, v in xs` without `some`"),
        ("not 0, 1 in input.xs", 3, "`k, v in xs` without `some`"),
        ("walk(input)", 3, "`walk` whose result has no name: write `walk(x, [path, value])`"),
        ("x := [v | [_, v] := walk(input)][0]; count(walk(input)) == 1", 3, "a way into a literal"),
        (
            "count(walk(input)) == 1",
            3,
            "`walk` within another expression: write `walk(x, [path, value])`",
        ),
        (
            "some [p, v] in walk(input)",
            3,
            "`walk` within another expression: write `walk(x, [path, value])`",
        ),
        ("walk(input.xs[_], [p, v])", 3, "`[_]`, which runs over a collection, in `walk`"),
        ("some x in input.xs[_]", 3, "`[_]`, which runs over a collection, in `some … in`"),
        ("every x in input.xs[_] { x }", 3, "`[_]`, which runs over a collection, in `every`"),
        ("x := [input.xs[_]]", 3, "`[_]`, which runs over a collection, in a literal"),
        ("input.a[input.xs[_]]", 3, "`[_]`, which runs over a collection, in an index"),
        (
            "split(input.a, \",\")[_] == \"a\"",
            3,
            "a loop over the result of a call: give it a name",
        ),
        ("[1, 2][_] == 1", 3, "a way into a literal"),
        ("x := (input.a == 1) == true", 3, "a comparison within another expression"),
        ("f(input.a == 1)", 3, "a comparison within another expression"),
        ("{\"a\": x} := input", 3, "a pattern other than new names and arrays of them"),
        ("[1, x] := input.xs", 3, "a pattern other than new names and arrays of them"),
        ("x := 1; y := [x | x := 2]", 4, "the name `x` is taken: a variable may hide no other"),
        ("y := [x | x := 2]; x := 1", 4, "the name `x` also stands in a query within this one"),
        ("x := 1; x := 2", 4, "the name `x` is taken: a variable may hide no other"),
        ("p := 1", 3, "the name `p` is taken: a variable may hide no other"),
        ("every p in input.xs { p }", 3, "the name `p` is taken: a variable may hide no other"),
        ("some p; input.xs[p]", 3, "the name `p` is taken: a variable may hide no other"),
        (
            "some x; y := [1 | input.xs[x]]",
            4,
            "the name `x` also stands in a query within this one",
        ),
        (
            "count := 1; count([]) == count",
            3,
            "`count` as a variable, where it is called as a function too",
        ),
        (
            "time.now_ns() > 1; time := 1",
            4,
            "`time` as a variable, where it is called as a function too",
        ),
        ("input := 1", 3, "`input` as a name of one's own: OPA gives it a meaning"),
        ("ratify__1 := 1", 3, "`ratify__1` as a name of one's own: OPA gives it a meaning"),
        ("data.a.b", 3, "`data`: there is none but the input"),
        ("f", 3, "the function f as a value"),
        ("input.a == -input.b", 3, "`-` before what is no number"),
        ("input.a == 1e9", 3, "a number written as 1e9"),
        ("input.a == 123456789012345678", 3, "a number written as 123456789012345678"),
    ];
    for (statements, line, what) in cases {
        let got = body(statements);
        let expected = unproven(line, what);
        assert_eq!(got, expected, "{statements}");
    }
}

#[test]
fn every_builtin_that_is_not_on_the_list_is_refused_by_name() {
    for name in [
        "http.send",
        "opa.runtime",
        "rego.parse_module",
        "io.jwt.decode",
        "net.lookup_ip_addr",
        "crypto.sha256",
        "regex.match",
        "glob.match",
        "json.unmarshal",
        "numbers.range",
        "rand.intn",
        "trace",
        "print",
        "product",
        "units.parse",
        "format_int",
        "bits.lsh",
        "graph.reachable",
        "json.patch",
        "object.subset",
        "strings.any_prefix_match",
        "uuid.rfc4122",
        "nothing",
        "ratify.policy.f",
        "data.ratify.policy.f",
    ] {
        let got = body(&format!("true; {name}(input.a)"));
        assert_eq!(got, format!("4: rego_unproven_error: the function {name}"));
    }
    assert_eq!(body("ratify__minus(1, 2)"), "3: rego_unproven_error: the function ratify__minus");
}

#[test]
fn what_opa_refuses_is_refused() {
    for (statements, expected) in [
        (
            "{\"a\": x} = input",
            "3: rego_unsafe_var_error: var x is unsafe: it has no value where it is used",
        ),
        ("x == 1", "3: rego_unsafe_var_error: var x is unsafe: it has no value where it is used"),
        (
            "not x == 1; x := 1",
            "3: rego_unsafe_var_error: var x is unsafe: it has no value where it is used",
        ),
        ("some x", "2: rego_unsafe_var_error: var x is unsafe"),
        ("some x; some x; input.xs[x]", "4: rego_unsafe_var_error: var x declared above"),
        ("some x; x := 1", "4: rego_unsafe_var_error: var x declared above"),
        ("f(1, 2, 3)", "3: rego_type_error: f has 1 arguments"),
        ("count()", "3: rego_type_error: count has 1 arguments"),
        ("p(1)", "3: rego_type_error: rule p is no function"),
    ] {
        assert_eq!(body(statements), expected, "{statements}");
    }
    let rules = |rules: &str| refused(&format!("package ratify.policy\n{rules}"));
    assert!(rules("p { q }\nq { p }").contains("rego_recursion_error: rule p is recursive"));
    assert!(rules("f(x) { f(x) }").contains("rego_recursion_error: rule f is recursive"));
    assert!(
        rules("f(x) { x }\nf(x, y) { x; y }").contains("3: rego_type_error: conflicting rules f")
    );
    assert!(
        rules("p { true }\np[x] { x := 1 }").contains("3: rego_type_error: conflicting rules p")
    );
    assert!(rules("default p = 1\ndefault p = 2").contains("3: rego_type_error: multiple default"));
    assert!(rules("p {\n  true").contains("rego_parse_error"));
    assert!(
        rules("valid = true { true }\0\nvalid = false { input.bad }")
            .contains("a control character")
    );
}

#[test]
fn rules_of_other_forms_are_refused() {
    let rules =
        |rules: &str| refused(&format!("package ratify.policy\nimport future.keywords\n{rules}"));
    for (text, what) in [
        ("p[k] = v { v := input.o[k] }", "a rule with a key in brackets and a value"),
        ("p[k] if { input.o[k] }", "a rule with a key in brackets and a value"),
        ("a.b { true }", "a rule whose name has dots"),
        ("a.b = 1", "a rule whose name has dots"),
        ("default f(_) = 1", "a default for a function"),
        ("default p = input.a", "a value that is no constant"),
        ("p = 5 { false } { true }", "a rule with several bodies: write the head before each"),
        (
            "p = input.a { false } else = 1 { true }",
            "in a rule with `else`, a value that is no constant",
        ),
        ("f([a, b]) { a == b }", "an argument that is neither a name nor a constant"),
        ("f(x, x) { x }", "the name `x` is taken: a variable may hide no other"),
        ("count(x) { x }", "`count` as a name of one's own: OPA gives it a meaning"),
        ("json = 1", "`json` as a name of one's own: OPA gives it a meaning"),
    ] {
        assert_eq!(rules(text), format!("3: rego_unproven_error: {what}"), "{text}");
    }
    for import in ["data.a", "input.a", "input", "future.keywords.else", "rego.v2"] {
        let got = refused(&format!("package ratify.policy\nimport {import}\nvalid = true"));
        assert!(got.starts_with(&format!("2: rego_unproven_error: import {import}: ")), "{got}");
    }
    let aliased = refused("package ratify.policy\nimport input.a as b\nvalid { b }");
    assert!(aliased.starts_with("2: rego_unproven_error: import input.a: "), "{aliased}");
    assert!(load("package a[\"b\"]\nvalid = true").is_err());
    assert!(load("package a\n__target__ := \"x\"\nvalid = true").is_err());
}

#[test]
fn what_is_evaluated_says_on_which_line_the_rule_stands() {
    let text = "# a comment\n\npackage ratify.policy\n\np = 1 { true }\n\n\nvalid { p == 1 }\n";
    let loaded = load(text).unwrap();
    let line = |what: &str| loaded.text.lines().position(|line| line.contains(what)).unwrap() + 1;
    assert_eq!((line("p = 1"), line("valid = true")), (5, 8));
    assert_eq!(
        (loaded.package.as_str(), &loaded.rules[..]),
        ("ratify.policy", &["p".into(), "valid".into()][..])
    );
}

/// The loop that would be run around a negation, the walk that would find nothing, the value that
/// would be lost: none of them reaches regorus.
#[test]
fn what_regorus_has_wrong_is_written_otherwise() {
    let translated = |rules: &str| {
        let loaded = load(&format!("package a\nimport future.keywords\n{rules}")).unwrap();
        loaded.text.lines().last().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(translated("v { [p, _] := walk(input); p[0] == 1 }"), @"v = true { walk(input, [p, ratify__1]); p[0] == 1 }");
    insta::assert_snapshot!(translated("v { not startswith(input.a, input.o[input.k]) }"), @"v = true { ratify__1 := input.a; ratify__2 := input.o[input.k]; not startswith(ratify__1, ratify__2) }");
    insta::assert_snapshot!(translated("v { not input.o[input.k] == input.a }"), @"v = true { ratify__1 := input.k; not input.o[ratify__1] == input.a }");
    insta::assert_snapshot!(translated("v[r.name] { r := input.xs[_] }"), @"v[ratify__1] { r := input.xs[_]; ratify__1 := r.name }");
    insta::assert_snapshot!(translated("v = {r.a: r.b | some r in input.xs} { true }"), @"v = ratify__3 { true; ratify__3 := ratify__counted({ratify__1: ratify__2 | some r in input.xs; ratify__1 := r.a; ratify__2 := r.b}) }");
    insta::assert_snapshot!(translated("v { input.a - 1 > input.b }"), @"v = true { ratify__less(input.b, ratify__minus(input.a, 1)) }");
}
