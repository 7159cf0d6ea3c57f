//! What may be given to regorus' parser: it goes back and reads again what is in brackets, so its
//! time grows exponentially with how deep they are nested; and it takes a NUL for the end.

use super::{Refused, Result, UNPROVEN, UNREADABLE};

/// Policies that were seen have two kilobytes.
const MAX_BYTES: usize = 256 << 10;
/// What reading may cost: each byte counts four times as much for each bracket it stands in.
const MAX_COST: u64 = 1 << 24;
/// Beyond this one byte alone is too much.
const MAX_NESTING: u32 = 11;

pub(super) fn check(policy: &str) -> Result<()> {
    if policy.len() > MAX_BYTES {
        return Err(Refused::new(1, UNPROVEN, format!("it has more than {MAX_BYTES} bytes")));
    }
    let mut scan = Scan { line: 1, depth: 0, cost: 0, within: Within::Code };
    let mut previous = '\n';
    for character in policy.chars() {
        if character.is_control() && !matches!(character, '\n' | '\r' | '\t') {
            return Err(Refused::new(scan.line, UNREADABLE, "a control character"));
        }
        scan.take(character, previous)?;
        // A backslash that is itself escaped escapes nothing.
        previous = if previous == '\\' && character == '\\' { ' ' } else { character };
    }
    Ok(())
}

#[derive(PartialEq)]
enum Within {
    Code,
    Text,
    RawText,
    Comment,
}

struct Scan {
    line: u32,
    depth: u32,
    cost: u64,
    within: Within,
}

impl Scan {
    fn take(&mut self, character: char, previous: char) -> Result<()> {
        match (&self.within, character) {
            (Within::Code, '"') => self.within = Within::Text,
            (Within::Code, '`') => self.within = Within::RawText,
            (Within::Code, '#') => self.within = Within::Comment,
            (Within::Code, '(' | '[' | '{') => self.depth += 1,
            (Within::Code, ')' | ']' | '}') => self.depth = self.depth.saturating_sub(1),
            (Within::Text, '"') if previous != '\\' => self.within = Within::Code,
            (Within::RawText, '`') | (Within::Comment, '\n') => self.within = Within::Code,
            _ => {}
        }
        if self.depth > MAX_NESTING {
            return Err(Refused::new(self.line, UNPROVEN, "brackets are nested too deep"));
        }
        self.cost = self.cost.saturating_add(1 << (2 * self.depth));
        if self.cost > MAX_COST {
            let what = "too much stands in nested brackets; divide the policy into more rules";
            return Err(Refused::new(self.line, UNPROVEN, what));
        }
        if character == '\n' {
            self.line += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: &str) -> Refused {
        check(policy).unwrap_err()
    }

    #[test]
    fn a_byte_that_ends_the_text_for_the_parser_is_refused() {
        assert_eq!(refused("package a\n\nvalid { true }\0").line, 3);
        assert!(check("package a\r\n\tvalid { true } # ü 🙂\n").is_ok());
    }

    #[test]
    fn nesting_is_bounded_by_what_it_costs_the_parser() {
        assert!(check(&format!("x = {}{}", "[".repeat(11), "]".repeat(11))).is_ok());
        assert!(refused(&"[".repeat(12)).what.contains("nested too deep"));
        let deep = format!("x = {}{}{}", "[".repeat(8), "1, ".repeat(300), "]".repeat(8));
        assert!(refused(&deep).what.contains("too much stands in nested brackets"));
        assert!(refused(&"# x\n".repeat(70_000)).what.contains("more than"));
    }

    #[test]
    fn brackets_in_texts_and_comments_nest_nothing() {
        let policy =
            "x = \"[[[[[[[[[[[[[[[\\\"[[[\\\\\" # [[[[[[[[[[[[[[\ny = `[[[[[[[[[[[[[[[[`\n";
        assert!(check(policy).is_ok());
    }
}
