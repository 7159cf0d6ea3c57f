//! What a tar archive holds, and where: read once from its headers, which must be unambiguous.
//!
//! Two readers of one archive must see the same files. So a name that leads out, a link, a name
//! that comes twice, a header that is not its checksum, and an end that is none are refused, each
//! for the whole archive.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
};

const BLOCK: u64 = 512;
/// More entries than this are not looked at.
const MAX_ENTRIES: usize = 100_000;
/// A long name, or the records of one entry.
const MAX_RECORDS: u64 = 64 << 10;

/// Where the files of an archive begin, and how long they are.
pub(super) type Table = HashMap<String, (u64, u64)>;

/// What the headers in front of an entry say of it.
#[derive(Default)]
struct Told {
    name: Option<String>,
    size: Option<u64>,
}

/// Why an archive is not taken.
pub(super) enum ArchiveError {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => bad("the archive is truncated"),
            _ => Self::Io(error),
        }
    }
}

fn bad(why: impl Into<String>) -> ArchiveError {
    ArchiveError::Bad(why.into())
}

/// Reads the headers of an archive of so many bytes.
pub(super) fn table(file: &File, length: u64) -> Result<Table, ArchiveError> {
    let mut found = Table::new();
    let mut names = HashSet::new();
    let mut told = Told::default();
    let mut place = 0;
    for _ in 0..MAX_ENTRIES {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, place)?;
        if header == [0; BLOCK as usize] {
            return end(file, place + BLOCK, found);
        }
        check_sum(&header, place)?;
        let (kind, own_size) = (header[156], number(&header[124..136])?);
        let is_record = matches!(kind, b'x' | b'g' | b'L');
        let size = if is_record { own_size } else { told.size.unwrap_or(own_size) };
        let begin = place + BLOCK;
        let ends = begin.checked_add(size).filter(|ends| *ends <= length);
        let ends = ends.ok_or_else(|| bad("the archive is truncated"))?;
        if is_record {
            tell(&mut told, kind, &records(file, begin, size)?)?;
        } else {
            let name = match told.name.take() {
                Some(name) => name,
                None => own_name(&header)?,
            };
            told = Told::default();
            match (kind, plain(&name)?) {
                (b'5', _) => {}
                (0 | b'0', name) if !name.is_empty() => {
                    if !names.insert(name.clone()) {
                        return Err(bad(format!("the archive holds {} twice", shown(&name))));
                    }
                    found.insert(name, (begin, size));
                }
                _ => return Err(bad(format!("{} is no file and no directory", shown(&name)))),
            }
        }
        place = ends.next_multiple_of(BLOCK);
    }
    Err(bad(format!("the archive has over {MAX_ENTRIES} entries")))
}

/// An archive ends with two blocks of zeros: where the second is something else, another reader
/// might go on.
fn end(file: &File, place: u64, found: Table) -> Result<Table, ArchiveError> {
    let mut second = [0; BLOCK as usize];
    file.read_exact_at(&mut second, place)?;
    if second != [0; BLOCK as usize] {
        return Err(bad("the archive goes on behind its end"));
    }
    Ok(found)
}

fn check_sum(header: &[u8; BLOCK as usize], place: u64) -> Result<(), ArchiveError> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte })
        .map(u64::from)
        .sum();
    match number(&header[148..156]) {
        Ok(told) if told == sum => Ok(()),
        _ if place == 0 => Err(bad("it is neither a directory nor a plain tar archive")),
        _ => Err(bad("a header of the archive is not its checksum")),
    }
}

/// Octal digits, or GNU's binary form for what they cannot hold.
fn number(field: &[u8]) -> Result<u64, ArchiveError> {
    let odd = || bad("a header of the archive holds no number where one belongs");
    if field[0] & 0x80 != 0 {
        let low = field.split_last_chunk::<8>().filter(|(high, _)| {
            high.split_first()
                .is_some_and(|(first, rest)| *first == 0x80 && rest.iter().all(|byte| *byte == 0))
        });
        return low.map(|(_, low)| u64::from_be_bytes(*low)).ok_or_else(odd);
    }
    let text = std::str::from_utf8(field).map_err(|_| odd())?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| odd())
}

fn own_name(header: &[u8; BLOCK as usize]) -> Result<String, ArchiveError> {
    let name = until_zero(&header[..100])?;
    // GNU's older form ("ustar  ") keeps times where the prefix would be.
    let prefix = match &header[257..263] {
        b"ustar\0" => until_zero(&header[345..500])?,
        _ => String::new(),
    };
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

fn until_zero(field: &[u8]) -> Result<String, ArchiveError> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = std::str::from_utf8(&field[..end]);
    text.map(str::to_owned).map_err(|_| bad("a name in the archive is no text"))
}

fn records(file: &File, begin: u64, size: u64) -> Result<Vec<u8>, ArchiveError> {
    let length = usize::try_from(size).ok().filter(|_| size <= MAX_RECORDS);
    let mut bytes = vec![0; length.ok_or_else(|| bad("a header of the archive is too long"))?];
    file.read_exact_at(&mut bytes, begin)?;
    Ok(bytes)
}

/// Takes in what a header says of the next entry (`x`, `L`) or of all that follow (`g`).
fn tell(told: &mut Told, kind: u8, bytes: &[u8]) -> Result<(), ArchiveError> {
    if kind == b'L' {
        told.name = Some(until_zero(bytes)?);
        return Ok(());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (record, after) = first_record(rest)
            .ok_or_else(|| bad("an extended header of the archive cannot be read"))?;
        match record {
            ("path" | "size", _) if kind == b'g' => {
                return Err(bad("the archive says something of all its files at once"));
            }
            ("path", value) => told.name = Some(value.to_owned()),
            ("size", value) => {
                let size = value.parse();
                told.size = Some(size.map_err(|_| bad("a size in the archive is no number"))?);
            }
            (key, _) if key.starts_with("GNU.sparse") => {
                return Err(bad("the archive holds a sparse file"));
            }
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

/// `LENGTH KEY=VALUE\n`, the length being that of the whole record.
fn first_record(bytes: &[u8]) -> Option<((&str, &str), &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?;
    let text = std::str::from_utf8(record.strip_suffix(b"\n")?).ok()?;
    Some((text.split_once('=')?, &bytes[length..]))
}

/// A name without the `./` that tar puts in front, and without a `/` at its end. It never leads
/// out, and is written in one way only.
fn plain(name: &str) -> Result<String, ArchiveError> {
    let bare = name.strip_prefix("./").unwrap_or(name);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    if bare.is_empty() || bare == "." {
        return Ok(String::new());
    }
    if bare.split('/').any(|part| matches!(part, "" | "." | "..")) || bare.contains('\0') {
        return Err(bad(format!("the name {} leads out of the archive", shown(name))));
    }
    Ok(bare.to_owned())
}

fn shown(name: &str) -> String {
    format!("{:?}", ratify_core::capped_line(name, 100))
}
