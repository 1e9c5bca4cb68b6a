//! The way to the machine: a bounded queue and an answer for each event.

use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

use api::backend::Response;
use api::signature::Stamp;

use super::error::Error;
use super::once::Once;
use super::rows::Row;
use crate::core::{Core, Event, Refusal, Reply, RequestId};

/// Events waiting for the machine before the next one is refused as busy.
pub(crate) const QUEUE_MAX: usize = 1024;

/// What an event led to, once it is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// The answer to a request.
    pub(crate) reply: Option<Result<Reply, Refusal>>,
    /// Why an offer is not listed.
    pub(crate) offer_refused: Option<Refusal>,
    /// Whether a movement of money had happened before.
    pub(crate) repeated_move: bool,
    /// The answer in bytes, to a request that came with [`Once`].
    pub(crate) response: Option<Response>,
}

type Answer = oneshot::Sender<Result<Decided, Error>>;

/// What the machine is sent.
pub(crate) enum Message {
    /// Something happened.
    Event {
        /// Made when the machine has given the request its number.
        event: Box<dyn FnOnce(RequestId) -> Event + Send>,
        /// Rows that belong to it.
        rows: Vec<Row>,
        /// What makes it happen once, if a stranger asks for it.
        once: Option<Box<Once>>,
        /// Where the outcome goes.
        answer: Answer,
    },
    /// A request that is no event uses its nonce up.
    Note {
        /// Whose and which.
        stamp: Stamp,
        /// Where the outcome goes.
        answer: Answer,
    },
    /// Somebody wants to read.
    Ask(Box<dyn FnOnce(&Core) + Send>),
}

/// An event that has its place in the queue.
pub(crate) struct Posted(oneshot::Receiver<Result<Decided, Error>>);

impl Posted {
    /// Waits until the event is durable.
    pub(crate) async fn decided(self) -> Result<Decided, Error> {
        self.0.await.map_err(|_| Error::Stopping)?
    }
}

fn message(
    event: impl FnOnce(RequestId) -> Event + Send + 'static,
    rows: Vec<Row>,
    once: Option<Once>,
) -> (Message, Posted) {
    let (answer, decided) = oneshot::channel();
    let message = Message::Event {
        event: Box::new(event),
        rows,
        once: once.map(Box::new),
        answer,
    };
    (message, Posted(decided))
}

/// Cheap to share. Closing it ends the machine.
#[derive(Debug)]
pub(crate) struct Handle(Mutex<Option<mpsc::Sender<Message>>>);

/// A handle and the machine's end of its queue.
pub(crate) fn channel() -> (Handle, mpsc::Receiver<Message>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Handle(Mutex::new(Some(sender))), receiver)
}

impl Handle {
    /// Reports an event and waits until it is durable.
    ///
    /// # Errors
    /// If it was not stored, or the aggregator is stopping. It then did not happen.
    pub(crate) async fn event(&self, event: Event) -> Result<Decided, Error> {
        self.event_with(event, Vec::new()).await
    }

    /// Reports an event with rows that become durable with it. Waits for room in the queue: for
    /// reports of the driver's own tasks, whose number is bounded.
    pub(crate) async fn event_with(&self, event: Event, rows: Vec<Row>) -> Result<Decided, Error> {
        self.post(event, rows).await?.decided().await
    }

    /// As [`Handle::event_with`], but waits only until the event has its place in the queue: events
    /// happen in the order in which they were posted.
    pub(crate) async fn post(&self, event: Event, rows: Vec<Row>) -> Result<Posted, Error> {
        let (message, posted) = message(|_| event, rows, None);
        let sent = self.sender()?.send(message).await;
        sent.map_err(|_| Error::Stopping)?;
        Ok(posted)
    }

    /// Makes a request of a stranger's: refused at once if the queue is full.
    pub(crate) async fn request(
        &self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
        rows: Vec<Row>,
        once: Once,
    ) -> Result<Decided, Error> {
        let (message, posted) = message(event, rows, Some(once));
        self.try_send(message)?;
        posted.decided().await
    }

    /// Uses the nonce of a request up that is no event.
    pub(crate) async fn note(&self, stamp: Stamp) -> Result<(), Error> {
        let (answer, decided) = oneshot::channel();
        self.try_send(Message::Note { stamp, answer })?;
        Posted(decided).decided().await.map(drop)
    }

    /// Reports a stranger's event, and does not wait: refused at once if the queue is full.
    pub(crate) fn try_post(
        &self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
        rows: Vec<Row>,
    ) -> Result<Posted, Error> {
        let (message, posted) = message(event, rows, None);
        self.try_send(message)?;
        Ok(posted)
    }

    fn try_send(&self, message: Message) -> Result<(), Error> {
        let sent = self.sender()?.try_send(message);
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy {
                waiting: QUEUE_MAX,
                max: QUEUE_MAX,
            },
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })
    }

    /// Reads from the core. Sees only what is durable.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let ask = move |core: &Core| {
            // Nobody listening any more is no concern of the machine's.
            let _ = answer.send(question(core));
        };
        let sent = self.sender()?.send(Message::Ask(Box::new(ask))).await;
        sent.map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)
    }

    /// Events that wait for the machine.
    pub(crate) fn waiting(&self) -> usize {
        let sender = self.sender();
        sender.map_or(0, |sender| {
            sender.max_capacity().saturating_sub(sender.capacity())
        })
    }

    /// Lets the machine end once it has drained its queue.
    pub(crate) fn close(&self) {
        if let Ok(mut sender) = self.0.lock() {
            *sender = None;
        }
    }

    fn sender(&self) -> Result<mpsc::Sender<Message>, Error> {
        let sender = self.0.lock().map_err(|_| Error::Stopping)?;
        sender.clone().ok_or(Error::Stopping)
    }
}
