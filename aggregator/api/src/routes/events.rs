//! Live events, as server-sent events: what happens to one job until it has ended, or to all.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use jobs::ids::JobId;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use super::taken::Path;
use super::{Shared, job_id};
use crate::backend::{Answer, Backend};
use crate::feed::{EventId, Numbered, Reading};
use crate::gate::Peer;
use crate::network::Prefix;
use crate::problem::{Code, Problem};

/// Readers of events at once.
const SUBSCRIBERS_MAX: usize = 256;

/// Of those, readers of one network, so that none keeps everybody else from reading.
const SUBSCRIBERS_PER_NETWORK_MAX: usize = 64;

/// Pause after which a line that means nothing shows that the connection is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many read, by their networks.
#[derive(Clone, Default)]
pub(super) struct Subscribers(Arc<Mutex<BTreeMap<Prefix, usize>>>);

/// A reader's place, until it is dropped.
struct Place {
    subscribers: Subscribers,
    network: Prefix,
}

impl Subscribers {
    fn readers(&self) -> MutexGuard<'_, BTreeMap<Prefix, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, network: Prefix) -> Answer<Place> {
        let mut readers = self.readers();
        if readers.values().sum::<usize>() >= SUBSCRIBERS_MAX {
            let detail = format!("{SUBSCRIBERS_MAX} read events already, the most that may");
            return Err(Problem::of(Code::Overloaded, detail));
        }
        let own = readers.entry(network).or_default();
        if *own >= SUBSCRIBERS_PER_NETWORK_MAX {
            let detail = format!(
                "{SUBSCRIBERS_PER_NETWORK_MAX} of your network read events already, the most that may"
            );
            return Err(Problem::of(Code::TooManyRequests, detail).after(1));
        }
        *own = own.saturating_add(1);
        Ok(Place {
            subscribers: self.clone(),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut readers = self.subscribers.readers();
        if let Some(own) = readers.get_mut(&self.network) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                readers.remove(&self.network);
            }
        }
    }
}

/// Everything.
pub(super) async fn all<B: Backend>(
    State(app): Shared<B>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Answer<Response> {
    let reader = Reader::new(
        app.subscribers.enter(peer.network)?,
        app.backend.feed().await?.read(last(&headers)?),
        &app.stop,
    );
    Ok(stream(reader))
}

/// What happens to a job, until it has ended.
pub(super) async fn of_job<B: Backend>(
    State(app): Shared<B>,
    Extension(peer): Extension<Peer>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let job = job_id(&job)?;
    let reading = app.backend.feed().await?.read(last(&headers)?);
    let place = app.subscribers.enter(peer.network)?;
    let mut reader = Reader::new(place, reading, &app.stop);
    // Asked after the reading began: what ends in between is read.
    let view = app.backend.job(job).await?;
    reader.job = Some(job);
    reader.over = view.phase.is_terminal();
    let state =
        json!({ "type": "job_phase", "job": job, "phase": view.phase, "reason": view.reason });
    reader
        .ready
        .push_front(Event::default().event("job_phase").data(state.to_string()));
    Ok(stream(reader))
}

/// Where a reader was.
fn last(headers: &HeaderMap) -> Answer<Option<EventId>> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let text = last.to_str().unwrap_or("?");
    // What a browser sends that was told to forget where it was.
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(Problem::invalid)
}

/// One who reads.
struct Reader {
    _place: Place,
    job: Option<JobId>,
    /// To be sent.
    ready: VecDeque<Event>,
    missed: VecDeque<Numbered>,
    live: Receiver<Numbered>,
    stop: watch::Receiver<bool>,
    /// Nothing more comes.
    over: bool,
    ended: bool,
}

impl Reader {
    fn new(place: Place, reading: Reading, stop: &watch::Receiver<bool>) -> Self {
        let Reading { missed, lost, live } = reading;
        let mut ready = VecDeque::new();
        if lost {
            let detail = "events after Last-Event-ID are no longer kept: look at the present state";
            ready.push_back(named("lost", detail));
        }
        Self {
            _place: place,
            job: None,
            ready,
            missed: missed.into(),
            live,
            stop: stop.clone(),
            over: false,
            ended: false,
        }
    }

    /// The next event, or nothing when there will be none.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if let Some(numbered) = self.missed.pop_front() {
                self.take(&numbered);
                continue;
            }
            if self.over {
                self.end("end", "the job has ended");
                continue;
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                _ = self.stop.wait_for(|stop| *stop) => Err(RecvError::Closed),
            };
            match received {
                Ok(numbered) => self.take(&numbered),
                Err(RecvError::Lagged(behind)) => {
                    let detail = format!("{behind} events were not read in time");
                    self.end("slow", &detail);
                }
                Err(RecvError::Closed) => self.end("stopping", "the aggregator is stopping"),
            }
        }
    }

    fn take(&mut self, numbered: &Numbered) {
        let (id, happening) = numbered.as_ref();
        if self.job.is_some() && self.job != happening.job() {
            return;
        }
        let data = serde_json::to_string(happening).unwrap_or_default();
        let event = Event::default().id(id.to_string()).event(happening.name());
        self.ready.push_back(event.data(data));
        self.over |= self.job.is_some() && happening.is_last();
    }

    fn end(&mut self, name: &str, detail: &str) {
        self.ready.push_back(named(name, detail));
        self.ended = true;
    }
}

fn named(name: &str, detail: &str) -> Event {
    let data = json!({ "type": name, "detail": detail });
    Event::default().event(name).data(data.to_string())
}

fn stream(reader: Reader) -> Response {
    let beat = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Sse::new(events(reader)).keep_alive(beat).into_response()
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Feed, Happening, LAG_MAX};
    use crate::types::JobPhase;

    fn phase(job: JobId, phase: JobPhase) -> Happening {
        let reason = None;
        Happening::JobPhase { job, phase, reason }
    }

    async fn drained(mut reader: Reader) -> String {
        let mut text = String::new();
        while let Some(event) = reader.next().await {
            text += &format!("{event:?}\n");
        }
        text
    }

    fn reader(feed: &Feed, places: &Subscribers) -> (Reader, watch::Sender<bool>) {
        let (stop, stopping) = watch::channel(false);
        let place = places.enter(network(1)).unwrap();
        (Reader::new(place, feed.read(None), &stopping), stop)
    }

    fn network(number: u8) -> Prefix {
        Prefix::of([number, 1, 1, 1].into())
    }

    #[tokio::test]
    async fn a_job_is_followed_to_its_end_and_nothing_else_is_told() {
        let (feed, places) = (Feed::after(0), Subscribers::default());
        let (mut reader, _stop) = reader(&feed, &places);
        let job = JobId::default();
        reader.job = Some(job);
        let other = JobId(jobs::digest::Digest::of(b"other"));
        feed.publish(
            1,
            vec![phase(job, JobPhase::Running), phase(other, JobPhase::Done)],
        );
        feed.publish(2, vec![phase(job, JobPhase::Done)]);
        let told = drained(reader).await;
        assert_eq!(
            told.matches("job_phase").count(),
            4,
            "name and data of two: {told}"
        );
        assert!(
            told.contains("1.0") && told.contains("2.0") && told.contains("has ended"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_and_dropped_and_so_is_everybody_at_a_stop() {
        let (feed, places) = (Feed::after(0), Subscribers::default());
        let (slow, _stop) = reader(&feed, &places);
        for entry in 0..=LAG_MAX as u64 + 1 {
            feed.publish(entry, vec![phase(JobId::default(), JobPhase::Running)]);
        }
        let told = drained(slow).await;
        assert!(told.contains("slow"), "{told}");
        let (other, stop) = reader(&feed, &places);
        stop.send_replace(true);
        assert!(drained(other).await.contains("stopping"));
    }

    #[tokio::test]
    async fn readers_are_bounded_and_their_places_given_back() {
        let (feed, places) = (Feed::after(0), Subscribers::default());
        let crowd: Vec<_> = (0..SUBSCRIBERS_PER_NETWORK_MAX)
            .map(|_| reader(&feed, &places))
            .collect();
        let refused = |number| places.enter(network(number)).err().unwrap().code;
        assert_eq!(refused(1), "too-many-requests");
        let others = (SUBSCRIBERS_PER_NETWORK_MAX..SUBSCRIBERS_MAX)
            .map(|number| places.enter(network(2 + (number % 4) as u8)));
        let others = others.collect::<Answer<Vec<_>>>().unwrap();
        assert_eq!(refused(6), "overloaded");
        drop(crowd);
        assert!(places.enter(network(1)).is_ok());
        drop(others);
        assert!(places.readers().is_empty());
    }
}
