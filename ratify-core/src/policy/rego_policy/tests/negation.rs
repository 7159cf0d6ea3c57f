//! `not`, where what is undefined becomes true. The answers are OPA 0.68's: all of an expression
//! that is not the very thing negated is computed before, and must have a value.

use serde_json::json;

use super::{is_undefined, yields};

const RULES: &str = "f(x) { x == 1 }\ng(x) = y { y := x.b }\np = 1 { input.q }\nq[1] { input.q }\n";

#[test]
fn what_is_negated_may_be_undefined() {
    for negated in [
        "input.q",
        "input.q.r.s",
        "input.xs[0].b",
        "p",
        "p == 1",
        "q[1]",
        "input.q == 1",
        "true == input.q",
        "input.q == input.r",
        "f(2)",
        "g(input.xs[0])",
        "max(input.e)",
        "count([1 | input.q]) == 1",
        "{\"b\": 1} == input.q",
        "1 in {x | x := input.q[_]}",
    ] {
        yields(&format!("{RULES}valid {{ not {negated} }}"), json!(true));
    }
}

#[test]
fn what_else_is_in_it_may_not() {
    for negated in [
        "count(input.q) > 1",
        "startswith(input.q, \"x\")",
        "f(input.q)",
        "f(p)",
        "p in [1]",
        "input.q in [1]",
        "1 in input.q",
        "input.q != 1",
        "input.q > 1",
        "1 > input.q",
        "input.q <= input.r",
        "p != 1",
        "[input.q] == [1]",
        "input.o[input.q]",
        "q[input.q]",
        "input.o[input.q] == 1",
        "g(input.xs[0]) == 1",
        "g(input.xs[0]).z",
        "g(g(input.xs[0]))",
        "g({\"b\": input.q})",
        "is_null(input.q)",
        "input.q + 1 == 2",
        "max(input.e) == 1",
        "input.xs[0].a == input.o[input.q]",
        "f(g(input.xs[0]))",
    ] {
        is_undefined(&format!("{RULES}valid {{ not {negated} }}"));
    }
}

#[test]
fn the_same_holds_within_queries() {
    is_undefined("valid { every x in input.xs { not x.b > 1 } }");
    yields("valid { every x in input.xs { not x.b } }", json!(true));
    yields("valid = [x.a | some x in input.mixed; not x.a > 5]", json!([1, 1]));
    yields("valid = [1 | some x in input.mixed; not x.a == 5]", json!([1, 1, 1]));
    yields("bad { some x in input.xs; x.a > 5 }\nvalid { not bad }", json!(true));
    is_undefined("bad { some x in input.xs; x.a > 2 }\nvalid { not bad }");
}
