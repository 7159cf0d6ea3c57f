//! Forms and builtins. The answers are OPA 0.68's, unless a line says otherwise.

use serde_json::json;

use super::{super::builtins, fails, is_undefined, yields};

#[test]
fn rules_answer_as_in_opa() {
    yields("valid { input.s == \"x\" }", json!(true));
    yields("valid if input.s == \"x\"", json!(true));
    yields("valid := 1 if { input.s; input.n > 4 }", json!(1));
    yields("valid = input.o", json!({"k": 1}));
    is_undefined("valid = input.missing");
    is_undefined("valid { input.f }");
    yields("default valid = false\nvalid { input.q }", json!(false));
    yields("default valid := false\nvalid { input.s }", json!(true));
    yields("default p = {\"a\": [1, {2}, set()]}\nvalid = p", json!({"a": [1, [2], []]}));
    yields("valid = x { x := `a\\b` }", json!("a\\b"));
    yields("valid = x { x := \"\\u00e4\\n\" }", json!("ä\n"));
    yields("valid = 1 { input.q } else = 2 { input.s } else = 3 { true }", json!(2));
    yields("valid { input.q } else = false { input.s }", json!(false));
    yields("valid { input.q } else := 7 if { input.s }", json!(7));
    yields("f(x) = 1 { x == 1 } else = 2 { x == 2 }\nvalid = [f(1), f(2)]", json!([1, 2]));
    is_undefined("f(x) = 1 { x == 1 } else = 2 { x == 2 }\nvalid = f(3)");
    yields(
        "f(1) = \"a\" { true }\nf(2) = \"b\"\nf(_) = \"a\" { false }\nvalid = [f(1), f(2)]",
        json!(["a", "b"]),
    );
    yields("f(x) = y { y := x.a }\nvalid = x { f(input.xs[0], x) }", json!(1));
    yields("f(_) = 1\nvalid { f(input.s) == 1 }", json!(true));
    is_undefined("f(_) = 1\nvalid { f(input.q) == 1 }");
    yields("p[x] { x := input.xs[_].a }\np[y] { y := 5 }\nvalid = p", json!([1, 3, 5]));
    yields("p contains 1\np contains x if { x := input.q }\nvalid = p", json!([1]));
    yields("p[x] { x := input.q }\nvalid = count(p)", json!(0));
    yields("p[1] { true }\nvalid { p[1] }", json!(true));
    is_undefined("p[1] { true }\nvalid { p[2] }");
}

#[test]
fn a_value_that_is_missing_in_one_round_loses_no_other() {
    yields("p[x.a] { x := input.mixed[_] }\nvalid = p", json!([1]));
    yields("p[x.b] { x := input.mixed[_] }\nvalid = p", json!([2]));
    yields("valid = x.a { x := input.mixed[_] }", json!(1));
    yields("f(y) = x.a { x := y[_] }\nvalid = f(input.mixed)", json!(1));
    yields("valid = [x.a | x := input.mixed[_]]", json!([1, 1]));
    yields("valid = {x.b | some x in input.mixed}", json!([2]));
    yields("valid = {k: v.a | some k, v in input.xs}", json!({"0": 1, "1": 3}));
}

#[test]
fn two_values_of_one_rule_are_a_fault() {
    fails("p = 1 { true }\np = 2 { input.s }\nvalid { p == 1 }", "conflicts with rule");
    fails("valid = x { x := input.xs[_].a }", "must not produce multiple outputs");
    fails("f(x) = y { y := x[_].a }\nvalid { f(input.xs) == 1 }", "multiple outputs");
    fails("f(x) = 1 { x > 0 }\nf(x) = 2 { x > 1 }\nvalid { f(2) == 1 }", "multiple outputs");
    fails("valid = {1: v | v := input.xs[_].a}", "generated multiple times");
    yields("p = 1 { true }\np = 1 { input.s }\nvalid = p", json!(1));
}

#[test]
fn statements_answer_as_in_opa() {
    yields("valid = i { input.xs[i].a == 3 }", json!(1));
    yields("valid = [i, j] { input.xs[i].a == 3; input.mixed[j].b }", json!([1, 1]));
    yields("valid = i { some i; input.xs[i].a == 3 }", json!(1));
    yields("valid { input.xs[i].a == input.mixed[i].a }", json!(true));
    is_undefined("valid { input.xs[i].a == 3; input.mixed[i].a }");
    yields("valid = x { some x in input.xs; x.a > 1 }", json!({"a": 3}));
    yields("valid = k { some k, _ in input.o }", json!("k"));
    yields("valid = [a, c] { some [a, _, c] in [[1, 2, 3]] }", json!([1, 3]));
    is_undefined("valid { some x in input.missing; x }");
    yields("valid { every x in input.xs { x.a > 0 } }", json!(true));
    is_undefined("valid { every x in input.xs { x.a > 1 } }");
    is_undefined("valid { every x in input.mixed { x.a } }");
    yields("valid { every i, x in input.xs { i < 2; x } }", json!(true));
    yields("valid { every _ in input.e { false } }", json!(true));
    is_undefined("valid { every x in input.missing { x } }");
    is_undefined("valid { every x in input.s { x } }");
    yields("valid { {\"a\": 1} in input.xs }", json!(true));
    yields("valid { not {\"a\": 2} in input.xs }", json!(true));
    yields("valid { \"k\" in {\"k\"} }", json!(true));
    is_undefined("valid { input.q in input.xs }");
    is_undefined("valid { 1 in input.q }");
    yields("valid = [x, y] { x = 1; input.n = y }", json!([1, 5]));
    yields("valid = [x, y] { [x, y] = [1, input.n] }", json!([1, 5]));
    yields("valid = y { [1, y] = [1, input.n] }", json!(5));
    is_undefined("valid = y { [2, y] = [1, input.n] }");
    is_undefined("valid { [_, _, _] = input.xs }");
    yields("valid = x { x := split(\"a/b\", \"/\")[1] }", json!("b"));
    yields("valid { _ = input.f }", json!(true));
    yields("valid { 5 = input.n; input.n = input.n }", json!(true));
}

#[test]
fn walks_answer_as_in_opa() {
    let all = json!([[[], {"k": 1}], [["k"], 1]]);
    for form in ["[p, v] := walk(input.o)", "[p, v] = walk(input.o)", "walk(input.o, [p, v])"] {
        yields(&format!("valid = {{[p, v] | {form}}}"), all.clone());
    }
    for form in ["x := walk(input.o)", "walk(input.o) = x", "walk(input.o, x)"] {
        yields(&format!("valid = {{x | {form}}}"), all.clone());
    }
    yields("valid = {p | [p, 3] = walk(input.xs)}", json!([[1, "a"]]));
    yields("valid = {p | walk({1, [2]}, [p, 2])}", json!([[[2], 0]]));
    yields("valid = [v | [_, v] = walk(5)]", json!([5]));
    is_undefined("valid { [_, v] := walk(input.missing); v }");
    yields(
        "f(r) { [p, v] := walk(r); v == 3; p[count(p) - 1] == \"a\" }\nvalid = f(input)",
        json!(true),
    );
}

#[test]
fn operators_answer_as_in_opa() {
    yields(
        "valid = [1 + 2, 5 - 2.5, 3 / 2, 10 / 5, 7 % 3, -7 % 3, 2 * 1.5, -3]",
        json!([3, 2.5, 1.5, 2, 1, -1, 3, -3]),
    );
    yields("valid = [{1, 2} | {2, 3}, {1, 2} & {2}, {1, 2} - {2}]", json!([[1, 2, 3], [2], [1]]));
    for (comparison, expected) in [
        ("1 < 2", true),
        ("2 < 1", false),
        ("1 <= 1", true),
        ("2 > 1", true),
        ("1 >= 2", false),
        ("null < false", true),
        ("true < 0", true),
        ("9 < \"a\"", true),
        ("\"a\" < \"b\"", true),
        ("1 == 1.0", true),
        ("1 != 1", false),
        ("[1] == [1]", true),
        ("{1, 2} == {2, 1}", true),
    ] {
        yields(&format!("valid = x {{ x := {comparison} }}"), json!(expected));
    }
}

/// OPA leaves what it cannot compute undefined, which `not` makes true; here it denies.
#[test]
fn what_cannot_be_computed_is_a_fault() {
    for (rules, with) in [
        ("valid { not input.n / 0 == 1 }", "divide by zero"),
        ("valid { not input.n % 0 == 1 }", "modulo by zero"),
        ("valid { not 1 / 3 == 1 }", "not exact"),
        ("valid { not to_number(input.s) == 1 }", "no number"),
        ("valid { not startswith(input.n, \"a\") }", "string"),
        ("valid { not time.parse_rfc3339_ns(input.s) > 1 }", "no time"),
        ("valid { input.o < input.o }", "not put in order"),
        ("valid { input.s - 1 == 0 }", "no set"),
        ("valid { not sum(input.s) }", "neither an array nor a set"),
        ("valid { some x in input.s; x }", "expects array/set/object"),
    ] {
        fails(rules, with);
    }
}

/// Long because: a line for each builtin.
#[test]
fn each_builtin_answers_as_in_opa() {
    let cases = [
        ("abs(-1.5)", json!(1.5)),
        ("all([true, true])", json!(true)),
        ("all({true, 1})", json!(false)),
        ("any([])", json!(false)),
        ("any([false, true])", json!(true)),
        ("array.concat([1], [2])", json!([1, 2])),
        ("array.reverse([1, 2])", json!([2, 1])),
        ("array.slice([1, 2, 3], 1, 2)", json!([2])),
        ("array.slice([1, 2, 3], -1, 9)", json!([1, 2, 3])),
        ("[ceil(1.2), ceil(-1.2), ceil(2)]", json!(["fault"])),
        ("[ceil(1.5), ceil(-1.5), ceil(2)]", json!([2, -1, 2])),
        ("concat(\"/\", [\"a\", \"b\"])", json!("a/b")),
        ("concat(\"\", {\"b\", \"a\"})", json!("ab")),
        ("contains(\"abc\", \"b\")", json!(true)),
        (
            "[count(\"a🙂\"), count([1]), count({1}), count({\"a\": 1}), count(\"\")]",
            json!([2, 1, 1, 1, 0]),
        ),
        ("endswith(\"abc\", \"bc\")", json!(true)),
        ("[floor(1.5), floor(-1.5)]", json!([1, -2])),
        ("[indexof(\"a🙂b\", \"b\"), indexof(\"a\", \"b\")]", json!([2, -1])),
        ("intersection({{1, 2}, {2}})", json!([2])),
        ("[is_array([]), is_array(1)]", json!([true, false])),
        ("[is_boolean(false), is_boolean(0)]", json!([true, false])),
        ("[is_null(null), is_null(0)]", json!([true, false])),
        ("[is_number(1), is_number(\"1\")]", json!([true, false])),
        ("[is_object({}), is_object([])]", json!([true, false])),
        ("[is_set(set()), is_set({})]", json!([true, false])),
        ("[is_string(\"\"), is_string(1)]", json!([true, false])),
        ("lower(\"ÄΣb\")", json!("äσb")),
        ("[max([1, 3, 2]), max({1, \"a\"})]", json!([3, "a"])),
        ("[min([1, 3, 2]), min({true, null})]", json!([1, null])),
        ("object.filter({\"a\": 1, \"b\": 2}, [\"a\"])", json!({"a": 1})),
        ("object.get({\"a\": {\"b\": 1}}, [\"a\", \"b\"], 0)", json!(1)),
        ("object.get({\"a\": 1}, \"b\", 7)", json!(7)),
        ("object.keys({\"a\": 1})", json!(["a"])),
        ("object.remove({\"a\": 1, \"b\": 2}, {\"a\"})", json!({"b": 2})),
        (
            "object.union({\"a\": {\"b\": 1}, \"c\": 1}, {\"a\": {\"d\": 2}, \"c\": 2})",
            json!({"a": {"b": 1, "d": 2}, "c": 2}),
        ),
        ("replace(\"aab\", \"a\", \"b\")", json!("bbb")),
        ("[round(2.5), round(-2.5), round(1.25)]", json!([3, -3, 1])),
        ("sort({3, \"a\", null, 1})", json!([null, 1, 3, "a"])),
        ("split(\"a,b\", \",\")", json!(["a", "b"])),
        ("split(\"äb\", \"\")", json!(["ä", "b"])),
        ("sprintf(\"%s-%d%%%v\", [\"a\", 5, true])", json!("a-5%true")),
        ("startswith(\"abc\", \"ab\")", json!(true)),
        ("substring(\"a🙂b\", 1, -1)", json!("🙂b")),
        ("substring(\"abc\", 1, 1)", json!("b")),
        ("sum([1, 2.5])", json!(3.5)),
        ("time.now_ns() == time.now_ns()", json!(true)),
        ("time.parse_duration_ns(\"1h1m1s1ms1us1ns\")", json!(3_661_001_001_001_i64)),
        ("time.parse_duration_ns(\"-2h\")", json!(-7_200_000_000_000_i64)),
        ("time.parse_rfc3339_ns(\"2023-11-29T01:44:41Z\")", json!(1_701_222_281_000_000_000_i64)),
        (
            "time.parse_rfc3339_ns(\"2024-02-29T23:59:59.123456789-11:30\")",
            json!(1_709_292_599_123_456_789_i64),
        ),
        (
            "[to_number(\"1.5\"), to_number(null), to_number(true), to_number(\"-12\"), to_number(3)]",
            json!([1.5, 0, 1, -12, 3]),
        ),
        ("trim(\"xaxbx\", \"x\")", json!("axb")),
        ("trim_left(\"xax\", \"yx\")", json!("ax")),
        ("trim_prefix(\"xxa\", \"x\")", json!("xa")),
        ("trim_right(\"xax\", \"x\")", json!("xa")),
        ("trim_space(\" a\\t\\n\")", json!("a")),
        ("trim_suffix(\"axx\", \"x\")", json!("ax")),
        (
            "[type_name(null), type_name(1), type_name(set()), type_name({})]",
            json!(["null", "number", "set", "object"]),
        ),
        ("union({{1}, {2}})", json!([1, 2])),
        ("upper(\"äb\")", json!("ÄB")),
    ];
    let mut proven = String::from("walk( ");
    for (call, value) in cases {
        if value == json!(["fault"]) {
            fails(&format!("valid = x {{ x := {call} }}"), "fraction too long");
        } else {
            yields(&format!("valid = x {{ x := {call} }}"), value);
        }
        proven.push_str(call);
    }
    for name in builtins::names().filter(|name| !name.starts_with("ratify__")) {
        assert!(proven.contains(&format!("{name}(")), "{name} is not proven");
    }
}
