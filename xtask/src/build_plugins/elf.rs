//! The few fields of an ELF file that say whether a program runs on any kernel of its
//! architecture: 64 bits, the right machine, and no interpreter; and whether it starts without
//! reading megabytes of relocations. Offsets are those of the ELF-64 object file format (System V
//! ABI, "ELF Header", "Program Header" and "Dynamic Section").

use anyhow::{Context, Result, bail};

use crate::workspace::Platform;

/// The program header type of what is done at the start.
const PT_DYNAMIC: u32 = 2;
/// The program header type of a dynamic loader's path.
const PT_INTERP: u32 = 3;
/// The tag by which what is done at the start counts relocations that are not packed.
const DT_RELACOUNT: u64 = 0x6fff_fff9;
/// The part of a program header that is read: type and flags.
const HEADER_START: usize = 4;

/// Accepts a static program for this platform, whose relocations are packed if it has any.
///
/// # Errors
/// When it is no 64-bit little-endian ELF, is for another machine, needs a loader, or is not packed.
pub(crate) fn check_static(bytes: &[u8], platform: Platform) -> Result<()> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) {
        bail!("it is no 64-bit little-endian ELF file");
    }
    let machine = u16_at(bytes, 18)?;
    if machine != platform.elf_machine() {
        bail!("its ELF machine is {machine}, not {} ({platform})", platform.elf_machine());
    }
    let table = usize::try_from(u64_at(bytes, 32)?)?;
    let (size, count) = (usize::from(u16_at(bytes, 54)?), usize::from(u16_at(bytes, 56)?));
    for index in 0..count {
        let offset = table.checked_add(index * size).context("its program headers overflow")?;
        match u32_at(bytes, offset)? {
            PT_INTERP => bail!("it is linked dynamically (PT_INTERP); build it for a musl target"),
            PT_DYNAMIC => check_packed(bytes, offset)?,
            _ => (),
        }
    }
    Ok(())
}

/// What is done at the start lies where a program header says: pairs of a tag and a value.
fn check_packed(bytes: &[u8], header: usize) -> Result<()> {
    let [from, size] = [8, 32].map(|field| u64_at(bytes, header + field));
    let from = usize::try_from(from?)?;
    let whole = from.checked_add(usize::try_from(size?)?).and_then(|end| bytes.get(from..end));
    for pair in whole.context(SHORT)?.chunks_exact(16) {
        let (tag, value) = (u64_at(pair, 0)?, u64_at(pair, 8)?);
        if tag == DT_RELACOUNT && value > 0 {
            bail!(
                "{value} of its relocations are not packed (DT_RELACOUNT); build it with the flags \
                 of .cargo/config.toml, and a linker that knows -z pack-relative-relocs"
            );
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    Ok(u16::from_le_bytes(*field.context(SHORT)?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk::<HEADER_START>());
    Ok(u32::from_le_bytes(*field.context(SHORT)?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    Ok(u64::from_le_bytes(*field.context(SHORT)?))
}

const SHORT: &str = "its ELF header points past its end";

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one program header of this type behind it.
    fn program(machine: u16, header_type: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&header_type.to_le_bytes());
        bytes
    }

    #[test]
    fn a_static_program_of_its_platform_is_accepted() {
        check_static(&program(62, 1), Platform::Amd64).unwrap();
        check_static(&program(183, 1), Platform::Arm64).unwrap();
    }

    #[test]
    fn a_program_that_names_a_loader_is_refused() {
        let error = check_static(&program(62, PT_INTERP), Platform::Amd64).unwrap_err();
        assert!(error.to_string().contains("PT_INTERP"), "{error}");
    }

    #[test]
    fn a_program_that_would_read_all_its_relocations_is_refused() {
        let with = |count: u64| {
            let mut bytes = program(62, PT_DYNAMIC);
            let end = bytes.len() as u64;
            bytes[72..80].copy_from_slice(&end.to_le_bytes());
            bytes[96..104].copy_from_slice(&32_u64.to_le_bytes());
            for word in [0x24, 1 << 12, DT_RELACOUNT, count] {
                bytes.extend(word.to_le_bytes());
            }
            bytes
        };
        check_static(&with(0), Platform::Amd64).unwrap();
        let error = check_static(&with(9), Platform::Amd64).unwrap_err().to_string();
        assert!(error.starts_with("9 of its relocations are not packed"), "{error}");
        let mut outside = with(0);
        outside[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(check_static(&outside, Platform::Amd64).is_err());
    }

    #[test]
    fn a_program_for_another_machine_is_refused() {
        let error = check_static(&program(183, 1), Platform::Amd64).unwrap_err();
        assert_eq!(error.to_string(), "its ELF machine is 183, not 62 (linux/amd64)");
    }

    #[test]
    fn a_script_and_a_file_cut_short_are_refused() {
        assert!(check_static(b"#!/bin/sh\n", Platform::Amd64).is_err());
        let whole = program(62, 1);
        for length in 0..whole.len() - 52 {
            assert!(check_static(&whole[..length], Platform::Amd64).is_err(), "{length}");
        }
    }
}
