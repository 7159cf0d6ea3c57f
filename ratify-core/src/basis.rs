//! [`Basis`]: what verdicts rest on besides the image and what is attached to it.

use std::fmt;

use serde_json::{Map, Value};

/// All that decides: whoever takes part in a verdict adds what it goes by. Two bases with the same
/// bytes come to the same verdicts; whoever keeps one makes a digest of them.
///
/// It may hold secrets, as configurations do, so it does not show what is in it.
#[derive(Default)]
pub struct Basis {
    bytes: Vec<u8>,
    is_unknown: bool,
}

impl Basis {
    /// Adds something under a name. The lengths are added too, so that nothing can be taken for a
    /// part of something else.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), value.as_ref()] {
            self.bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
    }

    /// Adds an entry of the configuration, as it is written.
    pub fn add_entry(&mut self, entry: &Map<String, Value>) {
        // The keys of a map are in their order, and all are strings: it cannot fail.
        match serde_json::to_vec(entry) {
            Ok(entry) => self.add("entry", entry),
            Err(_) => self.add_unknown(),
        }
    }

    /// Says that something decides which cannot be told: no verdict that rests on it may be kept.
    pub fn add_unknown(&mut self) {
        self.is_unknown = true;
    }

    /// What was added, in order; `None` where not all of it is known.
    pub fn bytes(&self) -> Option<&[u8]> {
        (!self.is_unknown).then_some(&self.bytes)
    }
}

impl fmt::Debug for Basis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Basis")
            .field("is_unknown", &self.is_unknown)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut basis = Basis::default();
        for (name, value) in parts {
            basis.add(name, value);
        }
        basis.bytes().unwrap().to_vec()
    }

    #[test]
    fn nothing_can_be_taken_for_a_part_of_something_else() {
        let all = [
            bytes(&[("a", "bc")]),
            bytes(&[("ab", "c")]),
            bytes(&[("a", "b"), ("c", "")]),
            bytes(&[("a", ""), ("b", "c")]),
            bytes(&[]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other != one));
        }
        assert_eq!(bytes(&[("a", "bc")]), all[0]);
    }

    #[test]
    fn what_cannot_be_told_makes_the_whole_unknown() {
        let mut basis = Basis::default();
        basis.add_unknown();
        basis.add("a", "hunter2");
        assert_eq!(basis.bytes(), None);
        assert!(!format!("{basis:?}").contains("hunter2"));
    }
}
