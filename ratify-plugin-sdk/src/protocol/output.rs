//! What a host reads from a plugin's standard output and standard error.
//!
//! The rules, which take all that v1 takes and refuse what could be read in two ways:
//! - An answer is one JSON object that begins a line of standard output. It may span lines, and
//!   log lines may stand before and after it. JSON inside a log line is no answer.
//! - Among several objects the one that has the answer's mark (`isSuccess` of a report) is it; with
//!   none or several of those the output is refused. v1 refuses any second object.
//! - An object that begins and breaks makes the whole output unreadable: what stands inside it, or
//!   inside one of its strings, must not pass for an answer. So does one with a key given twice. A
//!   line that is an object by its brace alone, as `{not json}`, is a log line, and words behind an
//!   object on its last line are ignored.
//! - Standard error is asked only when standard output has no object at all, as v1's plugins may
//!   print there.
//! - Every other line is a log line. `INFO: `, `WARN: ` and `DEBUG: ` give its level.
//!
//! The caller bounds the bytes. Nesting is bounded by serde_json (128), log lines here.

use ratify_core::{Descriptor, Manifest, VerifierReport, go_json, strict_json};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde_json::{Map, Value};

use super::{ListReferrersOutput, PluginError};

pub use super::log::{Log, LogLevel, LogLine};

/// An answer longer than this many bytes is refused: the size of the largest manifest registries
/// take. v1 takes no line of more than 64 KiB.
pub const MAX_OBJECT: usize = 4 << 20;

/// Something a plugin can answer.
pub trait Answer: DeserializeOwned {
    /// The key that tells it from other JSON on standard output.
    const MARK: &'static str;
    /// Its keys. They match in any case, since Go's decoder matches so.
    const KEYS: &'static [&'static str];
}

/// What a plugin that exited with 0 had to say.
#[derive(Debug)]
#[non_exhaustive]
pub struct Output<T> {
    /// The answer, or why there is none.
    pub answer: Result<T, OutputError>,
    /// Its log, standard error first, as v1 orders it.
    pub log: Log,
}

/// Why output holds no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No object at all. The text begins with Go's words, which v1's users know.
    #[error("unexpected end of JSON input: the plugin printed no JSON object on a line of its own")]
    Nothing,
    /// A line looks like an object and is none.
    #[error("the plugin printed a JSON object that cannot be read: {0}")]
    Broken(serde_json::Error),
    /// More than one object could be the answer.
    #[error("the plugin printed {0} JSON objects where one answer is expected")]
    Several(usize),
    /// The object is not of the answer's shape.
    #[error("the plugin's answer is malformed: {0}")]
    Shape(serde_json::Error),
}

impl Answer for VerifierReport {
    const MARK: &'static str = "isSuccess";
    const KEYS: &'static [&'static str] = &[
        "subject",
        "isSuccess",
        "name",
        "verifierName",
        "type",
        "verifierType",
        "referenceDigest",
        "artifactType",
        "message",
        "errorReason",
        "remediation",
        "extensions",
        "nestedResults",
    ];
}

impl Answer for ListReferrersOutput {
    const MARK: &'static str = "referrers";
    const KEYS: &'static [&'static str] = &["referrers", "nextToken"];
}

impl Answer for Manifest {
    const MARK: &'static str = "blobs";
    const KEYS: &'static [&'static str] =
        &["mediaType", "artifactType", "blobs", "subject", "annotations"];
}

impl Answer for Descriptor {
    const MARK: &'static str = "digest";
    const KEYS: &'static [&'static str] =
        &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];
}

/// Reads the output of a plugin that exited with 0 and was asked for an answer in JSON.
pub fn read<T: Answer>(stdout: &[u8], stderr: &[u8]) -> Output<T> {
    let has_mark =
        |object: &Map<String, Value>| object.keys().any(|key| go_json::is_key(key, T::MARK));
    let mut scanned = Scan::of(stdout, has_mark);
    let mut log = std::mem::take(&mut scanned.log);
    if scanned.found_nothing() {
        scanned = Scan::of(stderr, has_mark);
        log.prepend(std::mem::take(&mut scanned.log));
    } else {
        log.prepend(read_log(stderr));
    }
    Output { answer: scanned.into_object().and_then(decode), log }
}

/// Reads standard error as nothing but a log, as it is where standard output has the answer or
/// the bytes of a blob.
pub fn read_log(stderr: &[u8]) -> Log {
    let mut log = Log::default();
    String::from_utf8_lossy(stderr).lines().for_each(|line| log.push(line));
    log
}

/// Finds the error a plugin printed before it exited with something else than 0: on standard
/// output, as v1's SDK does, or on standard error, as v1's web pages say.
pub fn read_error(stdout: &[u8], stderr: &[u8]) -> Option<PluginError> {
    let is_error = |object: &Map<String, Value>| {
        object.get("code").is_some_and(Value::is_u64)
            && object.get("msg").is_some_and(Value::is_string)
    };
    [stdout, stderr].into_iter().find_map(|stream| {
        let object = Scan::of(stream, is_error).marked?;
        serde_json::from_value(Value::Object(object)).ok()
    })
}

fn decode<T: Answer>(object: Map<String, Value>) -> Result<T, OutputError> {
    fold_keys(object, T::KEYS)
        .and_then(|object| serde_json::from_value(Value::Object(object)))
        .map_err(OutputError::Shape)
}

/// Gives known keys their proper case and drops those without a value, as Go's decoder would. One
/// key in two spellings is refused: readers could take either.
fn fold_keys(
    object: Map<String, Value>,
    known: &[&'static str],
) -> serde_json::Result<Map<String, Value>> {
    let mut folded = Map::new();
    for (key, value) in object.into_iter().filter(|(_, value)| !value.is_null()) {
        let Some(name) = known.iter().find(|name| go_json::is_key(&key, name)) else {
            continue;
        };
        if folded.insert((*name).to_owned(), value).is_some() {
            let message = format!("it has the key {name} in two spellings");
            return Err(serde_json::Error::custom(message));
        }
    }
    Ok(folded)
}

/// One stream, taken apart. Of its objects only those are kept that can be the answer, so that
/// many small ones take no memory.
#[derive(Default)]
struct Scan {
    objects: usize,
    first: Option<Map<String, Value>>,
    marked_objects: usize,
    marked: Option<Map<String, Value>>,
    /// The first line that begins as an object and does not go on as one.
    broken: Option<serde_json::Error>,
    /// Whether such an object went on over several lines.
    unreadable: bool,
    log: Log,
}

impl Scan {
    fn of(stream: &[u8], has_mark: impl Fn(&Map<String, Value>) -> bool) -> Self {
        let text = String::from_utf8_lossy(stream);
        let mut scan = Self::default();
        let mut rest = text.as_ref();
        while !rest.is_empty() {
            let line = rest.lines().next().unwrap_or_default();
            let consumed = if !scan.unreadable && line.trim_start().starts_with('{') {
                scan.take_object(rest, line, &has_mark)
            } else {
                scan.log.push(line);
                line.len()
            };
            rest = rest[consumed..].split_once('\n').map_or("", |(_, next)| next);
        }
        scan
    }

    /// Takes the object that `rest` begins with; returns how many bytes it has. Words behind it on
    /// its last line are ignored, as v1 does, but no part of JSON.
    fn take_object(
        &mut self,
        rest: &str,
        line: &str,
        has_mark: &impl Fn(&Map<String, Value>) -> bool,
    ) -> usize {
        let end = match measure_object(rest) {
            Ok(end) => end,
            Err(error) => {
                self.unreadable = error.is_eof() || error.line() > 1 || has_a_key(line);
                self.broken.get_or_insert(error);
                self.log.push(line);
                return line.len();
            }
        };
        let behind = rest[end..].lines().next().unwrap_or_default();
        match build_object(&rest[..end]).and_then(|object| refuse_more(behind).map(|()| object)) {
            Ok(object) => {
                self.objects += 1;
                if has_mark(&object) {
                    self.marked_objects += 1;
                    self.marked = Some(object);
                } else {
                    self.first.get_or_insert(object);
                }
            }
            Err(error) => {
                self.unreadable = true;
                self.broken = Some(error);
            }
        }
        end
    }

    fn found_nothing(&self) -> bool {
        self.objects == 0 && self.broken.is_none()
    }

    fn into_object(self) -> Result<Map<String, Value>, OutputError> {
        if let Some(error) = self.broken.filter(|_| self.unreadable || self.objects == 0) {
            return Err(OutputError::Broken(error));
        }
        match (self.marked_objects, self.objects) {
            (0, 0) => Err(OutputError::Nothing),
            (1, _) => self.marked.ok_or(OutputError::Nothing),
            (0, 1) => self.first.ok_or(OutputError::Nothing),
            (_, objects) => Err(OutputError::Several(objects)),
        }
    }
}

/// How many bytes the object has that a text begins with. It is measured before it is built, since
/// an object in memory can be a hundred times its text.
fn measure_object(text: &str) -> serde_json::Result<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next().transpose()?;
    Ok(values.byte_offset())
}

fn build_object(text: &str) -> serde_json::Result<Map<String, Value>> {
    if text.len() > MAX_OBJECT {
        let message = format!("it has {} bytes, and {MAX_OBJECT} are taken", text.len());
        return Err(serde_json::Error::custom(message));
    }
    strict_json::read(text.as_bytes())
}

/// Refuses text behind an object that may have been a part of it: a string that ended too early,
/// with keys of its own before the end, or a second object.
fn refuse_more(behind: &str) -> serde_json::Result<()> {
    if behind.contains('"') {
        return Err(serde_json::Error::custom(
            "it ends before its line does, and more JSON follows",
        ));
    }
    Ok(())
}

/// Whether a line goes on as an object after its brace. Text that was put into a string without an
/// escape breaks such a line, and may bring lines of its own.
fn has_a_key(line: &str) -> bool {
    line.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict, or the error's text, of standard output and standard error.
    fn verdict(stdout: &str, stderr: &str) -> String {
        match read::<VerifierReport>(stdout.as_bytes(), stderr.as_bytes()).answer {
            Ok(report) => format!("{} {}", report.is_success, report.message),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn takes_what_v1_takes() {
        let cases = [
            (r#"{"isSuccess":true,"message":"m"}"#, "", "true m"),
            ("INFO: a\n{\"isSuccess\":true,\"message\":\"m\"}\nWARN: b\n", "", "true m"),
            ("  {\"isSuccess\":true} trailing junk\n", "", "true "),
            ("", "{\"isSuccess\":true,\"message\":\"on stderr\"}\n", "true on stderr"),
            (
                "",
                "no json at all",
                "unexpected end of JSON input: the plugin printed no JSON object on a line of its own",
            ),
            (
                "",
                "",
                "unexpected end of JSON input: the plugin printed no JSON object on a line of its own",
            ),
            ("{not json}\n{\"isSuccess\":true}\n", "", "true "),
            (
                r#"{"IsSuccess":true,"MESSAGE":"Go matches in any case","unknown":1,"name":null}"#,
                "",
                "true Go matches in any case",
            ),
            (r#"{"message":"no verdict is a no"}"#, "", "false no verdict is a no"),
            ("{\"isSuccess\":true}\r\n", "", "true "),
        ];
        for (stdout, stderr, expected) in cases {
            assert_eq!(verdict(stdout, stderr), expected, "{stdout}{stderr}");
        }
    }

    #[test]
    fn takes_what_v1_loses() {
        let pretty = "DEBUG: x\n{\n  \"isSuccess\": true,\n  \"message\": \"pretty\"\n}\nbye\n";
        assert_eq!(verdict(pretty, ""), "true pretty");
        assert_eq!(verdict("{\"isSuccess\":true}\n", "no newline at the end"), "true ");
        let long = format!("{{\"isSuccess\":true,\"message\":\"{}\"}}\n", "x".repeat(100_000));
        assert_eq!(verdict(&long, "").len(), 100_005);
        let structured =
            "{\"level\":\"info\"}\n{\"isSuccess\":false,\"message\":\"m\"}\n{\"level\":\"info\"}";
        assert_eq!(verdict(structured, ""), "false m");
        let on_both = read::<VerifierReport>(br#"{"isSuccess":true}"#, br#"{"level":"info"}"#);
        assert!(on_both.answer.unwrap().is_success);
        assert_eq!(on_both.log.lines[0].text, r#"{"level":"info"}"#);
        let exact = read::<Descriptor>(
            format!(r#"{{"digest":"sha256:{}","size":9007199254740993}}"#, "ab".repeat(32))
                .as_bytes(),
            b"",
        );
        assert_eq!(exact.answer.unwrap().size, 9_007_199_254_740_993);
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let two = "{\"isSuccess\":false}\n{\"isSuccess\":true}\n";
        assert_eq!(
            verdict(two, ""),
            "the plugin printed 2 JSON objects where one answer is expected"
        );
        assert_eq!(
            verdict("{\"a\":1}\n{\"b\":1}", ""),
            "the plugin printed 2 JSON objects where one answer is expected"
        );
        // Neither what stands in a log line, nor in a string, nor inside a broken object.
        for (stdout, stderr) in [
            ("INFO: the document says {\"isSuccess\":true}\n", ""),
            ("\"abc\" {\"isSuccess\":true}\n", ""),
            ("[\"abc\", {\"isSuccess\":true}]\n", ""),
            (
                "{\n \"isSuccess\": false, \"extensions\": [\n  {\"isSuccess\": true}\n ], oops\n}\n",
                "",
            ),
            ("{\"message\": \n{\"isSuccess\":true}\n", ""),
            ("{\"isSuccess\":false,\"message\":\"x\n{\"isSuccess\":true}\"}\n", ""),
            ("{\"isSuccess\":false,\"message\":\"x\r\n{\"isSuccess\":true}\"}\n", ""),
            ("{\"isSuccess\":false,\"x\n{\"isSuccess\":true}\":1}\n", ""),
            ("{ \"isSuccess\":false,\"message\":\"C:\\x\n{\"isSuccess\":true}\"}\n", ""),
            ("{\"isSuccess\":false,\"message\":\"a \"b\n{\"isSuccess\":true}\n\"}\n", ""),
            ("{\"isSuccess\":false,\"message\":\"x\",\"isSuccess\":true}\n", ""),
            ("{\"message\":\"x\",\"isSuccess\":true} \",\"isSuccess\":false}\n", ""),
            ("{\"isSuccess\":true} {\"isSuccess\":false}\n", ""),
            ("", "{\"isSuccess\":false,\"message\":\"x\n{\"isSuccess\":true}\"}\n"),
            ("{\"isSuccess\":true}\n{\n\"cut\": ", ""),
            ("{\"isSuccess\":tru", "{\"isSuccess\":true}"),
            (
                &format!(
                    "{{\"a\":{}{}}}\n{{\"isSuccess\":true}}",
                    "[".repeat(500),
                    "]".repeat(500)
                ),
                "",
            ),
        ] {
            assert!(!verdict(stdout, stderr).starts_with("true"), "{stdout}{stderr}");
        }
    }

    #[test]
    fn refuses_wrong_shapes_deep_nesting_and_size_and_says_so() {
        insta::assert_snapshot!(verdict(r#"{"isSuccess":"yes"}"#, ""), @r#"the plugin's answer is malformed: invalid type: string "yes", expected a boolean"#);
        let deep =
            format!("{{\"isSuccess\":true,\"extensions\":{}{}}}", "[".repeat(500), "]".repeat(500));
        insta::assert_snapshot!(verdict(&deep, ""), @"the plugin printed a JSON object that cannot be read: recursion limit exceeded at line 1 column 158");
        let huge = format!("{{\"isSuccess\":true,\"message\":\"{}\"}}", "x".repeat(MAX_OBJECT));
        insta::assert_snapshot!(verdict(&huge, ""), @"the plugin printed a JSON object that cannot be read: it has 4194335 bytes, and 4194304 are taken");
        insta::assert_snapshot!(verdict(r#"{"IsSuccess":true,"isSuccess":false}"#, ""), @"the plugin's answer is malformed: it has the key isSuccess in two spellings");
        insta::assert_snapshot!(verdict("{\"isSuccess\":true,\"i\u{17f}Success\":false}", ""), @"the plugin's answer is malformed: it has the key isSuccess in two spellings");
        insta::assert_snapshot!(verdict(r#"{"isSuccess":false,"isSuccess":true}"#, ""), @r#"the plugin printed a JSON object that cannot be read: the key "isSuccess" is given twice at line 1 column 30"#);
        insta::assert_snapshot!(verdict(r#"{"isSuccess":true,"extensions":[{"a":1,"a":2}]}"#, ""), @r#"the plugin printed a JSON object that cannot be read: the key "a" is given twice at line 1 column 42"#);
        insta::assert_snapshot!(verdict("{]", ""), @"the plugin printed a JSON object that cannot be read: key must be a string at line 1 column 2");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_as_go_does() {
        let output =
            read::<VerifierReport>(b"{\"isSuccess\":true,\"message\":\"\xff\"}", b"\xfe\n");
        assert_eq!(output.answer.unwrap().message, "\u{fffd}");
        assert_eq!(output.log.lines[0].text, "\u{fffd}");
    }

    #[test]
    fn log_lines_keep_their_case_lose_their_prefix_and_hold_no_escapes() {
        let stdout = "WARN: after {it}\ninformation\n\n";
        let stderr = "info: One info: two\nDEBUG: \x1b[31mred\ntime=\"x\" level=info\nINFO: json {\"a\":1}\nERROR: e";
        let output = read::<VerifierReport>(stdout.as_bytes(), stderr.as_bytes());
        let lines: Vec<String> =
            output.log.lines.iter().map(|l| format!("{:?} {}", l.level, l.text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Some(Info) One info: two
        Some(Debug) �[31mred
        None time="x" level=info
        Some(Info) json {"a":1}
        None ERROR: e
        Some(Warn) after {it}
        None information
        "#);
    }

    #[test]
    fn the_error_of_a_failed_plugin_is_found_on_either_stream() {
        let error = PluginError::new(8, "plugin command VERIFY failed", "why");
        let printed = format!("INFO: x\n{}", error.to_json());
        assert_eq!(read_error(printed.as_bytes(), b""), Some(error.clone()));
        assert_eq!(read_error(b"text", printed.as_bytes()), Some(error));
        for nothing in [
            "",
            "{}",
            "{\"code\":\"8\",\"msg\":\"m\"}",
            "{\"code\":-1,\"msg\":\"m\"}",
            "{\"code\":8",
        ] {
            assert_eq!(read_error(nothing.as_bytes(), b""), None, "{nothing}");
        }
    }

    #[test]
    fn never_panics_whatever_is_cut_away() {
        let text =
            "INFO: ä\n{\n \"isSuccess\": true, \"message\": \"ü\"\n} x\r\nWARN: y".as_bytes();
        for start in 0..text.len() {
            for end in start..text.len() {
                let output = read::<VerifierReport>(&text[start..end], &text[end..]);
                assert!(output.log.lines.len() < 10);
            }
        }
    }
}
