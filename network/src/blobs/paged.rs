//! A file that is written and read in small pieces here and there, without a system call for each.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes of a page.
const PAGE_BYTES: u64 = 256 * 1024;

/// Pages in memory. A tree is turned round from two places at once.
const PAGES: usize = 4;

/// A part of the file in memory.
#[derive(Debug)]
struct Page {
    number: u64,
    bytes: Vec<u8>,
    changed: bool,
}

/// A new file and a few of its pages.
#[derive(Debug)]
pub(super) struct Paged {
    file: File,
    /// The one used last comes last.
    pages: Vec<Page>,
    at: u64,
    length: u64,
}

impl Paged {
    /// Of an empty file.
    pub(super) const fn new(file: File) -> Self {
        Self {
            file,
            pages: Vec::new(),
            at: 0,
            length: 0,
        }
    }

    /// Writes what is still in memory; the file.
    pub(super) fn finish(mut self) -> io::Result<File> {
        for page in std::mem::take(&mut self.pages) {
            self.write_back(&page)?;
        }
        Ok(self.file)
    }

    fn write_back(&self, page: &Page) -> io::Result<()> {
        if !page.changed {
            return Ok(());
        }
        let begin = page.number.saturating_mul(PAGE_BYTES);
        let there = self.length.saturating_sub(begin).min(PAGE_BYTES);
        let there = page.bytes.get(..usize::try_from(there).unwrap_or(0));
        self.file.write_all_at(there.unwrap_or_default(), begin)
    }

    /// The page at the place, and where in it that is.
    fn page(&mut self) -> io::Result<(&mut Page, usize)> {
        let (number, within) = (
            self.at.div_euclid(PAGE_BYTES),
            self.at.rem_euclid(PAGE_BYTES),
        );
        let known = self.pages.iter().position(|page| page.number == number);
        let page = match known {
            Some(at) => self.pages.remove(at),
            None => {
                if self.pages.len() >= PAGES {
                    let oldest = self.pages.remove(0);
                    self.write_back(&oldest)?;
                }
                self.load(number)?
            }
        };
        self.pages.push(page);
        let within = usize::try_from(within).unwrap_or(0);
        let page = self.pages.last_mut();
        page.map(|page| (page, within))
            .ok_or_else(|| io::Error::other("no page"))
    }

    fn load(&self, number: u64) -> io::Result<Page> {
        let mut bytes = vec![0; usize::try_from(PAGE_BYTES).unwrap_or(0)];
        let (mut filled, begin) = (0_usize, number.saturating_mul(PAGE_BYTES));
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, begin.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page {
            number,
            bytes,
            changed: false,
        })
    }
}

impl Read for Paged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let (page, within) = self.page()?;
        let there = page.bytes.get(within..).unwrap_or_default();
        let read = wanted.min(there.len());
        for (to, from) in buffer.iter_mut().zip(there.iter().take(read)) {
            *to = *from;
        }
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (page, within) = self.page()?;
        let room = page.bytes.get_mut(within..).unwrap_or_default();
        let written = bytes.len().min(room.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        page.changed = true;
        self.at = self.at.saturating_add(written as u64);
        self.length = self.length.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Paged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "before the file's beginning");
        self.at = place.ok_or_else(before)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn it_reads_and_writes_as_memory_does() {
        let mut paged = Paged::new(tempfile::tempfile().unwrap());
        let mut memory = Cursor::new(Vec::new());
        let mut chance = 0x9e37_79b9_u64;
        let mut draw = |below: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance % below
        };
        // More than there are pages for.
        let begin = vec![1; usize::try_from(PAGE_BYTES).unwrap() * (PAGES + 3) + 5];
        paged.write_all(&begin).unwrap();
        memory.write_all(&begin).unwrap();
        for step in 0..4_000_u32 {
            // Anywhere in more pages than are in memory, but without a hole.
            let length = memory.get_ref().len() as u64;
            let at = SeekFrom::Start(draw(length + 1));
            assert_eq!(paged.seek(at).unwrap(), memory.seek(at).unwrap());
            let size = draw(20_000) as usize;
            if draw(2) == 0 {
                let bytes = vec![step as u8; size];
                paged.write_all(&bytes).unwrap();
                memory.write_all(&bytes).unwrap();
            } else {
                let mut both = [vec![0; size], vec![0; size]];
                let read = memory.read(&mut both[0]).unwrap();
                paged.read_exact(&mut both[1][..read]).unwrap();
                assert_eq!(both[0], both[1], "step {step}");
            }
        }
        let expected = memory.into_inner();
        assert!(expected.len() as u64 > PAGE_BYTES * PAGES as u64);
        let mut file = paged.finish().unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == expected);
    }
}
