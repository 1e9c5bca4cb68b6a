//! An input on disk becomes the encoded list that travels, item by item: never more than one of them is in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::input;
use jobs::items::{ITEM_BYTES_MAX, ITEMS_MAX};
use jobs::manifest::{INPUT_BYTES_MAX, Split};
use jobs::npy::Layout;
use jobs::package::InputRef;
use jobs::scan::Scan;

use crate::exit::{Coded, Exit, fail};
use crate::read;

/// Bytes read and written at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Writes the encoded list of an input's items to `to`; what a package says about it.
pub(crate) fn pack(split: Split, from: &Path, to: &Path) -> Result<InputRef> {
    let mut packer = Packer::new(to)?;
    let named = || from.display().to_string();
    match split {
        Split::Lines => lines(from, &mut packer).with_context(named)?,
        Split::NpyRows => rows(from, &mut packer).with_context(named)?,
        Split::Files => files(from, &mut packer)?,
    }
    packer.finish()?;
    scan(to)
}

/// What a package says about the encoded list in a file.
pub(crate) fn scan(path: &Path) -> Result<InputRef> {
    let mut file = read::open(path, "an input", INPUT_BYTES_MAX)?;
    // Where its shards lie does not matter here.
    let (mut scan, mut piece) = (Scan::new(u32::MAX), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece);
        match read.with_context(|| path.display().to_string())? {
            0 => return Ok(scan.finish()?.0),
            read => scan.push(piece.get(..read).unwrap_or_default())?,
        }
    }
}

/// A list that is being written.
struct Packer {
    path: PathBuf,
    file: BufWriter<File>,
    items: u32,
    bytes: u64,
}

impl Packer {
    fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut file = BufWriter::with_capacity(PIECE_BYTES, file);
        // The number of items comes first, and is known last.
        file.write_all(&[0; 4])?;
        Ok(Self {
            path: path.to_owned(),
            file,
            items: 0,
            bytes: 4,
        })
    }

    fn add(&mut self, item: &[u8]) -> Result<()> {
        let (length, number) = (item.len() as u64, self.items);
        if length > u64::from(ITEM_BYTES_MAX) {
            let problem = format!(
                "item {number} has {length} bytes or more, the most that one may have is {ITEM_BYTES_MAX}"
            );
            return fail(Exit::Usage, problem);
        }
        if number >= ITEMS_MAX {
            let problem = format!("input.items = {number} or more: must be at most {ITEMS_MAX}");
            return fail(Exit::Usage, problem);
        }
        self.bytes = self.bytes.saturating_add(length).saturating_add(4);
        if self.bytes > INPUT_BYTES_MAX {
            let problem = format!(
                "the input's first {number} items and their lengths fill the {INPUT_BYTES_MAX} bytes that an input \
                 may have: cut it into several jobs"
            );
            return fail(Exit::Usage, problem);
        }
        self.items = number.saturating_add(1);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let written = self.file.write_all(&length.to_le_bytes());
        let written = written.and_then(|()| self.file.write_all(item));
        written.with_context(|| self.path.display().to_string())
    }

    fn finish(mut self) -> Result<()> {
        let mut end = || -> std::io::Result<()> {
            self.file.rewind()?;
            self.file.write_all(&self.items.to_le_bytes())?;
            self.file.flush()
        };
        end().with_context(|| self.path.display().to_string())
    }
}

fn lines(path: &Path, packer: &mut Packer) -> Result<()> {
    let file = read::open(path, "an input", INPUT_BYTES_MAX)?;
    let mut file = BufReader::with_capacity(PIECE_BYTES, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        // An end of line, and one byte more than an item may have, to notice one that has.
        let most = u64::from(ITEM_BYTES_MAX).saturating_add(3);
        let read = Read::by_ref(&mut file)
            .take(most)
            .read_until(b'\n', &mut line);
        if read.code(Exit::Usage)? == 0 {
            return Ok(());
        }
        packer.add(input::line(&line))?;
    }
}

fn rows(path: &Path, packer: &mut Packer) -> Result<()> {
    let mut file = read::open(path, "an input", INPUT_BYTES_MAX)?;
    let size = file.metadata().code(Exit::Usage)?.len();
    let mut head = Vec::new();
    let most = Layout::HEAD_BYTES_MAX;
    Read::by_ref(&mut file)
        .take(most)
        .read_to_end(&mut head)
        .code(Exit::Usage)?;
    let layout = Layout::read(&head, size)?;
    file.seek(std::io::SeekFrom::Start(layout.data))
        .code(Exit::Usage)?;
    let mut file = BufReader::with_capacity(PIECE_BYTES, file);
    let mut row = vec![0; layout.row as usize];
    for _ in 0..layout.rows {
        file.read_exact(&mut row).code(Exit::Usage)?;
        packer.add(&row)?;
    }
    Ok(())
}

/// Every file of a folder, in the order of their names. Links are followed; what is no file is refused rather than
/// left out.
fn files(folder: &Path, packer: &mut Packer) -> Result<()> {
    let named = || format!("cannot read the folder {}", folder.display());
    let entries = std::fs::read_dir(folder)
        .with_context(named)
        .code(Exit::Usage)?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(named).code(Exit::Usage)?;
        if found.len() >= ITEMS_MAX as usize {
            let problem = format!("{} has more than {ITEMS_MAX} files", folder.display());
            return fail(Exit::Usage, problem);
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push((name, entry.path()));
    }
    for path in input::in_order(found).with_context(|| folder.display().to_string())? {
        let bytes = read::bounded(&path, "a file of an input folder", ITEM_BYTES_MAX.into())?;
        packer.add(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn packed(split: Split, from: &Path) -> Result<Vec<Vec<u8>>> {
        let to = tempfile::NamedTempFile::new().unwrap();
        let input = pack(split, from, to.path())?;
        let bytes = std::fs::read(to.path()).unwrap();
        let items = jobs::items::decode(&bytes).unwrap();
        assert_eq!(InputRef::of(&items).unwrap().0, input);
        Ok(items.into_iter().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn what_is_packed_piece_by_piece_is_what_it_is_cut_into_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        let long = "y".repeat(PIECE_BYTES + 5);
        for text in [
            "",
            "\n",
            "one",
            "one\n",
            "one\r\ntwo\n",
            "one\n\ntwo",
            "one\n\n",
            "a\rb\n",
            "a\r",
            &long,
        ] {
            std::fs::write(&path, text).unwrap();
            let whole = input::split_lines(text.as_bytes()).unwrap();
            assert_eq!(packed(Split::Lines, &path).unwrap(), whole, "{text:?}");
        }
        let rows = [[1_u8; 8], [2; 8], [3; 8]];
        let array = jobs::npy::write(jobs::package::Dtype::F32, &[2], &rows).unwrap();
        std::fs::write(&path, &array).unwrap();
        assert_eq!(packed(Split::NpyRows, &path).unwrap(), rows);
        for cut in [array.len() - 1, 40, 5, 0] {
            std::fs::write(&path, &array[..cut]).unwrap();
            let piece = format!("{:#}", packed(Split::NpyRows, &path).unwrap_err());
            let whole = jobs::npy::split_rows(&array[..cut])
                .unwrap_err()
                .to_string();
            assert!(piece.ends_with(&whole), "{piece}: {whole}");
        }
    }

    #[test]
    fn a_folder_gives_every_file_links_included_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("input");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("plain"), "1").unwrap();
        std::fs::write(dir.path().join("elsewhere"), "2").unwrap();
        symlink("../elsewhere", folder.join("link")).unwrap();
        assert_eq!(packed(Split::Files, &folder).unwrap(), [b"2", b"1"]);

        let refused = |name: &str| {
            let error = format!("{:#}", packed(Split::Files, &folder).unwrap_err());
            assert!(error.contains(name), "{error}");
        };
        symlink("nowhere", folder.join("dangling")).unwrap();
        refused("dangling");
        std::fs::remove_file(folder.join("dangling")).unwrap();
        std::fs::create_dir(folder.join("below")).unwrap();
        refused("below is not a regular file");
    }

    #[test]
    fn too_many_or_too_large_items_are_refused_by_their_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        std::fs::write(&path, vec![b'\n'; ITEMS_MAX as usize + 1]).unwrap();
        let error = format!("{:#}", packed(Split::Lines, &path).unwrap_err());
        assert!(error.contains("must be at most 1048576"), "{error}");
        let file = File::create(&path).unwrap();
        file.set_len(u64::from(ITEM_BYTES_MAX) + 10).unwrap();
        let error = format!("{:#}", packed(Split::Lines, &path).unwrap_err());
        assert!(error.contains("item 0 has"), "{error}");
    }
}
