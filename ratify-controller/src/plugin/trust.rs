//! Whether a file is a program that this node can run, told from its first bytes and its ELF
//! header before anything runs it: [`program`]. Nothing here trusts the file: it is only read.
//!
//! Offsets and constants are those of the System V ABI ("ELF Header", "Program Header"), read with
//! the crate `object`.

use std::{fmt, fs::File, path::Path};

use object::{
    Endianness, elf,
    read::{
        ReadCache, ReadRef,
        elf::{FileHeader, ProgramHeader},
    },
};
use ratify_core::{Platform, capped_line};

/// A script's first line is read this far, as the kernel does (BINPRM_BUF_SIZE).
const MAX_SCRIPT_LINE: usize = 256;
/// A tar archive says so this far in (POSIX ustar).
const TAR_MAGIC_AT: u64 = 257;
const NATIVE_ABIS: [u8; 2] = [elf::ELFOSABI_SYSV, elf::ELFOSABI_GNU];

/// What a file may be, and on which node.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The processor, by Go's name: `amd64`.
    pub architecture: &'a str,
    /// Whether scripts may run here. Their interpreter is another program that nobody proved.
    pub allow_scripts: bool,
    /// Whether a loader or an interpreter exists on this node.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

/// A file that this node can run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// A static ELF program: it needs nothing but the kernel.
    Static,
    /// An ELF program whose loader is on this node.
    Dynamic {
        /// The loader's path.
        loader: String,
    },
    /// A script whose interpreter is on this node.
    Script {
        /// The interpreter's path.
        interpreter: String,
    },
}

/// Why a file is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// For another processor.
    #[error(
        "built for {built_for}, this node is {node}: push it for {node} too, or as one index of both"
    )]
    Architecture {
        /// What the program says it is for.
        built_for: String,
        /// What this node is.
        node: String,
    },
    /// For another operating system.
    #[error("built for {0}, not for Linux")]
    System(&'static str),
    /// Linked dynamically, and the loader is not on this node.
    #[error(
        "needs a loader ({0}): build it static (Go: CGO_ENABLED=0; Rust: a -linux-musl target)"
    )]
    Loader(String),
    /// A script where scripts are not allowed.
    #[error("a script for {0}: scripts are not allowed here, a static program is")]
    ScriptRefused(String),
    /// A script whose interpreter is not on this node.
    #[error("a script for {0}, which is not on this node")]
    Interpreter(String),
    /// An ELF file that is no program.
    #[error("no program but {0}")]
    NotExecutable(&'static str),
    /// An ELF file cut short or bent.
    #[error("an ELF file with a broken header ({0})")]
    Broken(String),
    /// Something else, recognised.
    #[error("no program but {0}: push the program's own file, as `ratify plugin push` does")]
    OtherFormat(&'static str),
    /// Something else.
    #[error("no program: it starts with {0}")]
    Unknown(String),
    /// The file could not be read.
    #[error("reading it failed: {0}")]
    Read(String),
}

/// Tells what a file on disk is; see [`program`].
///
/// # Errors
/// When the file cannot be opened, or is nothing this node can run.
pub fn program_at(path: &Path, node: &Node<'_>) -> Result<Program, Distrust> {
    let file = File::open(path).map_err(|error| Distrust::Read(error.to_string()))?;
    program_in(&file, node)
}

/// Tells what an open file is; see [`program`].
///
/// # Errors
/// When the file is nothing this node can run.
pub fn program_in(file: &File, node: &Node<'_>) -> Result<Program, Distrust> {
    program(&ReadCache::new(file), node)
}

/// Tells what some bytes are, and whether this node can run them.
///
/// # Errors
/// When they are no program, or one for another node.
pub fn program<'data>(data: impl ReadRef<'data>, node: &Node<'_>) -> Result<Program, Distrust> {
    let head = head(data)?;
    if head.starts_with(&elf::ELFMAG) {
        return elf_program(data, head, node);
    }
    match head.strip_prefix(b"#!") {
        Some(line) => script(line, node),
        None => Err(other(data, head)),
    }
}

/// The architecture of an ELF program by Go's name; `None` for anything else. For a push, which
/// has no node.
///
/// # Errors
/// When the header is broken.
pub fn architecture<'data>(data: impl ReadRef<'data>) -> Result<Option<&'static str>, Distrust> {
    let head = head(data)?;
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let header = header(data)?;
    let machine = header.e_machine(endian(header)?);
    Ok(MACHINES.iter().find(|known| known.machine == machine).map(|known| known.go))
}

/// This process's own platform, by Go's names.
pub fn this_platform() -> Platform {
    let known = MACHINES.iter().find(|known| known.rust == std::env::consts::ARCH);
    Platform {
        architecture: known.map_or(std::env::consts::ARCH, |known| known.go).to_owned(),
        os: "linux".to_owned(),
        os_version: None,
        os_features: Vec::new(),
        variant: None,
    }
}

/// One processor under its names: ELF's, Go's, Rust's, and the one people use.
struct Machine {
    machine: u16,
    go: &'static str,
    rust: &'static str,
    people: &'static str,
}

const fn machine(
    machine: u16,
    go: &'static str,
    rust: &'static str,
    people: &'static str,
) -> Machine {
    Machine { machine, go, rust, people }
}

const MACHINES: [Machine; 6] = [
    machine(elf::EM_X86_64, "amd64", "x86_64", "x86-64"),
    machine(elf::EM_AARCH64, "arm64", "aarch64", "arm64"),
    machine(elf::EM_386, "386", "x86", "x86 (32 bits)"),
    machine(elf::EM_ARM, "arm", "arm", "arm (32 bits)"),
    machine(elf::EM_RISCV, "riscv64", "riscv64", "riscv64"),
    machine(elf::EM_S390, "s390x", "s390x", "s390x"),
];

fn people(architecture: &str) -> &str {
    MACHINES.iter().find(|known| known.go == architecture).map_or(architecture, |m| m.people)
}

/// The first bytes, as many as there are up to [`MAX_SCRIPT_LINE`].
fn head<'data>(data: impl ReadRef<'data>) -> Result<&'data [u8], Distrust> {
    let unreadable = |()| Distrust::Read("the file cannot be read".to_owned());
    let length = data.len().map_err(unreadable)?.min(MAX_SCRIPT_LINE as u64);
    data.read_bytes_at(0, length).map_err(unreadable)
}

type Header = elf::FileHeader64<Endianness>;

fn header<'data>(data: impl ReadRef<'data>) -> Result<&'data Header, Distrust> {
    Header::parse(data).map_err(|error| broken(&error))
}

/// A 32-bit file has another layout; its machine is at the same place.
fn check_class(head: &[u8], node: &Node<'_>) -> Result<(), Distrust> {
    if head.get(4) != Some(&elf::ELFCLASS32) {
        return Ok(());
    }
    let machine = head.get(18..20).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let node = people(node.architecture).to_owned();
    Err(Distrust::Architecture { built_for: machine_name(machine), node })
}

fn endian(header: &Header) -> Result<Endianness, Distrust> {
    header.endian().map_err(|error| broken(&error))
}

fn elf_program<'data>(
    data: impl ReadRef<'data>,
    head: &[u8],
    node: &Node<'_>,
) -> Result<Program, Distrust> {
    check_class(head, node)?;
    let header = header(data)?;
    let endian = endian(header)?;
    check_machine(header, endian, node)?;
    check_kind(header, endian)?;
    let segments = header.program_headers(endian, data).map_err(|error| broken(&error))?;
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data).map_err(|error| broken(&error))? {
            let loader = capped_line(&String::from_utf8_lossy(path), 200);
            if (node.exists)(Path::new(&loader)) {
                return Ok(Program::Dynamic { loader });
            }
            return Err(Distrust::Loader(loader));
        }
    }
    Ok(Program::Static)
}

fn check_machine(header: &Header, endian: Endianness, node: &Node<'_>) -> Result<(), Distrust> {
    let machine = header.e_machine(endian);
    let known = MACHINES.iter().find(|known| known.machine == machine);
    let right = known.is_some_and(|known| known.go == node.architecture);
    let big_endian = header.is_big_endian() && node.architecture != "s390x";
    if !right || big_endian {
        let mut built_for = machine_name(machine);
        if big_endian {
            built_for.push_str(" (big endian)");
        }
        let node = people(node.architecture).to_owned();
        return Err(Distrust::Architecture { built_for, node });
    }
    let abi = header.e_ident().os_abi;
    if !NATIVE_ABIS.contains(&abi) {
        return Err(Distrust::System(match abi {
            elf::ELFOSABI_FREEBSD => "FreeBSD",
            elf::ELFOSABI_NETBSD => "NetBSD",
            elf::ELFOSABI_OPENBSD => "OpenBSD",
            elf::ELFOSABI_SOLARIS => "Solaris",
            _ => "another operating system",
        }));
    }
    Ok(())
}

fn check_kind(header: &Header, endian: Endianness) -> Result<(), Distrust> {
    let kind = header.e_type(endian);
    let starts_somewhere = header.e_entry(endian) != 0;
    match kind {
        elf::ET_EXEC | elf::ET_DYN if starts_somewhere => Ok(()),
        elf::ET_DYN => Err(Distrust::NotExecutable("a shared library")),
        elf::ET_REL => Err(Distrust::NotExecutable("an object file")),
        elf::ET_CORE => Err(Distrust::NotExecutable("a core dump")),
        _ => Err(Distrust::NotExecutable("an ELF file without an entry point")),
    }
}

fn machine_name(machine: u16) -> String {
    let known = MACHINES.iter().find(|known| known.machine == machine);
    known.map_or_else(|| format!("ELF machine {machine}"), |known| known.people.to_owned())
}

fn script(line: &[u8], node: &Node<'_>) -> Result<Program, Distrust> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let interpreter = capped_line(text.split_whitespace().next().unwrap_or("nothing"), 200);
    if !node.allow_scripts {
        return Err(Distrust::ScriptRefused(interpreter));
    }
    if !(node.exists)(Path::new(&interpreter)) {
        return Err(Distrust::Interpreter(interpreter));
    }
    Ok(Program::Script { interpreter })
}

/// The formats that get pushed by mistake, by the bytes they start with.
const OTHER_FORMATS: [(&[u8], &str); 12] = [
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS program"),
    (b"\0asm", "a WebAssembly module"),
    (b"{", "a JSON document"),
    (b"<", "an HTML or XML document"),
    (b"!<arch>", "an archive of object files"),
];

fn other<'data>(data: impl ReadRef<'data>, head: &[u8]) -> Distrust {
    if head.is_empty() {
        return Distrust::OtherFormat("an empty file");
    }
    if data.read_bytes_at(TAR_MAGIC_AT, 5) == Ok(b"ustar") {
        return Distrust::OtherFormat("a tar archive");
    }
    let text = head.trim_ascii_start();
    let known = OTHER_FORMATS.iter().find(|(magic, _)| text.starts_with(magic));
    match known {
        Some((_, name)) => Distrust::OtherFormat(name),
        None => Distrust::Unknown(hex::encode(&head[..head.len().min(8)])),
    }
}

fn broken(error: &impl fmt::Display) -> Distrust {
    Distrust::Broken(error.to_string())
}

#[cfg(test)]
mod tests;
