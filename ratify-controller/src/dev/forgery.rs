//! Documents and bytes that are not what they should be, made from good ones: pure functions.
//!
//! The lies of [`Lie`](super::Lie) are made with these on the way out. A test that wants a bad
//! document under its *true* digest (ambiguous, deep, huge) makes it here and puts it into the
//! registry as it is.

use ratify_core::{Algorithm, Descriptor, media_type};
use serde_json::{Map, Value, json};

use super::storage::digest_of;

/// Bytes of the same length and another digest. A JSON object keeps its meaning: its members
/// change places, so that nothing but the hash can tell. `None` for no bytes at all.
pub fn same_length(bytes: &[u8]) -> Option<Vec<u8>> {
    if let Some(turned) = turned_round(bytes) {
        return Some(turned);
    }
    let mut other = bytes.to_vec();
    *other.last_mut()? ^= 1;
    Some(other)
}

/// The same bytes and a line break: other length, other digest, the same JSON.
pub fn other_length(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"\n"].concat()
}

/// Another document of the same kind: one more annotation. Other bytes where it is no JSON object.
pub fn other_document(bytes: &[u8]) -> Vec<u8> {
    let annotated = edited(bytes, |document| {
        let annotations = document.entry("annotations").or_insert_with(|| json!({}));
        annotations.as_object_mut()?.insert("com.example.other".into(), "yes".into());
        Some(())
    });
    annotated.unwrap_or_else(|| [bytes, b"!"].concat())
}

/// Every descriptor in the document claims one byte more than there is.
pub fn wrong_sizes(document: &[u8]) -> Option<Vec<u8>> {
    edited(document, |document| {
        let keys = ["config", "subject", "layers", "blobs", "manifests"];
        let mut changed = false;
        for key in keys {
            let descriptors = match document.get_mut(key) {
                None => continue,
                Some(Value::Array(list)) => list.as_mut_slice(),
                Some(single) => std::slice::from_mut(single),
            };
            for descriptor in descriptors {
                if let Some(size) = descriptor["size"].as_u64() {
                    descriptor["size"] = json!(size + 1);
                    changed = true;
                }
            }
        }
        changed.then_some(())
    })
}

/// An image manifest that is also an index, or an index that is also a manifest
/// (CVE-2021-41190).
pub fn also_an_index(document: &[u8]) -> Option<Vec<u8>> {
    edited(document, |document| {
        let empty = Descriptor::new(media_type::OCI_EMPTY, digest_of(Algorithm::Sha256, b"{}"), 2);
        if document.contains_key("manifests") {
            document.insert("config".into(), json!(empty));
            document.insert("layers".into(), json!([empty]));
        } else {
            document.insert("manifests".into(), json!([]));
        }
        Some(())
    })
}

/// The first member of the object is given twice, with the same value: whichever of the two a
/// reader takes, it sees what it would have seen.
pub fn duplicate_keys(document: &[u8]) -> Option<Vec<u8>> {
    let object = as_object(document)?;
    let (key, value) = object.iter().next()?;
    let rest = document.trim_ascii_start().strip_prefix(b"{")?;
    Some([format!("{{{}:{value},", json!(key)).as_bytes(), rest].concat())
}

/// The document with `levels` of nested arrays in a member nobody reads.
pub fn deep(document: &[u8], levels: usize) -> Option<Vec<u8>> {
    with_member(document, "deep", &format!("{}{}", "[".repeat(levels), "]".repeat(levels)))
}

/// The document with at least `bytes` bytes in a member nobody reads.
pub fn huge(document: &[u8], bytes: usize) -> Option<Vec<u8>> {
    with_member(document, "huge", &format!("\"{}\"", "x".repeat(bytes)))
}

/// An index whose first entry's platform is in it twice, for two digests.
pub fn two_entries_one_platform(index: &[u8]) -> Option<Vec<u8>> {
    edited(index, |document| {
        let entries = document.get_mut("manifests")?.as_array_mut()?;
        let mut second = entries.first()?.clone();
        second["digest"] = json!(digest_of(Algorithm::Sha256, b"another child"));
        entries.push(second);
        Some(())
    })
}

/// An index that says another media type of each child than the child has.
pub fn children_of_other_type(index: &[u8]) -> Option<Vec<u8>> {
    edited(index, |document| {
        let entries = document.get_mut("manifests")?.as_array_mut()?;
        for entry in entries.iter_mut() {
            let own = entry["mediaType"].as_str().unwrap_or_default();
            entry["mediaType"] = json!(other_type(own));
        }
        (!entries.is_empty()).then_some(())
    })
}

/// An index whose only entry, for linux/amd64, is `child`.
pub fn index_of(child: &Descriptor) -> Vec<u8> {
    let mut entry = json!(child);
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]})
        .to_string()
        .into_bytes()
}

/// A list whose entries all claim this artifact type.
pub fn listed_as(index: &[u8], artifact_type: &str) -> Option<Vec<u8>> {
    edited(index, |document| {
        let entries = document.get_mut("manifests")?.as_array_mut()?;
        for entry in entries.iter_mut() {
            entry["artifactType"] = json!(artifact_type);
        }
        (!entries.is_empty()).then_some(())
    })
}

/// A list with `count` more entries, whose manifests do not exist.
pub fn many_entries(index: &[u8], count: usize) -> Option<Vec<u8>> {
    edited(index, |document| {
        let entries = document.get_mut("manifests")?.as_array_mut()?;
        let type_of_first = entries.first().and_then(|entry| entry["artifactType"].as_str());
        let artifact_type = type_of_first.unwrap_or("application/vnd.example.many").to_owned();
        entries.extend((0..count).map(|number| {
            let digest = digest_of(Algorithm::Sha256, &number.to_le_bytes());
            json!(
                Descriptor::new(media_type::OCI_MANIFEST, digest, 500)
                    .with_artifact_type(&artifact_type)
            )
        }));
        Some(())
    })
}

/// The document with another `mediaType` of its own.
pub fn with_media_type(document: &[u8], media_type: &str) -> Option<Vec<u8>> {
    edited(document, |document| {
        document.insert("mediaType".into(), media_type.into());
        Some(())
    })
}

/// A media type of the same kind that is another: Docker's for OCI's and the other way round.
pub fn other_type(own: &str) -> &'static str {
    match own {
        media_type::OCI_MANIFEST => media_type::DOCKER_MANIFEST,
        media_type::OCI_INDEX => media_type::DOCKER_LIST,
        media_type::DOCKER_LIST => media_type::OCI_INDEX,
        _ => media_type::OCI_MANIFEST,
    }
}

/// The bytes in gzip's frame, not compressed (RFC 1952, with the stored blocks of RFC 1951).
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut framed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        framed.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        framed.push(u8::from(blocks.peek().is_none()));
        framed.extend(length.to_le_bytes());
        framed.extend((!length).to_le_bytes());
        framed.extend(block);
    }
    framed.extend(crc32(bytes).to_le_bytes());
    framed.extend((bytes.len() as u32).to_le_bytes());
    framed
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The members in another order, padded with blanks to the old length.
fn turned_round(bytes: &[u8]) -> Option<Vec<u8>> {
    let object = as_object(bytes)?;
    let mut members: Vec<_> =
        object.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
    for _ in 0..2 {
        members.reverse();
        let mut turned = format!("{{{}}}", members.join(",")).into_bytes();
        if turned.len() <= bytes.len() {
            turned.resize(bytes.len(), b' ');
            if turned != bytes {
                return Some(turned);
            }
        }
    }
    None
}

fn with_member(document: &[u8], key: &str, value: &str) -> Option<Vec<u8>> {
    let object = as_object(document)?;
    let body = document.trim_ascii_end().strip_suffix(b"}")?;
    let comma = if object.is_empty() { "" } else { "," };
    Some([body, format!("{comma}\"{key}\":{value}}}").as_bytes()].concat())
}

fn edited(
    document: &[u8],
    edit: impl FnOnce(&mut Map<String, Value>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut object = as_object(document)?;
    edit(&mut object)?;
    Some(Value::Object(object).to_string().into_bytes())
}

fn as_object(document: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = br#"{"mediaType":"m","config":{"size":2},"layers":[{"size":5}]}"#;
    const INDEX: &[u8] = br#"{"manifests":[{"digest":"d","mediaType":"m","size":7}]}"#;

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn other_bytes_of_one_length_mean_the_same_when_they_are_json() {
        let other = same_length(MANIFEST).unwrap();
        assert_ne!(other, MANIFEST);
        assert_eq!((other.len(), parsed(&other)), (MANIFEST.len(), parsed(MANIFEST)));
        for text in [&br#"{"a":1,"b":2}"#[..], br#"{"b":2,"a":1}"#, br#"{ "a": 1 }"#] {
            let other = same_length(text).unwrap();
            assert_ne!(other, text);
            assert_eq!((other.len(), parsed(&other)), (text.len(), parsed(text)));
        }
        assert_eq!(same_length(b"abc").unwrap(), b"abb");
        assert_eq!(same_length(b"{}").unwrap(), b"{|");
        assert_eq!(same_length(b""), None);
    }

    #[test]
    fn forged_sizes_and_types_differ_from_the_honest_ones() {
        assert_eq!(
            parsed(&wrong_sizes(MANIFEST).unwrap()),
            json!({"mediaType": "m", "config": {"size": 3}, "layers": [{"size": 6}]})
        );
        assert_eq!(wrong_sizes(b"{}"), None);
        let types = children_of_other_type(INDEX).unwrap();
        assert_eq!(parsed(&types)["manifests"][0]["mediaType"], media_type::OCI_MANIFEST);
        let listed = listed_as(INDEX, "a/b").unwrap();
        assert_eq!(parsed(&listed)["manifests"][0]["artifactType"], "a/b");
        assert_eq!(listed_as(MANIFEST, "a/b"), None);
        let many = many_entries(INDEX, 3).unwrap();
        assert_eq!(parsed(&many)["manifests"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn ambiguous_documents_are_ambiguous() {
        let both = parsed(&also_an_index(MANIFEST).unwrap());
        assert!(both["manifests"].is_array() && both["layers"].is_array());
        let both = parsed(&also_an_index(INDEX).unwrap());
        assert!(both["manifests"].is_array() && both["layers"].is_array());
        let twice = String::from_utf8(duplicate_keys(MANIFEST).unwrap()).unwrap();
        insta::assert_snapshot!(twice, @r#"{"config":{"size":2},"mediaType":"m","config":{"size":2},"layers":[{"size":5}]}"#);
        let two = parsed(&two_entries_one_platform(INDEX).unwrap());
        assert_ne!(two["manifests"][0]["digest"], two["manifests"][1]["digest"]);
    }

    #[test]
    fn large_members_go_in_front_of_the_closing_brace() {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        assert_eq!(text(deep(b"{\"a\":1}\n", 2)), r#"{"a":1,"deep":[[]]}"#);
        assert_eq!(text(huge(b"{}", 3)), r#"{"huge":"xxx"}"#);
        assert_eq!(huge(b"not json", 3), None);
    }

    #[test]
    fn gzip_frames_have_the_checksum_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let framed = gzip(&vec![7; 70_000]);
        assert_eq!(framed.len(), 10 + 5 + 65_535 + 5 + 4_465 + 8);
    }
}
