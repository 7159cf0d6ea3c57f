//! Programs made byte by byte, and this test's own program.

use super::*;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn nothing_exists(_: &Path) -> bool {
    false
}

fn everything_exists(_: &Path) -> bool {
    true
}

fn node(architecture: &str) -> Node<'_> {
    Node { architecture, allow_scripts: true, exists: &nothing_exists }
}

fn says(bytes: &[u8], node: &Node<'_>) -> String {
    program(bytes, node).unwrap_err().to_string()
}

/// An ELF program with one segment, which names a loader or not.
fn elf_file(machine: u16, kind: u16, loader: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + SEGMENT];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&kind.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes[24] = 1;
    bytes[32] = HEADER as u8;
    bytes[52] = HEADER as u8;
    bytes[54] = SEGMENT as u8;
    bytes[56] = 1;
    bytes[HEADER] = 1;
    if let Some(loader) = loader {
        bytes[HEADER] = 3;
        bytes[HEADER + 8] = (HEADER + SEGMENT) as u8;
        bytes[HEADER + 32] = loader.len() as u8 + 1;
        bytes.extend(loader.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[test]
fn a_static_program_of_this_node_may_run() {
    for kind in [elf::ET_EXEC, elf::ET_DYN] {
        let amd64 = elf_file(elf::EM_X86_64, kind, None);
        assert_eq!(program(&amd64[..], &node("amd64")), Ok(Program::Static));
        let arm64 = elf_file(elf::EM_AARCH64, kind, None);
        assert_eq!(program(&arm64[..], &node("arm64")), Ok(Program::Static));
    }
}

#[test]
fn a_program_for_another_processor_is_refused_with_both_names() {
    let amd64 = elf_file(elf::EM_X86_64, elf::ET_EXEC, None);
    let arm64 = elf_file(elf::EM_AARCH64, elf::ET_EXEC, None);
    let alpha = elf_file(0x9026, elf::ET_EXEC, None);
    let mut small = elf_file(elf::EM_386, elf::ET_EXEC, None);
    small[4] = 1;
    let mut big = elf_file(elf::EM_AARCH64.swap_bytes(), 0x0200, None);
    big[5] = 2;
    let lines = [
        says(&amd64, &node("arm64")),
        says(&arm64, &node("amd64")),
        says(&alpha, &node("amd64")),
        says(&small, &node("amd64")),
        says(&big, &node("arm64")),
    ];
    insta::assert_snapshot!(lines.join("\n"), @"
    built for x86-64, this node is arm64: push it for arm64 too, or as one index of both
    built for arm64, this node is x86-64: push it for x86-64 too, or as one index of both
    built for ELF machine 36902, this node is x86-64: push it for x86-64 too, or as one index of both
    built for x86 (32 bits), this node is x86-64: push it for x86-64 too, or as one index of both
    built for arm64 (big endian), this node is arm64: push it for arm64 too, or as one index of both
    ");
}

#[test]
fn a_dynamic_program_runs_only_where_its_loader_is() {
    let dynamic = elf_file(elf::EM_X86_64, elf::ET_DYN, Some(LOADER));
    insta::assert_snapshot!(says(&dynamic, &node("amd64")), @"needs a loader (/lib64/ld-linux-x86-64.so.2): build it static (Go: CGO_ENABLED=0; Rust: a -linux-musl target)");
    let here = Node { exists: &everything_exists, ..node("amd64") };
    assert_eq!(program(&dynamic[..], &here), Ok(Program::Dynamic { loader: LOADER.into() }));
}

#[test]
fn a_loader_beyond_the_end_of_the_file_is_refused() {
    let mut dynamic = elf_file(elf::EM_X86_64, elf::ET_DYN, Some(LOADER));
    dynamic[HEADER + 12] = 0xff;
    let here = Node { exists: &everything_exists, ..node("amd64") };
    assert!(matches!(program(&dynamic[..], &here), Err(Distrust::Broken(_))));
}

#[test]
fn every_prefix_of_a_program_is_refused() {
    let whole = elf_file(elf::EM_X86_64, elf::ET_DYN, None);
    for length in 0..whole.len() {
        assert!(program(&whole[..length], &node("amd64")).is_err(), "{length}");
    }
}

#[test]
fn what_is_elf_and_no_linux_program_is_named() {
    let mut library = elf_file(elf::EM_X86_64, elf::ET_DYN, None);
    library[24] = 0;
    let mut bsd = elf_file(elf::EM_X86_64, elf::ET_EXEC, None);
    bsd[7] = elf::ELFOSABI_FREEBSD;
    let object = elf_file(elf::EM_X86_64, elf::ET_REL, None);
    let core = elf_file(elf::EM_X86_64, elf::ET_CORE, None);
    let lines = [library, bsd, object, core].map(|bytes| says(&bytes, &node("amd64")));
    insta::assert_snapshot!(lines.join("\n"), @"
    no program but a shared library
    built for FreeBSD, not for Linux
    no program but an object file
    no program but a core dump
    ");
}

#[test]
fn a_script_names_its_interpreter() {
    let text = b"#! /bin/sh -e\nexit 0\n";
    let here = Node { exists: &everything_exists, ..node("amd64") };
    let script = Program::Script { interpreter: "/bin/sh".into() };
    assert_eq!(program(&text[..], &here), Ok(script));
    insta::assert_snapshot!(says(text, &node("amd64")), @"a script for /bin/sh, which is not on this node");
    let strict = Node { allow_scripts: false, ..here };
    insta::assert_snapshot!(says(text, &strict), @"a script for /bin/sh: scripts are not allowed here, a static program is");
    insta::assert_snapshot!(says(b"#!/bin/\x1b[31msh\n", &strict), @"a script for /bin/�[31msh: scripts are not allowed here, a static program is");
}

#[test]
fn other_files_are_refused_by_name() {
    let mut tar = vec![0; 512];
    tar[..6].copy_from_slice(b"sample");
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [&[u8]; 8] = [
        b"",
        b"\x1f\x8b\x08\x00",
        &tar,
        b"PK\x03\x04rest",
        b"  <!doctype html><html>",
        b"{\"errors\":[]}",
        b"MZ\x90",
        b"plain\x1b text",
    ];
    let lines = cases.map(|bytes| says(bytes, &node("amd64")));
    insta::assert_snapshot!(lines.join("\n"), @"
    no program but an empty file: push the program's own file, as `ratify plugin push` does
    no program but a gzip archive: push the program's own file, as `ratify plugin push` does
    no program but a tar archive: push the program's own file, as `ratify plugin push` does
    no program but a zip archive: push the program's own file, as `ratify plugin push` does
    no program but an HTML or XML document: push the program's own file, as `ratify plugin push` does
    no program but a JSON document: push the program's own file, as `ratify plugin push` does
    no program but a Windows program: push the program's own file, as `ratify plugin push` does
    no program: it starts with 706c61696e1b2074
    ");
}

#[test]
fn this_very_program_is_for_this_very_platform() {
    let path = std::env::current_exe().unwrap();
    let platform = this_platform();
    let here = Node { exists: &everything_exists, ..node(&platform.architecture) };
    program_at(&path, &here).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(architecture(&bytes[..]), Ok(Some(platform.architecture.as_str())));
    let other = if platform.architecture == "arm64" { "amd64" } else { "arm64" };
    assert!(matches!(
        program_at(&path, &Node { exists: &everything_exists, ..node(other) }),
        Err(Distrust::Architecture { .. })
    ));
}
