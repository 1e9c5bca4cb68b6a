//! Clients and the operator: they ask until they are answered.

use super::{Event, Item, RequestId, World};
use crate::core::Reply;
use crate::core::event::Chance;

/// Times a request is made again while there is no answer.
const AGAIN_MAX: u8 = 8;

impl World {
    /// A client or the operator asks for something, and asks again until there is an answer.
    pub(super) fn request(&mut self, item: Item) {
        self.requested = self.requested.saturating_add(1);
        let request = RequestId(self.requested);
        let again = self.dice.range(3_000, 8_000);
        let (event, retry) = match item {
            Item::Submit(index, tries) => {
                let Some(event) = self.submission(request, index) else {
                    return;
                };
                let plan = self.jobs.get(index);
                let told = plan.is_some_and(|plan| self.oracle.admitted.contains(&plan.id));
                let retry = (!told && tries < AGAIN_MAX)
                    .then(|| Item::Submit(index, tries.saturating_add(1)));
                (event, retry)
            }
            Item::Share(index, tries) => {
                let plan = self.jobs.get(index);
                let share = plan.map(|plan| Event::Share {
                    request,
                    job: plan.id,
                    client: plan.client,
                    chance: Chance([7; 32]),
                });
                let Some(event) = share else {
                    return;
                };
                (event, (tries == 0).then_some(Item::Share(index, 1)))
            }
            Item::Cancel(index) => {
                let plan = self.jobs.get(index);
                let cancel = plan.map(|plan| Event::Cancel {
                    request,
                    job: plan.id,
                    client: plan.client,
                });
                let Some(event) = cancel else {
                    return;
                };
                (event, None)
            }
            Item::Move(index, tries) => {
                let Some(&(id, movement, amount)) = self.moves.get(index) else {
                    return;
                };
                let event = Event::Move {
                    request,
                    id,
                    movement,
                    amount,
                };
                let told = self.oracle.deposited.contains(&id);
                let retry = (!told && tries < AGAIN_MAX)
                    .then(|| Item::Move(index, tries.saturating_add(1)));
                (event, retry)
            }
            _ => return,
        };
        self.requests.insert(request, item);
        if let Some(retry) = retry {
            self.at(again, retry);
        }
        let lost = self.faulty() && self.dice.chance(100);
        if !lost {
            self.feed(event);
        }
    }

    fn submission(&self, request: RequestId, index: usize) -> Option<Event> {
        let plan = self.jobs.get(index)?;
        Some(Event::Submit {
            request,
            client: plan.client,
            job: plan.id,
            spec: plan.spec.clone(),
            chance: Chance([u8::try_from(index % 256).unwrap_or(0); 32]),
        })
    }

    /// An acknowledgement has reached whoever asked: from now on it must never be forgotten.
    pub(super) fn answered(&mut self, asked: Item, reply: Option<Reply>) {
        match (asked, reply) {
            (
                Item::Submit(index, _),
                Some(Reply::Admitted {
                    job, promise: _, ..
                }),
            ) => {
                // Some clients forget their share.
                if self.dice.chance(900) {
                    let soon = self.dice.range(1, 3_000);
                    self.at(soon, Item::Share(index, 0));
                }
                self.oracle.admitted.insert(job);
            }
            (Item::Move(index, _), Some(Reply::Moved)) => {
                if let Some((id, _, _)) = self.moves.get(index) {
                    self.oracle.deposited.insert(*id);
                }
            }
            _ => {}
        }
    }
}
