//! Expressions, what Go's `regexp` finds them in and in what not, and which it refuses.

use super::*;

/// Each with what it is found in, and in what it is not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    // The sets of Perl are ASCII.
    (
        r"^\w+@example\.com$",
        &["joe_1@example.com"],
        &["jos\u{e9}@example.com", "\u{444}@example.com"],
    ),
    (r"^\W$", &["\u{e9}", "-", "\u{661}"], &["a", "_"]),
    (r"^\d{2}$", &["12"], &["\u{661}\u{662}", "1", "123"]),
    (r"^\D$", &["\u{661}", "a", "\n"], &["1"]),
    (r"^a\sb$", &["a b", "a\tb", "a\u{c}b"], &["a\u{a0}b", "a\u{b}b", "a\u{2003}b"]),
    (r"^a\Sb$", &["a\u{a0}b", "a\u{b}b", "axb"], &["a b"]),
    (r"^[\w-]+$", &["a-b"], &["a.b", "\u{e9}", ""]),
    (r"^[^\w]$", &["\u{e9}", "\n"], &["a"]),
    (r"^[\D]$", &["\u{661}"], &["1"]),
    (r"^[^\D]$", &["1"], &["\u{661}"]),
    (r"^[a-b-c\d-z]+$", &["a-c1z", "-"], &["d", "y"]),
    (r"(?i)^\w$", &["\u{17f}", "\u{212a}", "k"], &["\u{e9}"]),
    (r"(?i)^\W$", &["\u{e9}"], &["\u{17f}", "k"]),
    // The borders of words, too.
    (r"\bteam\b", &["/team/", "\u{e9}team", "team"], &["ateam", "team_"]),
    (r"\b{start}", &["a{start}"], &["a", "start"]),
    (r"^a\b.b$", &["a.b"], &["axb"]),
    // Letters, signs and cases beyond ASCII stand for themselves.
    (r"^.$", &["\u{e9}", "\u{1f600}", "\r"], &["\n", "ab", ""]),
    (r"(?s)^.$", &["\n"], &["ab"]),
    ("(?i)^stra\u{df}e$", &["STRA\u{df}E", "\u{17f}tra\u{1e9e}e"], &["strasse"]),
    (r"^\pL\p{Nd}\PL\p{^Lu}[\p{Lu}\P{L}]$", &["\u{e9}\u{661}-aB", "a1-a-"], &["a1-Ab", "aa-aB"]),
    // Sets know no operators and no sets within.
    (r"^[a&&b]+$", &["a&b"], &["c"]),
    (r"^[a-z&&[^b]]$", &["b]", "&]", "[]"], &["a", "c", "A]"]),
    (r"^[!--]+$", &["!,-"], &["."]),
    (r"^[a~~b]+$", &["a~b"], &["c"]),
    (r"^[[a]$", &["[", "a"], &["]"]),
    (r"^[a[b]]$", &["a]", "[]"], &["a", "b"]),
    (r"^[]a]$", &["]", "a"], &["b"]),
    (r"^[^]a]$", &["b", "\n"], &["]", "a"]),
    (r"^[-a]$", &["-", "a"], &["b"]),
    (r"^[a-]$", &["-", "a"], &["b"]),
    (r"^[a\-z]+$", &["a-z"], &["b"]),
    (r"^[[:alpha:]_]+$", &["a_B"], &["\u{e9}", "1"]),
    (r"^[[:^alpha:]]$", &["\u{e9}", "1"], &["a"]),
    (r"^[:al:]+$", &["a:l"], &["b"]),
    (r"^[\]\[\^]+$", &["]^["], &["a"]),
    // Escapes are of what they follow.
    (r"^\<a\>$", &["<a>"], &["a"]),
    (r"^\Qa.b[\E+$", &["a.b[", "a.b[["], &["axb["]),
    (r"^\Qa.b$", &["a.b$"], &["axb", "a.b"]),
    (r"^\_\-\/\@\ \#$", &["_-/@ #"], &[""]),
    (r"^\x41\x{e9}\101\012\0\07$", &["A\u{e9}A\n\0\u{7}"], &["A"]),
    (r"^\a\f\n\r\t\v$", &["\u{7}\u{c}\n\r\t\u{b}"], &["afnrtv"]),
    (r"\Aa\z", &["a"], &["a\n", "ba"]),
    // Braces count where they are written so, and stand for themselves elsewhere.
    (r"^a{,2}$", &["a{,2}"], &["", "a", "aa"]),
    (r"^a{01}{x}{$", &["a{01}{x}{"], &["a"]),
    (r"^a{2,}?b{0}c{1,2}$", &["aac", "aaacc"], &["ac", "aabc"]),
    ("^a # b$", &["a # b"], &["ab", "a"]),
    // Groups and flags are as they are.
    (r"^(?P<team>a|b)(?<b>c)(?:d)$", &["acd", "bcd"], &["cd"]),
    (r"a(?i)b|c", &["aB", "C"], &["AB"]),
    (r"^(?i:a)b$", &["Ab"], &["AB"]),
    (r"(?m)^a$", &["b\na\nc"], &["b\nab"]),
    (r"(?i-s)^A$", &["a"], &["b"]),
    (r"^(|a)()$|^b||c", &["", "a", "x"], &[]),
    (
        r"https://github.com/.*/actions@refs/heads/(main|v\d+)$",
        &["https://github.com/o/actions@refs/heads/v1"],
        &["https://github.com/o/actions@refs/heads/v\u{661}"],
    ),
];

/// Go refuses each, and the words are Go's where it is not the shape alone.
const REFUSED: &[&str] = &[
    r"\Z",
    r"\y",
    r"\u0041",
    r"\U00000041",
    r"\8",
    r"\1",
    r"a\",
    r"\x4",
    r"\x{110000}",
    r"\x{}",
    r"\x{+1}",
    r"\E",
    r"[\b]",
    r"[\Q]",
    r"[a-\d]",
    r"[b-a]",
    r"[a--b]",
    r"[a",
    r"[]",
    r"[[:foo:]]",
    r"\pX",
    r"\p{Alphabetic}",
    r"\p{L",
    "a**",
    "a*+",
    "a{2}{3}",
    "a+?+",
    "a{1001}",
    "a{2,1}",
    "*a",
    "(?x)a",
    "(?u)a",
    "(?R)a",
    "(?-u:a)",
    "(?P<n",
    "(?P<>a)",
    "(?<a.b>a)",
    "(?=a)",
    "(?!a)",
    "(?<=a)",
    "(",
    ")",
    "a)",
    "(?P=n)",
    "\\\u{e9}",
];

/// Go takes each, and there is nothing here that is the same.
const NOT_TAKEN: &[&str] = &[r"\Ba", r"\p{Greek}", r"\pC", r"[\p{Cs}]"];

#[test]
fn an_expression_is_found_where_go_finds_it() {
    for (expression, found, not_found) in TABLE {
        let compiled = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        for text in *found {
            assert!(compiled.is_match(text), "{expression} in {text:?}: {compiled}");
        }
        for text in *not_found {
            assert!(!compiled.is_match(text), "{expression} not in {text:?}: {compiled}");
        }
    }
}

#[test]
fn what_go_refuses_or_reads_otherwise_is_refused() {
    for expression in REFUSED {
        assert!(compile(expression).is_err(), "{expression}");
    }
    for expression in NOT_TAKEN {
        let refused = compile(expression).unwrap_err().to_string();
        assert!(refused.contains("is not taken in regular expressions"), "{expression}: {refused}");
    }
    let words = |expression: &str| compile(expression).unwrap_err().to_string();
    assert_eq!(words(r"a\u0041"), r"error parsing regexp: invalid escape sequence: `\u`");
    assert_eq!(words("a**b"), "error parsing regexp: invalid nested repetition operator: `**`");
    assert_eq!(words("x[b-a]"), "error parsing regexp: invalid character class range: `b-a`");
}
