//! One libFuzzer program for all targets; the variable `RATIFY_FUZZ_TARGET` says which. What a target
//! asserts is in [`targets`], which the suite of the controller replays over the corpora without any
//! of this.

#![no_main]

mod targets;

use std::{
    panic::{self, AssertUnwindSafe},
    process,
    sync::OnceLock,
};

/// What names the target.
const TARGET: &str = "RATIFY_FUZZ_TARGET";

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's hook ends the process at each panic. One that the program catches is no
        // finding: what must hold is what comes of it.
        drop(panic::take_hook());
    },
    |input: &[u8]| {
        static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();
        let check = CHECK.get_or_init(|| {
            let name = std::env::var(TARGET).unwrap_or_default();
            let found = targets::ALL.iter().find(|target| target.name == name);
            found.map(|target| target.check).unwrap_or_else(|| {
                let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
                eprintln!("{TARGET} must be one of {}", names.join(", "));
                process::exit(2)
            })
        });
        if panic::catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
            process::abort();
        }
    }
);
