//! A frame: a fixed prefix, a header (postcard) and a body (raw bytes: an encoded item list).
//!
//! Lengths are checked before anything is allocated. Either side that sees a wrong prefix gives the
//! other up: a pipe cannot be resynchronised.

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::task::SHARD_BYTES_MAX;

/// Version of frames and words. Both sides are one program, so there is no negotiation.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest header in bytes: a log and a failure fit, items do not belong there.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = SHARD_BYTES_MAX;

const MAGIC: [u8; 4] = *b"ASYW";

/// Bytes of a prefix: magic, version, zero, header length, body length (little-endian).
pub const PREFIX_BYTES: usize = 16;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe failed or ended inside a frame.
    #[error("the pipe failed: {0}")]
    Io(#[from] io::Error),
    /// Not a frame.
    #[error("expected a frame, found {found:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// Another version of this protocol.
    #[error("protocol version {found}, this side speaks {PROTOCOL_VERSION}")]
    Version {
        /// Theirs.
        found: u16,
    },
    /// Too long.
    #[error("{what} of {size} bytes, the bound is {max}")]
    TooLarge {
        /// Header or body.
        what: &'static str,
        /// Its length.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The header is not a word of the protocol.
    #[error("malformed header: {0}")]
    Header(#[from] postcard::Error),
}

/// A frame in memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// A word of [`super::protocol`].
    pub header: Vec<u8>,
    /// Items or outputs.
    pub body: Vec<u8>,
}

impl Frame {
    /// A frame around a word.
    ///
    /// # Errors
    /// If the word cannot be encoded.
    pub fn new<W: serde::Serialize>(word: &W, body: Vec<u8>) -> Result<Self, FrameError> {
        let header = postcard::to_stdvec(word)?;
        Ok(Self { header, body })
    }

    /// The word in it.
    ///
    /// # Errors
    /// If the header is not exactly one word.
    pub fn word<W: serde::de::DeserializeOwned>(&self) -> Result<W, FrameError> {
        let (word, rest) = postcard::take_from_bytes(&self.header)?;
        if rest.is_empty() {
            return Ok(word);
        }
        Err(postcard::Error::DeserializeBadEncoding.into())
    }

    fn prefix(&self) -> Result<[u8; PREFIX_BYTES], FrameError> {
        let header = checked("header", self.header.len(), HEADER_BYTES_MAX)?;
        let body = checked("body", self.body.len(), BODY_BYTES_MAX)?;
        let mut prefix = [0; PREFIX_BYTES];
        let fields: [&[u8]; 5] = [
            &MAGIC,
            &PROTOCOL_VERSION.to_le_bytes(),
            &[0, 0],
            &header.to_le_bytes(),
            &body.to_le_bytes(),
        ];
        for (to, from) in prefix.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        Ok(prefix)
    }

    fn with_lengths(prefix: [u8; PREFIX_BYTES]) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, v0, v1, _, _, h0, h1, h2, h3, b0, b1, b2, b3] = prefix;
        let found = [m0, m1, m2, m3];
        if found != MAGIC {
            return Err(FrameError::Magic { found });
        }
        let found = u16::from_le_bytes([v0, v1]);
        if found != PROTOCOL_VERSION {
            return Err(FrameError::Version { found });
        }
        let header = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
        let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        checked("header", header, HEADER_BYTES_MAX)?;
        checked("body", body, BODY_BYTES_MAX)?;
        Ok(Self {
            header: vec![0; header],
            body: vec![0; body],
        })
    }

    /// Reads a frame; `None` at a clean end of the pipe.
    ///
    /// # Errors
    /// If the pipe fails or what comes is not a frame.
    pub fn read(pipe: &mut impl Read) -> Result<Option<Self>, FrameError> {
        let mut prefix = [0; PREFIX_BYTES];
        let (first, rest) = prefix.split_at_mut(1);
        loop {
            match pipe.read(first) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        pipe.read_exact(rest)?;
        let mut frame = Self::with_lengths(prefix)?;
        pipe.read_exact(&mut frame.header)?;
        pipe.read_exact(&mut frame.body)?;
        Ok(Some(frame))
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// If it is too large or the pipe fails.
    pub fn write(&self, pipe: &mut impl Write) -> Result<(), FrameError> {
        pipe.write_all(&self.prefix()?)?;
        pipe.write_all(&self.header)?;
        pipe.write_all(&self.body)?;
        Ok(pipe.flush()?)
    }

    /// [`Frame::read`] for the parent; the end of the pipe is an error there.
    ///
    /// # Errors
    /// If the pipe fails or what comes is not a frame.
    pub async fn receive(pipe: &mut (impl AsyncRead + Unpin)) -> Result<Self, FrameError> {
        let mut prefix = [0; PREFIX_BYTES];
        pipe.read_exact(&mut prefix).await?;
        let mut frame = Self::with_lengths(prefix)?;
        pipe.read_exact(&mut frame.header).await?;
        pipe.read_exact(&mut frame.body).await?;
        Ok(frame)
    }

    /// [`Frame::write`] for the parent.
    ///
    /// # Errors
    /// If it is too large or the pipe fails.
    pub async fn send(&self, pipe: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
        pipe.write_all(&self.prefix()?).await?;
        pipe.write_all(&self.header).await?;
        pipe.write_all(&self.body).await?;
        Ok(pipe.flush().await?)
    }
}

fn checked(what: &'static str, size: usize, max: usize) -> Result<u32, FrameError> {
    let small = u32::try_from(size).ok().filter(|_| size <= max);
    small.ok_or(FrameError::TooLarge { what, size, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_round_trip() {
        for body in [vec![], vec![1, 2, 3]] {
            let frame = Frame::new(&"word", body).unwrap();
            let read = Frame::read(&mut bytes(&frame).as_slice()).unwrap().unwrap();
            assert_eq!(read, frame);
            assert_eq!(read.word::<String>().unwrap(), "word");
        }
        assert!(Frame::read(&mut [].as_slice()).unwrap().is_none());
    }

    #[test]
    fn what_is_not_a_frame_is_named_and_nothing_is_allocated_for_it() {
        let good = bytes(&Frame::new(&"word", vec![7]).unwrap());
        let with = |at: usize, value: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + value.len()].copy_from_slice(value);
            bad
        };
        let huge = u32::MAX.to_le_bytes();
        for (bytes, expected) in [
            (with(0, b"X"), "expected a frame"),
            (with(4, &[9]), "protocol version 9, this side speaks 1"),
            (
                with(8, &huge),
                "header of 4294967295 bytes, the bound is 1048576",
            ),
            (
                with(12, &huge),
                "body of 4294967295 bytes, the bound is 268435456",
            ),
            (good[..7].to_vec(), "the pipe failed"),
            (good[..good.len() - 1].to_vec(), "the pipe failed"),
        ] {
            let error = Frame::read(&mut bytes.as_slice()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn an_oversized_frame_is_not_sent_and_trailing_bytes_are_not_a_word() {
        let large = Frame {
            header: vec![0; HEADER_BYTES_MAX + 1],
            body: Vec::new(),
        };
        let mut sent = Vec::new();
        assert!(matches!(
            large.write(&mut sent),
            Err(FrameError::TooLarge { what: "header", .. })
        ));
        assert!(sent.is_empty());

        let mut frame = Frame::new(&1_u8, Vec::new()).unwrap();
        frame.header.push(0);
        assert!(matches!(frame.word::<u8>(), Err(FrameError::Header(_))));
    }
}
