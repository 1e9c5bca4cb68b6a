//! What the aggregator finds when it compares two answers.

use jobs::digest::BlobRef;
use jobs::ids::{AssignmentId, JobId};

use super::World;
use crate::core::event::Finding;
use crate::core::liquidation::CaseEvent;
use crate::core::openings::Openings;
use crate::core::{Action, Event};
use crate::sim::peer::position;
use crate::sim::plan::TOLERANCE;

impl World {
    /// Carries out an order to compare; another one is none of this.
    pub(super) fn compare(&mut self, action: &Action) {
        match action {
            Action::Compare {
                job,
                shard,
                left,
                right,
                left_outputs,
                right_outputs,
                openings,
                ..
            } => {
                let finding = by_place(left_outputs, right_outputs);
                let pair = (*left, *right);
                let event = match openings {
                    Some(openings) if finding == Finding::Agree => {
                        self.opened((*job, *shard), pair, openings)
                    }
                    _ => compared((*job, *shard), pair, finding),
                };
                self.local(event);
            }
            Action::CompareCase {
                case,
                left,
                right,
                left_outputs,
                right_outputs,
                ..
            } => self.local(Event::Liquidation(CaseEvent::Compared {
                case: *case,
                left: *left,
                right: *right,
                finding: by_place(left_outputs, right_outputs),
            })),
            _ => {}
        }
    }

    /// What comes of what two whose outputs agree open to one another.
    fn opened(
        &mut self,
        (job, shard): (JobId, u32),
        (left, right): (AssignmentId, AssignmentId),
        openings: &Openings,
    ) -> Event {
        let sides = [
            (openings.left.0, left, right),
            (openings.right.0, right, left),
        ];
        for (provider, failed, other) in sides {
            let peer = self.peers.iter().find(|peer| peer.id() == provider);
            if peer.is_some_and(|peer| peer.opens_nothing(&mut self.dice)) {
                return Event::OpeningFailed {
                    job,
                    shard,
                    failed,
                    other,
                };
            }
        }
        let finding = match openings.left.1 == openings.right.1 {
            true => Finding::Agree,
            false => Finding::Differ,
        };
        compared((job, shard), (left, right), finding)
    }
}

const fn compared(
    (job, shard): (JobId, u32),
    (left, right): (AssignmentId, AssignmentId),
    finding: Finding,
) -> Event {
    Event::Compared {
        job,
        shard,
        left,
        right,
        finding,
    }
}

/// Where two outputs lie decides how they compare.
fn by_place(left: &BlobRef, right: &BlobRef) -> Finding {
    let apart = position(left).abs_diff(position(right));
    let tolerance = TOLERANCE.unsigned_abs();
    match apart {
        _ if apart <= tolerance => Finding::Agree,
        _ if apart <= tolerance.saturating_mul(2) => Finding::Unclear,
        _ => Finding::Differ,
    }
}
