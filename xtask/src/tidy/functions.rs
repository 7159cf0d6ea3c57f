//! Finds the functions of a Rust file and their lengths, without a parser: comments, strings
//! and characters are blanked first, then braces are counted.

/// A function with a body.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, counted from 0.
    pub(crate) first_line: usize,
    /// Lines from its `fn` to its closing brace, both included.
    pub(crate) lines: usize,
}

/// Every function with a body, nested ones too.
pub(crate) fn all(source: &str) -> Vec<Function> {
    let code = blank(source);
    let starts = code.match_indices("fn ").filter(|(at, _)| begins_a_word(&code, *at));
    starts.filter_map(|(at, word)| function(&code, at, at + word.len())).collect()
}

fn begins_a_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
}

/// The function whose `fn` is at `start`; none when it is a type or a declaration.
fn function(code: &str, start: usize, after: usize) -> Option<Function> {
    let name: String = code[after..]
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    if name.is_empty() {
        return None;
    }
    let end = start + body_end(&code[start..])?;
    let line = |at: usize| code[..at].matches('\n').count();
    Some(Function { name, first_line: line(start), lines: line(end) - line(start) + 1 })
}

/// The offset of the closing brace of the first block outside parentheses and brackets; none
/// when a semicolon comes first.
fn body_end(code: &str) -> Option<usize> {
    let (mut groups, mut braces) = (0_usize, 0_usize);
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => groups += 1,
            ')' | ']' => groups = groups.saturating_sub(1),
            ';' if groups == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && groups == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The source with the insides of comments, strings and characters turned into spaces; lines
/// stay where they are.
fn blank(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = token(rest);
        let (text, after) = rest.split_at(length.max(first.len_utf8()));
        if length == 0 {
            code.push_str(text);
        } else {
            code.extend(text.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// The length in bytes of the comment, string or character that begins here; 0 when none does.
fn token(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    match bytes {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(bytes),
        [b'r', b'"' | b'#', ..] => raw_string(rest),
        [b'"', ..] => string(bytes),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let open = 1 + hashes;
    if rest.as_bytes().get(open) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len())
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A character, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => rest[3.min(rest.len())..].find('\'').map_or(0, |at| at + 4),
        Some(_) => match letters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_and_lines(source: &str) -> Vec<(String, usize)> {
        all(source).into_iter().map(|function| (function.name, function.lines)).collect()
    }

    #[test]
    fn braces_in_strings_characters_and_comments_do_not_count() {
        let source = concat!(
            "fn tricky<'a>(text: &'a str) -> char {\n",
            "    let brace = '}'; let quote = '\\''; // }\n",
            "    let raw = r#\"}\"#; let plain = \"\\\"}\"; /* } /* } */ } */\n",
            "    brace\n",
            "}\n",
        );
        assert_eq!(names_and_lines(source), [("tricky".to_owned(), 5)]);
    }

    #[test]
    fn types_and_declarations_are_no_functions() {
        let source = "type Call = fn (u8) -> u8;\ntrait T { fn declared(&self); }\n";
        assert_eq!(names_and_lines(source), []);
    }

    #[test]
    fn a_nested_function_is_counted_by_itself_too() {
        let source = "fn outer() {\n    fn inner() {\n    }\n}\n";
        let expected = [("outer".to_owned(), 4), ("inner".to_owned(), 2)];
        assert_eq!(names_and_lines(source), expected);
    }

    #[test]
    fn an_array_type_in_a_signature_does_not_end_it() {
        let source = "fn sized(_: [u8; 4]) -> [u8; 2] {\n    [0; 2]\n}\n";
        assert_eq!(names_and_lines(source), [("sized".to_owned(), 3)]);
    }

    #[test]
    fn a_file_that_is_cut_off_is_survived() {
        for source in ["fn open() {", "fn text() { \"", "fn c() { '\\", "/* ", "r#\"", "fn "] {
            assert_eq!(names_and_lines(source), [], "{source}");
        }
    }
}
