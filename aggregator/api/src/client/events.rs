//! Following a job's events, as the aggregator sends them.

use hyper::Method;
use hyper::body::Incoming;
use jobs::ids::JobId;

use super::{Client, Error, empty};
use crate::feed::EventId;

/// Longest line of an event's text in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Something that happened, as far as one needs to know to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What kind of thing.
    pub name: String,
    /// Which event, to go on after it; what is about the stream itself has none.
    pub id: Option<EventId>,
}

/// The events of a job, one by one as they happen.
#[derive(Debug)]
pub struct Events {
    client: Client,
    body: Incoming,
    read: Vec<u8>,
}

impl Client {
    /// What happens to a job from now on, or what happened after `last`. The first event says where it is.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn events(&self, job: JobId, last: Option<EventId>) -> Result<Events, Error> {
        let mut request = self.request(Method::GET, &format!("/jobs/{job}/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = self.send(self.finish(request, empty())?).await?;
        Ok(Events {
            client: self.clone(),
            body: response.into_body(),
            read: Vec::new(),
        })
    }
}

impl Events {
    /// Waits for the next event; `None` once there are no more of them. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the connection breaks or stands still, or something else than events comes.
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        loop {
            if let Some(told) = take(&mut self.read) {
                return Ok(Some(told));
            }
            if self.read.len() > LINE_BYTES_MAX {
                let reason = format!("an event has more than the {LINE_BYTES_MAX} bytes allowed");
                return Err(Error::Unexpected(reason));
            }
            match self.client.next_part(&mut self.body).await? {
                Some(part) => self.read.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}

/// Takes the first whole event off the text; what shows only that the connection is alive is dropped.
fn take(read: &mut Vec<u8>) -> Option<Told> {
    loop {
        let end = read.windows(2).position(|two| two == b"\n\n")?;
        let rest = read.split_off(end.saturating_add(2));
        let event = std::mem::replace(read, rest);
        let text = String::from_utf8_lossy(&event);
        let field = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(value.trim_start().to_owned())
        };
        if let Some(name) = field("event") {
            let id = field("id").and_then(|id| id.parse().ok());
            return Some(Told { name, id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_heartbeats_are_none() {
        let mut read =
            b": alive\n\nid: 7.1\nevent: shard_accepted\ndata: {}\n\nevent:end\ndata: {\"".to_vec();
        let told = take(&mut read).unwrap();
        assert_eq!(told.name, "shard_accepted");
        assert_eq!(told.id.map(|id| id.to_string()).as_deref(), Some("7.1"));
        assert_eq!(take(&mut read), None);
        read.extend_from_slice(b"\"}\n\n: alive\n\n");
        let told = take(&mut read).unwrap();
        assert_eq!((told.name.as_str(), told.id), ("end", None));
        assert_eq!(take(&mut read), None);
        assert_eq!(read, b"");
    }
}
