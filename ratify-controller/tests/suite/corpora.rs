//! The corpora of the fuzz targets (`ratify-controller/fuzz`), replayed without a fuzzer: what was
//! made by hand, and what a run found. Each input is given to each target, and its own in pieces and
//! with chance mistakes, the same at each run.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;
mod verdicts;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use targets::Target;

/// Into so many pieces.
const PIECES: usize = 6;

/// How many inputs are made of each by chance; `RATIFY_MISTAKES` says another number.
const MISTAKES: usize = 20;

/// The target that an input is of, its name, and its bytes.
type Input = (String, String, Vec<u8>);

fn inputs() -> Vec<Input> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora");
    let mut inputs = Vec::new();
    for folder in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let target = folder.file_name().into_string().unwrap();
        for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            inputs.push((target.clone(), name, fs::read(file.path()).unwrap()));
        }
    }
    inputs.sort();
    inputs
}

/// Where something does not hold, which input it is.
fn fails(target: &Target, (of, name, bytes): &Input) -> Option<String> {
    let check = || {
        (target.check)(bytes);
        if of == target.name {
            for piece in 1..PIECES {
                (target.check)(&bytes[..bytes.len() * piece / PIECES]);
            }
        }
    };
    let held = catch_unwind(AssertUnwindSafe(check));
    held.is_err().then(|| format!("{}: corpora/{of}/{name}", target.name))
}

#[test]
fn what_must_hold_of_bytes_from_outside_holds_of_every_input_of_every_corpus() {
    let inputs = inputs();
    for target in &targets::ALL {
        let own = inputs.iter().filter(|(of, ..)| of == target.name).count();
        assert!(own >= 5, "{} has {own} inputs", target.name);
    }
    let is_known = |name: &str| targets::ALL.iter().any(|target| target.name == name);
    assert!(inputs.iter().all(|(of, ..)| is_known(of)), "a corpus of no target");
    let failed = targets::ALL
        .iter()
        .flat_map(|target| inputs.iter().filter_map(move |input| fails(target, input)));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Numbers that look like chance (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }

    /// The input with a few mistakes; `other` is where pieces come from.
    fn mistaken(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1).min(16);
            match self.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
                3 | 4 => {
                    let from = self.below(other.len() + 1);
                    let to = from + self.below(other.len() - from + 1).min(40);
                    let piece = other[from..to].to_vec();
                    drop(bytes.splice(at..end, piece));
                }
                _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
        bytes
    }
}

#[test]
fn it_holds_of_each_input_with_mistakes() {
    let rounds = std::env::var("RATIFY_MISTAKES").ok().and_then(|text| text.parse().ok());
    let (inputs, mut chance) = (inputs(), Chance(0x2545_f491_4f6c_dd1d));
    let mut failed = Vec::new();
    for target in &targets::ALL {
        let own: Vec<_> = inputs.iter().filter(|(of, ..)| of == target.name).collect();
        for (_, name, input) in &own {
            for _ in 0..rounds.unwrap_or(MISTAKES) {
                let (.., other) = own[chance.below(own.len())];
                let bytes = chance.mistaken(input, other);
                if catch_unwind(AssertUnwindSafe(|| (target.check)(&bytes))).is_err() {
                    failed.push(format!("{}: {name} as {}", target.name, bytes.escape_ascii()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} inputs:\n{}", failed.len(), failed.join("\n"));
}
