//! Leaves custom sections out of a component: names of functions, names and versions of tools.
//! They say where and with what a guest was built, and nothing that runs depends on them.

use anyhow::{Context as _, Result, ensure};

/// Bytes of the header of a module or a component: magic, version and layer.
const HEADER_BYTES: usize = 8;

/// The layer of a component, in the last two bytes of its header; a module has 0.
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// Sections of the binary format, by their first byte.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// How deep components and modules may nest. The encoder makes two levels.
const DEPTH_MAX: usize = 8;

/// The same component without custom sections, at any depth.
pub(super) fn custom_sections(binary: &[u8]) -> Result<Vec<u8>> {
    without(binary, DEPTH_MAX)
}

fn without(binary: &[u8], depth: usize) -> Result<Vec<u8>> {
    ensure!(
        depth > 0,
        "a component nests deeper than {DEPTH_MAX} levels"
    );
    let (header, mut rest) = binary
        .split_at_checked(HEADER_BYTES)
        .context("a binary ends within its header")?;
    let in_component = header.ends_with(&COMPONENT_LAYER);
    let mut stripped = Vec::with_capacity(binary.len());
    stripped.extend_from_slice(header);
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = read_size(after).context("a section has no size")?;
        let (body, after) = after
            .split_at_checked(size)
            .context("a section is cut short")?;
        rest = after;
        match id {
            CUSTOM => {}
            // A module has sections with these numbers too, of types and tables.
            CORE_MODULE | COMPONENT if in_component => {
                push_section(&mut stripped, id, &without(body, depth.saturating_sub(1))?);
            }
            _ => push_section(&mut stripped, id, body),
        }
    }
    Ok(stripped)
}

fn push_section(binary: &mut Vec<u8>, id: u8, body: &[u8]) {
    binary.push(id);
    let mut size = body.len();
    loop {
        let low = (size & 0x7f) as u8;
        size >>= 7;
        if size == 0 {
            binary.push(low);
            break;
        }
        binary.push(low | 0x80);
    }
    binary.extend_from_slice(body);
}

/// An unsigned LEB128 of at most 32 bits, and what follows it.
fn read_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut size = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let (_, rest) = bytes.split_at_checked(index.checked_add(1)?)?;
            return Some((usize::try_from(u32::try_from(size).ok()?).ok()?, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{custom_sections, push_section, read_size};

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn binary(header: &[u8], sections: &[(u8, &[u8])]) -> Vec<u8> {
        let mut binary = header.to_vec();
        for (id, body) in sections {
            push_section(&mut binary, *id, body);
        }
        binary
    }

    #[test]
    fn custom_sections_go_at_every_level_and_the_rest_stays() {
        let long = [7; 300];
        // In a module, 1 is the section of types: it looks like no module and must not be read as one.
        let module = binary(MODULE, &[(1, &[0]), (0, b"\x04name1"), (10, &long)]);
        let bare = binary(MODULE, &[(1, &[0]), (10, &long)]);
        let inner = binary(COMPONENT, &[(0, b"\x01x"), (1, &module)]);
        let outer = binary(
            COMPONENT,
            &[(7, &[0]), (1, &module), (4, &inner), (0, b"\x09producers")],
        );
        let expected = binary(
            COMPONENT,
            &[
                (7, &[0]),
                (1, &bare),
                (4, &binary(COMPONENT, &[(1, &bare)])),
            ],
        );
        assert_eq!(custom_sections(&outer).unwrap(), expected);
        assert_eq!(custom_sections(&expected).unwrap(), expected);
    }

    #[test]
    fn a_broken_binary_is_an_error() {
        let deep = (0..9).fold(binary(COMPONENT, &[]), |inner, _| {
            binary(COMPONENT, &[(4, &inner)])
        });
        let broken: &[(&[u8], &str)] = &[
            (b"\0asm", "within its header"),
            (b"\0asm\x01\0\0\0\x01", "no size"),
            (b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\xff", "no size"),
            (b"\0asm\x01\0\0\0\x01\x05\0", "cut short"),
            (&deep, "nests deeper than 8"),
        ];
        for (binary, reason) in broken {
            let error = custom_sections(binary).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn sizes_come_back() {
        for size in [0_usize, 1, 127, 128, 300, 70_000] {
            let mut section = Vec::new();
            push_section(&mut section, 9, &vec![0; size]);
            assert_eq!(
                read_size(&section[1..]).map(|(read, rest)| (read, rest.len())),
                Some((size, size))
            );
        }
    }
}
