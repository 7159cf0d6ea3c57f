//! Misbehaviour on standard output and standard error.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use ratify_plugin_sdk::PluginError;
use serde_json::{Value, json};

use crate::Parameters;

/// Every name of this file but `exit_code_N`.
const NAMES: &[&str] = &[
    "exit_nonzero_with_error_json",
    "flood_stdout",
    "flood_stderr",
    "no_output",
    "empty_json",
    "pretty",
    "two_lines",
    "json_on_stderr",
    "stderr_without_newline",
    "long_line",
    "huge_message",
    "impersonate",
    "ansi",
    "deep_json",
    "invalid_utf8",
];

pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || name.starts_with("exit_code_")
}

/// Changes the report, or gives an answer of its own and ends.
pub(crate) fn play(name: &str, parameters: &Parameters, report: &mut Value) -> Option<ExitCode> {
    match name {
        "flood_stdout" => flood(&mut io::stdout(), parameters.bytes),
        "flood_stderr" => flood(&mut io::stderr(), parameters.bytes),
        "stderr_without_newline" => write(&mut io::stderr(), b"no line break follows"),
        "long_line" => report["message"] = "x".repeat(100 << 10).into(),
        "huge_message" => report["message"] = "x".repeat(8 << 20).into(),
        "impersonate" => {
            for key in ["name", "verifierName", "type", "verifierType"] {
                report[key] = "notation".into();
            }
        }
        "ansi" => {
            let text = "\x1b[2J\x1b[31mred\x1b[0m\r\nINFO: forged\u{202e}\u{2028}line\u{7}";
            report["message"] = text.into();
            write(&mut io::stderr(), format!("WARN: {text}\n").as_bytes());
        }
        _ => return play_last(name, report),
    }
    None
}

/// Accepts at once.
pub(crate) fn success(message: &str) -> ExitCode {
    print_line(&json!({"isSuccess": true, "message": message}));
    ExitCode::SUCCESS
}

/// The answer as the wire wants it.
pub(crate) fn print_line(report: &Value) {
    write(&mut io::stdout(), format!("{report}\n").as_bytes());
}

fn play_last(name: &str, report: &mut Value) -> Option<ExitCode> {
    let stdout = &mut io::stdout();
    if let Some(code) = name.strip_prefix("exit_code_") {
        // The answer says yes, the exit code does not.
        print_line(report);
        return Some(code.parse::<u8>().unwrap_or(1).into());
    }
    match name {
        "no_output" => {}
        "empty_json" => write(stdout, b"{}\n"),
        "pretty" => write(stdout, format!("{report:#}\n").as_bytes()),
        "two_lines" => {
            let mut first = report.clone();
            first["isSuccess"] = false.into();
            print_line(&first);
            print_line(report);
        }
        "json_on_stderr" => write(&mut io::stderr(), format!("{report}\n").as_bytes()),
        "deep_json" => {
            let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
            let text = format!("{{\"isSuccess\":true,\"extensions\":{open}{close}}}\n");
            write(stdout, text.as_bytes());
        }
        "invalid_utf8" => write(stdout, b"{\"isSuccess\":true,\"message\":\"\xff\xfe\xc0\"}\n"),
        "exit_nonzero_with_error_json" => {
            let error =
                PluginError::new(8, "plugin command VERIFY failed", "stress was asked to fail");
            write(stdout, error.to_json().as_bytes());
            return Some(ExitCode::FAILURE);
        }
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn flood(stream: &mut impl Write, bytes: u64) {
    let line = [b"INFO: ".as_slice(), &[b'x'; 1017], b"\n"].concat();
    for _ in 0..bytes.div_ceil(line.len() as u64) {
        write(stream, &line);
    }
}

/// A host that stops reading ends a plugin, whether it behaves or not.
fn write(stream: &mut impl Write, bytes: &[u8]) {
    if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
        std::process::exit(1);
    }
}
