//! [`compile`]: a regular expression that v1 reads with Go's `regexp`, so that it matches what it does
//! there and no more. Pure.
//!
//! The two languages have one shape, and differ in what the small signs mean: classes of Perl are ASCII
//! in Go, sets know no `&&`, `--`, `~~` and no sets within, `\<` is a sign like any. So an expression is
//! written anew, sign by sign; what has no counterpart is refused.

use regex::Regex;

/// Sets of Perl, as Go has them.
const PERL: [(char, &str); 3] = [('d', "0-9"), ('s', r"\t\n\x0C\r "), ('w', "0-9A-Za-z_")];
/// Sets of POSIX, which both have.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];
/// General categories that both know by these names. (`C` also has what is not assigned, in Rust.)
const CATEGORIES: [&str; 31] = [
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp",
];
/// The most that Go repeats.
const MOST_REPEATS: u32 = 1000;

/// Why an expression is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// Go refuses it, in these words.
    #[error("error parsing regexp: {0}: `{1}`")]
    Go(&'static str, String),
    #[error("`{0}` is not taken in regular expressions: {1}")]
    NotTaken(String, &'static str),
    /// Not well-formed, or too large.
    #[error(transparent)]
    Rust(#[from] regex::Error),
}

/// Compiles an expression as Go reads it.
pub(super) fn compile(expression: &str) -> Result<Regex, Malformed> {
    let mut writer = Writer { rest: expression, written: String::new() };
    writer.write()?;
    Ok(Regex::new(&writer.written)?)
}

struct Writer<'a> {
    rest: &'a str,
    written: String,
}

impl<'a> Writer<'a> {
    fn write(&mut self) -> Result<(), Malformed> {
        let mut last_repeat = None;
        while let Some(sign) = self.rest.chars().next() {
            let at = self.rest;
            let mut is_repeat = false;
            match sign {
                '\\' => self.escape()?,
                '[' => self.set()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.skip(1);
                    self.written.push(sign);
                    is_repeat = true;
                }
                '{' => is_repeat = self.count()?,
                '.' | '^' | '$' | '|' | ')' => {
                    self.skip(1);
                    self.written.push(sign);
                }
                _ => self.literal(sign),
            }
            if !is_repeat {
                last_repeat = None;
                continue;
            }
            if let Some(last) = last_repeat.replace(at) {
                let twice = last.strip_suffix(self.rest).unwrap_or(last);
                return Err(go("invalid nested repetition operator", twice, usize::MAX));
            }
            if self.take("?") {
                self.written.push('?');
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What is before a mark, which is taken as well.
    fn take_until(&mut self, mark: &str) -> Option<&'a str> {
        let (before, after) = self.rest.split_once(mark)?;
        self.rest = after;
        Some(before)
    }

    /// Takes one sign, which stands for itself.
    fn literal(&mut self, sign: char) {
        self.skip(sign.len_utf8());
        self.push(sign);
    }

    fn push(&mut self, sign: char) {
        self.written.push_str(&regex::escape(sign.encode_utf8(&mut [0; 4])));
    }

    /// Takes `{n}`, `{n,}` or `{n,m}`, or else a brace that stands for itself.
    fn count(&mut self) -> Result<bool, Malformed> {
        let inside = self.rest[1..].split_once('}').map(|(inside, _)| inside);
        let Some((least, most)) = inside.and_then(counts) else {
            self.literal('{');
            return Ok(false);
        };
        let whole = &self.rest[..inside.unwrap_or_default().len() + 2];
        let is_too_large = |number: Option<u32>| number.is_some_and(|number| number > MOST_REPEATS);
        if is_too_large(Some(least)) || is_too_large(most) || most.is_some_and(|most| most < least)
        {
            return Err(go("invalid repeat count", whole, usize::MAX));
        }
        self.written.push_str(whole);
        self.skip(whole.len());
        Ok(true)
    }

    /// Takes the head of a group. Names are of no use to who only asks whether something is found.
    fn group(&mut self) -> Result<(), Malformed> {
        let at = self.rest;
        self.skip(1);
        if !self.take("?") {
            self.written.push_str("(?:");
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let is_word = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
            let name = self.take_until(">").filter(|name| !name.is_empty());
            if !name.is_some_and(|name| name.chars().all(is_word)) {
                return Err(go("invalid named capture", at, usize::MAX));
            }
            self.written.push_str("(?:");
            return Ok(());
        }
        let length = self.rest.find(|sign| !matches!(sign, 'i' | 'm' | 's' | 'U' | '-'));
        let flags = &self.rest[..length.unwrap_or(self.rest.len())];
        self.skip(flags.len());
        let end = self.rest.chars().next().filter(|end| matches!(end, ':' | ')'));
        let Some(end) = end else {
            return Err(go("invalid or unsupported Perl syntax", at, flags.len() + 3));
        };
        self.skip(1);
        self.written.push_str("(?");
        self.written.push_str(flags);
        self.written.push(end);
        Ok(())
    }

    /// Takes a backslash and what belongs to it, outside of sets.
    fn escape(&mut self) -> Result<(), Malformed> {
        let at = self.rest;
        let Some(next) = at[1..].chars().next() else {
            return Err(go("trailing backslash at end of expression", "", 0));
        };
        match next {
            'A' | 'z' => {
                self.skip(2);
                self.written.push_str(&at[..2]);
            }
            'b' => {
                self.skip(2);
                self.written.push_str(r"(?-u:\b)");
            }
            'B' => {
                let why = "what it says of letters beyond ASCII differs between libraries";
                return Err(Malformed::NotTaken(r"\B".to_owned(), why));
            }
            'Q' => {
                self.skip(2);
                let quoted =
                    self.take_until(r"\E").unwrap_or_else(|| std::mem::take(&mut self.rest));
                self.written.push_str(&regex::escape(quoted));
            }
            _ if self.perl_set(false) || self.category()? => {}
            _ => {
                let sign = self.sign()?;
                self.push(sign);
            }
        }
        Ok(())
    }

    /// Takes `\d` and the like, if it is there.
    fn perl_set(&mut self, is_in_set: bool) -> bool {
        let Some(name) = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return false;
        };
        let known = PERL.iter().find(|(known, _)| *known == name.to_ascii_lowercase());
        let Some((_, set)) = known else { return false };
        let set = match (name.is_ascii_uppercase(), is_in_set) {
            (true, _) => format!("[^{set}]"),
            (false, true) => (*set).to_owned(),
            (false, false) => format!("[{set}]"),
        };
        self.skip(2);
        self.written.push_str(&set);
        true
    }

    /// Takes `\p{Lu}` and the like, if it is there.
    fn category(&mut self) -> Result<bool, Malformed> {
        let at = self.rest;
        let is_negated = at.starts_with(r"\P");
        if !is_negated && !at.starts_with(r"\p") {
            return Ok(false);
        }
        self.skip(2);
        let name = if self.take("{") {
            self.take_until("}").ok_or_else(|| go("invalid character class range", at, 3))?
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            let name = &self.rest[..length];
            self.skip(length);
            name
        };
        let (is_inverse, name) = match name.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, name),
        };
        if !CATEGORIES.contains(&name) {
            let what = ratify_core::capped_line(&at[..at.len() - self.rest.len()], 40);
            let why = "of Unicode's properties only general categories are known, as \\p{L}, and none of C";
            return Err(Malformed::NotTaken(what, why));
        }
        self.written.push_str(if is_negated == is_inverse { r"\p{" } else { r"\P{" });
        self.written.push_str(name);
        self.written.push('}');
        Ok(true)
    }

    /// Takes a set in brackets. Only the first `]` may stand for itself.
    fn set(&mut self) -> Result<(), Malformed> {
        let at = self.rest;
        self.skip(1);
        self.written.push('[');
        if self.take("^") {
            self.written.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.posix()? || self.perl_set(true) || self.category()? {
                continue;
            }
            let range = self.rest;
            let low = self.sign_of_set(at)?;
            self.push(low);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.skip(1);
                let high = self.sign_of_set(at)?;
                if high < low {
                    let length = range.len() - self.rest.len();
                    return Err(go("invalid character class range", range, length));
                }
                self.written.push('-');
                self.push(high);
            }
        }
        self.skip(1);
        self.written.push(']');
        Ok(())
    }

    /// Takes `[:alpha:]` and the like, if it is there.
    fn posix(&mut self) -> Result<bool, Malformed> {
        let at = self.rest;
        let found = at.strip_prefix("[:").and_then(|rest| rest.split_once(":]"));
        let Some((name, _)) = found else { return Ok(false) };
        let whole = &at[..name.len() + 4];
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(go("invalid character class range", whole, usize::MAX));
        }
        self.written.push_str(whole);
        self.skip(whole.len());
        Ok(true)
    }

    fn sign_of_set(&mut self, set: &str) -> Result<char, Malformed> {
        match self.rest.chars().next() {
            None => Err(go("missing closing ]", set, usize::MAX)),
            Some('\\') => self.sign(),
            Some(sign) => {
                self.skip(sign.len_utf8());
                Ok(sign)
            }
        }
    }

    /// Takes a backslash and what it makes of the next sign.
    fn sign(&mut self) -> Result<char, Malformed> {
        let at = self.rest;
        self.skip(1);
        let Some(sign) = self.rest.chars().next() else {
            return Err(go("trailing backslash at end of expression", "", 0));
        };
        let invalid = || go("invalid escape sequence", at, 2);
        let is_octal = |sign: &char| ('0'..='7').contains(sign);
        if is_octal(&sign) {
            let digits = self.rest.chars().take(3).take_while(is_octal).count();
            if sign != '0' && digits == 1 {
                return Err(invalid());
            }
            let number = u32::from_str_radix(&self.rest[..digits], 8).map_err(|_| invalid())?;
            self.skip(digits);
            return char::from_u32(number).ok_or_else(invalid);
        }
        self.skip(sign.len_utf8());
        match sign {
            'x' => self.hexadecimal().ok_or_else(invalid),
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            _ if sign.is_ascii() && !sign.is_ascii_alphanumeric() => Ok(sign),
            _ => Err(invalid()),
        }
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let digits = if self.take("{") {
            self.take_until("}")?
        } else {
            let digits = self.rest.get(..2)?;
            self.skip(2);
            digits
        };
        let is_number = digits.chars().all(|digit| digit.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_number)?;
        char::from_u32(number)
    }
}

/// The numbers of `n`, `n,` and `n,m`; nothing where it is none of these. No zero stands before a number.
fn counts(inside: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| {
        let is_number = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.is_empty();
        let is_written = is_number && (text == "0" || !text.starts_with('0'));
        // What has more digits is too large for Go, too.
        is_written.then(|| text.parse().unwrap_or(u32::MAX))
    };
    match inside.split_once(',') {
        None => Some((number(inside)?, None)),
        Some((least, "")) => Some((number(least)?, None)),
        Some((least, most)) => Some((number(least)?, Some(number(most)?))),
    }
}

fn go(what: &'static str, at: &str, length: usize) -> Malformed {
    let shown: String = at.chars().take(length).collect();
    Malformed::Go(what, ratify_core::capped_line(&shown, 100))
}

#[cfg(test)]
mod tests;
