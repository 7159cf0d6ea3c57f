//! Text from outside made fit for a log line, a report or a status: no control characters, bounded.

/// Replaces control characters (terminal escapes, line breaks, bidirectional overrides) by U+FFFD.
///
/// Everything a plugin, a registry or a requester sent goes through this before it reaches a log,
/// an Event, a status or a deny message.
pub fn without_control_characters(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a text is lines of printable ASCII, as almost all is: nothing in it is to be replaced. It
/// looks at many bytes at a time, and so does not end at the first that is not.
#[inline(never)] // Where it is inlined it is compiled as what is around it, which may be for size.
pub fn is_printable_ascii(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n');
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
}

/// [`without_control_characters`], cut to at most `max_bytes` bytes; `...` marks the cut.
pub fn capped_line(text: &str, max_bytes: usize) -> String {
    let is_one_line = || !text.as_bytes().contains(&b'\n');
    if text.len() <= max_bytes && is_printable_ascii(text) && is_one_line() {
        return text.to_owned();
    }
    // Each character becomes at most three bytes, so reading this much input is enough.
    let mut line = String::with_capacity(max_bytes.min(text.len()));
    for c in text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }) {
        if line.len() + c.len_utf8() > max_bytes {
            let mut end = max_bytes.saturating_sub(3).min(line.len());
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            line.truncate(end);
            line.push_str("...");
            return line;
        }
        line.push(c);
    }
    line
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_escapes_newlines_and_overrides() {
        assert_eq!(
            without_control_characters("a\x1b[31mb\nc\u{202e}d\te"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}e"
        );
    }

    #[test]
    fn printable_is_what_needs_no_replacement() {
        assert!(is_printable_ascii("") && is_printable_ascii("a ~\nb"));
        for text in ["\t", "\x1b", "\x7f", "\r", "ä", "\u{202e}"] {
            assert!(!is_printable_ascii(&format!("{}{text}{}", "a".repeat(40), "b".repeat(3))));
        }
    }

    #[test]
    fn cuts_on_a_character_boundary_and_says_so() {
        assert_eq!(capped_line("abcdef", 6), "abcdef");
        assert_eq!(capped_line("abcdefg", 6), "abc...");
        assert_eq!(capped_line("ääääää", 8), "ää...");
        assert_eq!(capped_line("a\nb", 6), "a\u{fffd}b");
        assert!(capped_line(&"\n".repeat(100), 10).len() <= 10);
    }
}
