//! No policy, and no input, takes more than it may: what would is a deny with a reason.

use std::{
    fmt::Write as _,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::super::{
    engine::{Compiled, MAX_INPUT_BYTES},
    load::{self, MAX_STACK},
};

fn policy(rules: &str) -> Compiled {
    let text = format!("package ratify.policy\nimport future.keywords\n{rules}");
    Compiled::new(&text).unwrap()
}

fn error(rules: &str, input: &Value, limit: Duration) -> String {
    let compiled = policy(rules);
    let asked =
        compiled.evaluate("ratify.policy.valid", &input.to_string(), SystemTime::now(), limit);
    asked.unwrap_err()
}

/// T18: eight loops in each other would go on for years.
#[test]
fn a_loop_is_ended_by_its_timer() {
    let xs: Vec<u32> = (0..1000).collect();
    let loops: String = (0..8).fold(String::new(), |mut text, number| {
        let _ = write!(text, "input.xs[i{number}] >= 0; ");
        text
    });
    for rules in [
        format!("valid {{ {loops} false }}"),
        format!("valid {{ not busy }}\nbusy {{ {loops} false }}"),
        format!("valid {{ count([1 | {loops} true]) == 0 }}"),
        format!("valid {{ every x in input.xs {{ x >= 0; count([1 | {loops} false]) == 0 }} }}"),
        "f(x) { some y in input.xs; g(y); x == -1 }\ng(x) { some y in input.xs; some z in input.xs; y + z + x == -1 }\nvalid { some x in input.xs; not f(x) ; x == -1 }".to_owned(),
        "valid { some x in input.xs; some y in input.xs; [_, v] := walk(input); v == [x, y] }".to_owned(),
    ] {
        let started = Instant::now();
        let error = error(&rules, &json!({ "xs": xs }), Duration::from_millis(100));
        assert!(error.contains("time limit"), "{rules}: {error}");
        assert!(started.elapsed() < Duration::from_secs(30), "{rules}");
    }
}

/// Each line doubles what the one before has.
fn doubled(times: usize, first: &str, next: &str) -> String {
    let mut rules = format!("p0 = {first}\n");
    for number in 1..=times {
        let before = format!("p{}", number - 1);
        let _ = writeln!(rules, "p{number} = x {{ x := {} }}", next.replace('@', &before));
    }
    format!("{rules}valid {{ count(p{times}) == 0 }}")
}

#[test]
fn what_grows_is_bounded_in_bytes() {
    let limit = Duration::from_secs(60);
    for (first, next) in [
        ("\"0123456789\"", "concat(\"\", [@, @])"),
        ("\"0123456789\"", "replace(@, \"0\", @)"),
        ("\"0123456789\"", "sprintf(\"%s%s\", [@, @])"),
        ("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "array.concat(@, @)"),
        ("[[0], [1]]", "[[v, w] | some v in @; some w in @]"),
    ] {
        let times = if next.contains("some") { 6 } else { 24 };
        let limit = if next.contains("some") { Duration::from_millis(500) } else { limit };
        let error = error(&doubled(times, first, next), &json!({}), limit);
        assert!(
            error.contains("makes more than") || error.contains("time limit"),
            "{next}: {error}"
        );
    }
    let walk = "valid { [p, v] := walk(input); v == 1; count(p) == 0 }";
    let wide: Vec<u32> = (0..400_000).collect();
    assert!(error(walk, &json!(wide), limit).contains("makes more than"));
}

/// Values that hold each other's parts take no room, but as many steps as if they did.
#[test]
fn what_is_held_many_times_over_is_counted_each_time() {
    for next in [
        "[@, @]",
        "{\"a\": @, \"b\": @}",
        "array.concat([@], [@])",
        "[@ | some _ in [1, 2, 3, 4, 5, 6, 7, 8]]",
    ] {
        let times = if next.contains("some") { 10 } else { 24 };
        let towers = doubled(times, "[1, 2]", next);
        let error = error(&towers, &json!({}), Duration::from_secs(60));
        assert!(error.contains("collections of more than"), "{next}: {error}");
    }
}

#[test]
fn numbers_do_not_grow_beyond_what_is_exact() {
    let mut rules = "p0 = 3\n".to_owned();
    for number in 1..=15 {
        let _ = writeln!(rules, "p{number} = x {{ x := p{0} * p{0} }}", number - 1);
    }
    rules.push_str("valid { p15 > 0 }");
    let error = error(&rules, &json!({}), Duration::from_secs(10));
    assert!(error.contains("too large"), "{error}");
}

#[test]
fn an_input_that_is_too_large_is_refused() {
    let large = json!({"x": "y".repeat(MAX_INPUT_BYTES)});
    let error = error("valid = true", &large, Duration::from_secs(1));
    assert!(error.contains("the reports have more than"), "{error}");
}

/// The largest of these policies that are let in.
fn deepest(policy_of: impl Fn(usize) -> String) -> String {
    let is_let_in = |size: &usize| {
        let loaded =
            load::load(&format!("package a\nimport future.keywords\n{}", policy_of(*size)));
        loaded.map_err(|refused| {
            let refused = refused.to_string();
            assert!(refused.contains("too deep to be evaluated"), "{refused}");
        })
    };
    let largest = (1..MAX_STACK).take_while(|size| is_let_in(size).is_ok()).last().unwrap();
    assert!(largest > 15, "{largest}");
    policy_of(largest)
}

/// Rules in rules, functions in functions, loops in loops: the deepest that are let in, on half
/// the stack that threads have.
#[test]
fn the_deepest_policies_fit_on_the_stack() {
    let lines =
        |size: usize, line: &dyn Fn(usize) -> String| (0..size).map(line).collect::<String>();
    let rules = deepest(|size| {
        let chain = lines(size, &|number| format!("p{number} = y {{ y := p{} }}\n", number + 1));
        format!("{chain}p{size} = 1\nvalid {{ p0 == 1 }}")
    });
    let functions = deepest(|size| {
        let one = |number| format!("f{number}(x) = y {{ y := f{}(x) }}\n", number + 1);
        format!("{}f{size}(x) = x\nvalid {{ f0(1) == 1 }}", lines(size, &one))
    });
    let looping = deepest(|size| {
        let one = |number| {
            format!("f{number}(x) = y {{ v := [x]; v[z] == x; y := f{}(x) }}\n", number + 1)
        };
        format!("{}f{size}(x) = x\nvalid {{ f0(1) == 1 }}", lines(size, &one))
    });
    let loops = deepest(|size| {
        let one = |number| format!("x[z{number}] == 1; ");
        format!("valid {{ x := [1]; {} true }}", lines(size, &one))
    });
    let queries = deepest(|size| {
        let one = |number| format!("some z{number} in [1 | true]; ");
        format!("valid {{ {} true }}", lines(size, &one))
    });
    for rules in [rules, functions, looping, loops, queries] {
        let run = move || {
            let limit = Duration::from_secs(60);
            policy(&rules).evaluate("ratify.policy.valid", "{}", SystemTime::now(), limit)
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap();
        assert_eq!(thread.join().unwrap().unwrap().unwrap().to_string(), "true");
    }
}
