//! Frames: `length: u32 LE` of what follows, `version: u16 LE`, `kind: u8`, and a postcard body.
//!
//! The length is checked against the protocol's cap before anything is allocated, and memory then
//! grows only with bytes that arrived. A frame that cannot be read is not an I/O error: it becomes a
//! [`Fault`] that is answered, so that the sender learns what was wrong.

use std::io;
use std::marker::PhantomData;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use libp2p::StreamProtocol;
use libp2p::request_response;
use postcard::ser_flavors::Size;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Fault, VERSION, Wire};

/// Bytes of a frame's length field.
const LENGTH: usize = 4;

/// Bytes between length and body: version and kind.
const HEADER: usize = 3;

/// Largest encoded fault in bytes.
const FAULT_MAX: usize = 1024;

/// Bytes of a refused frame that are read and dropped, so that an honest sender gets to the point
/// of reading the fault. A longer frame is cut off instead.
const DISCARD_MAX: u64 = 4 * 1024 * 1024;

/// Bytes dropped at a time.
const DISCARD_STEP: usize = 16 * 1024;

/// Kind of a frame whose body is a message.
const KIND_MESSAGE: u8 = 0;

/// Kind of a frame whose body is a [`Fault`]; its layout is the same in every version.
const KIND_FAULT: u8 = 1;

/// Reads and writes the frames of one protocol.
#[derive(Debug)]
pub(crate) struct Codec<P>(PhantomData<fn() -> P>);

impl<P> Default for Codec<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P> Clone for Codec<P> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<P: Wire> request_response::Codec for Codec<P> {
    type Protocol = StreamProtocol;
    type Request = Result<P::Request, Fault>;
    type Response = Result<P::Reply, Fault>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read_frame(io, P::REQUEST_MAX).await? {
            Ok(Frame::Message(body)) => Ok(decode(&body)),
            Ok(Frame::Fault(_)) => Ok(Err(Fault::malformed("a fault is not a request"))),
            Err(fault) => Ok(Err(fault)),
        }
    }

    async fn read_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Self::Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        // `Err` inside is what the peer says about our request; what is wrong with its answer is an
        // I/O error, because nobody is waiting for our opinion.
        match read_frame(io, P::REPLY_MAX).await? {
            Ok(Frame::Message(body)) => decode(&body).map(Ok).map_err(invalid_data),
            Ok(Frame::Fault(fault)) => Ok(Err(fault)),
            Err(fault) => Err(invalid_data(fault)),
        }
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &frame_of(&request, P::REQUEST_MAX)?).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        reply: Self::Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &frame_of(&reply, P::REPLY_MAX)?).await
    }
}

/// Encoded size of a message's body in bytes.
pub(crate) fn encoded_size<M: Serialize>(message: &M) -> Result<usize, postcard::Error> {
    postcard::serialize_with_flavor(message, Size::default())
}

/// Whether these bytes are one frame that this side would take as a request, and one that it would
/// take as a reply.
pub(crate) fn understood<P: Wire>(bytes: &[u8]) -> (bool, bool) {
    use request_response::Codec as _;
    let protocol = StreamProtocol::new(P::NAME);
    let mut codec = Codec::<P>::default();
    // All the bytes are there, so nothing waits.
    let request = codec
        .read_request(&protocol, &mut futures::io::Cursor::new(bytes))
        .now_or_never();
    let reply = codec
        .read_response(&protocol, &mut futures::io::Cursor::new(bytes))
        .now_or_never();
    (
        matches!(request, Some(Ok(Ok(_)))),
        matches!(reply, Some(Ok(_))),
    )
}

enum Frame {
    Message(Vec<u8>),
    Fault(Fault),
}

/// Reads one frame whose body has at most `max` bytes.
async fn read_frame<T>(io: &mut T, max: usize) -> io::Result<Result<Frame, Fault>>
where
    T: AsyncRead + Unpin + Send,
{
    let mut length = [0; LENGTH];
    io.read_exact(&mut length).await?;
    let length = u64::from(u32::from_le_bytes(length));
    let Some(size) = length.checked_sub(HEADER as u64) else {
        let reason = format!("a frame of {length} bytes has no header");
        return Ok(Err(Fault::malformed(reason)));
    };
    let mut header = [0; HEADER];
    if let Err(error) = io.read_exact(&mut header).await {
        return cut_off(error);
    }
    let [low, high, kind] = header;
    let max = if kind == KIND_FAULT { FAULT_MAX } else { max } as u64;
    if size > max {
        discard(io, size).await;
        return Ok(Err(Fault::TooLarge { size, max }));
    }
    let mut body = Vec::new();
    io.take(size).read_to_end(&mut body).await?;
    if body.len() as u64 != size {
        let reason = format!("{} of {size} bytes arrived", body.len());
        return Ok(Err(Fault::malformed(reason)));
    }
    let version = u16::from_le_bytes([low, high]);
    match kind {
        KIND_FAULT => Ok(decode(&body).map(Frame::Fault)),
        _ if version != VERSION => Ok(Err(Fault::Version {
            got: version,
            supported: VERSION,
        })),
        KIND_MESSAGE => Ok(Ok(Frame::Message(body))),
        kind => Ok(Err(Fault::malformed(format!("frame kind {kind}")))),
    }
}

fn cut_off(error: io::Error) -> io::Result<Result<Frame, Fault>> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(Err(Fault::malformed("the frame's header is cut off"))),
        _ => Err(error),
    }
}

/// Reads and drops a refused body. Whatever fails here, the fault is answered all the same.
async fn discard<T: AsyncRead + Unpin + Send>(io: &mut T, size: u64) {
    let mut left = size.min(DISCARD_MAX);
    let mut step = [0; DISCARD_STEP];
    while left > 0 {
        let want = usize::try_from(left).map_or(DISCARD_STEP, |left| left.min(DISCARD_STEP));
        let Some(buffer) = step.get_mut(..want) else {
            return;
        };
        match io.read(buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read as u64),
        }
    }
}

fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, Fault> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(Fault::malformed(format!(
            "{} bytes after the message",
            rest.len()
        ))),
        Err(error) => Err(Fault::malformed(error.to_string())),
    }
}

async fn write_frame<T: AsyncWrite + Unpin + Send>(io: &mut T, frame: &[u8]) -> io::Result<()> {
    io.write_all(frame).await?;
    io.flush().await
}

fn frame_of<M: Serialize>(message: &Result<M, Fault>, max: usize) -> io::Result<Vec<u8>> {
    match message {
        Ok(message) => encode(KIND_MESSAGE, message, max),
        Err(fault) => encode(KIND_FAULT, fault, FAULT_MAX),
    }
}

fn encode<M: Serialize>(kind: u8, message: &M, max: usize) -> io::Result<Vec<u8>> {
    let size = encoded_size(message).map_err(invalid_data)?;
    if size > max {
        let (size, max) = (size as u64, max as u64);
        return Err(invalid_data(Fault::TooLarge { size, max }));
    }
    let length = u32::try_from(size.saturating_add(HEADER)).map_err(invalid_data)?;
    let mut frame = Vec::with_capacity(LENGTH + HEADER + size);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame.push(kind);
    postcard::to_extend(message, frame).map_err(invalid_data)
}

fn invalid_data(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    const MAX: usize = 64;

    fn frame(version: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = ((HEADER + body.len()) as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&version.to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(body);
        frame
    }

    async fn read(bytes: &[u8]) -> Result<u32, Fault> {
        match read_frame(&mut Cursor::new(bytes), MAX).await.unwrap()? {
            Frame::Message(body) => decode(&body),
            Frame::Fault(fault) => Err(fault),
        }
    }

    #[tokio::test]
    async fn a_written_frame_is_read_back() {
        for value in [0u32, 1, 300, u32::MAX] {
            let bytes = frame_of(&Ok(value), MAX).unwrap();
            assert_eq!(read(&bytes).await, Ok(value));
        }
    }

    #[tokio::test]
    async fn bad_frames_become_faults() {
        let body = postcard::to_stdvec(&7u32).unwrap();
        let long = [body.clone(), vec![0]].concat();
        for (bytes, expected) in [
            (frame(2, 0, &body), "version 2 is not supported, only 1"),
            (frame(1, 9, &body), "frame kind 9"),
            (frame(1, 0, &long), "1 bytes after the message"),
            (frame(1, 0, &[]), "malformed"),
            (frame(1, 0, &[0; MAX + 1]), "65 bytes are more than the 64"),
            (frame(9, 1, &[0xff; 3]), "malformed"),
            (vec![1, 0, 0, 0, 0], "has no header"),
            (vec![9, 0, 0, 0, 1], "header is cut off"),
            (vec![9, 0, 0, 0, 1, 0, 0, 5], "1 of 6 bytes arrived"),
        ] {
            let fault = read(&bytes).await.unwrap_err().to_string();
            assert!(fault.contains(expected), "{bytes:?}: {fault}");
        }
    }

    #[tokio::test]
    async fn a_huge_announced_size_is_refused_without_its_bytes() {
        let fault = read(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0]).await.unwrap_err();
        let (size, max) = (u64::from(u32::MAX) - 3, MAX as u64);
        assert_eq!(fault, Fault::TooLarge { size, max });
    }

    #[tokio::test]
    async fn a_fault_is_read_whatever_its_version() {
        let fault = Fault::Version {
            got: 1,
            supported: 7,
        };
        let body = postcard::to_stdvec(&fault).unwrap();
        assert_eq!(read(&frame(7, KIND_FAULT, &body)).await, Err(fault));
    }

    #[tokio::test]
    async fn nothing_larger_than_the_cap_is_written() {
        let error = frame_of(&Ok(vec![0u8; MAX]), MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
