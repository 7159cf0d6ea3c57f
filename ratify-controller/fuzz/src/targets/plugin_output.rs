//! What a plugin prints, standard error behind a record separator. A yes is read only where one
//! document says yes and nothing that begins a line says no.

use ratify_core::{Descriptor, Manifest, VerifierReport};
use ratify_plugin_sdk::protocol::{
    ListReferrersOutput,
    output::{self, Log},
};
use serde_json::Value;

use super::{json::Entries, split};

const SEPARATOR: u8 = 0x1e;
const MARK: &str = "isSuccess";

pub(super) fn check(input: &[u8]) {
    let (stdout, stderr) = split(input, SEPARATOR);
    let output = output::read::<VerifierReport>(stdout, stderr);
    is_fit_for_a_log(&output.log);
    if output.answer.is_ok_and(|report| report.is_success) {
        let own = Said::of(stdout);
        let said = if own.documents == 0 { Said::of(stderr) } else { own };
        assert_eq!((said.yes, said.no), (1, 0), "it is no clear yes");
    }
    // The other answers: whatever is read can be written.
    let listed = output::read::<ListReferrersOutput>(stdout, stderr);
    is_fit_for_a_log(&listed.log);
    drop(listed.answer);
    if let Ok(manifest) = output::read::<Manifest>(stdout, stderr).answer {
        serde_json::to_vec(&manifest).unwrap();
    }
    if let Ok(descriptor) = output::read::<Descriptor>(stdout, stderr).answer {
        serde_json::to_vec(&descriptor).unwrap();
    }
    if let Some(error) = output::read_error(stdout, stderr) {
        assert!(!error.to_json().is_empty());
    }
    is_fit_for_a_log(&output::read_log(stderr));
}

fn is_fit_for_a_log(log: &Log) {
    assert!(log.lines.len() <= 1000);
    for line in &log.lines {
        assert!(line.text.len() <= 2048, "{}", line.text.len());
        assert!(!line.text.chars().any(char::is_control), "{:?}", line.text);
    }
}

/// What a stream says, read in another way.
#[derive(Default)]
struct Said {
    documents: usize,
    yes: usize,
    no: usize,
}

impl Said {
    fn of(stream: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stream);
        let (mut said, mut at) = (Self::default(), 0);
        while at < text.len() {
            let line = text[at..].lines().next().unwrap_or_default();
            let end = if line.trim_start().starts_with('{') {
                at + said.take(&text[at..], line)
            } else {
                at + line.len()
            };
            at = text[end..].find('\n').map_or(text.len(), |next| end + next + 1);
        }
        said
    }

    /// Takes what begins here; returns how far it goes.
    fn take(&mut self, rest: &str, line: &str) -> usize {
        let mut documents = serde_json::Deserializer::from_str(rest).into_iter::<Entries>();
        let Some(Ok(document)) = documents.next() else {
            // A piece of a document; what it says stands.
            let words: String = line.split_whitespace().collect();
            let is_piece = words.starts_with("{\"");
            let says_no = words.to_ascii_lowercase().contains("\"issuccess\":false");
            self.no += usize::from(is_piece && says_no);
            return line.len();
        };
        self.documents += 1;
        let values = document.all(MARK);
        self.yes += values.iter().filter(|value| ***value == Value::Bool(true)).count();
        self.no += values.iter().filter(|value| ***value == Value::Bool(false)).count();
        documents.byte_offset()
    }
}
