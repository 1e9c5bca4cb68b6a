//! What the aggregator finds when it compares two replicas.

use super::World;
use crate::core::event::Finding;
use crate::core::{Action, Event};
use crate::sim::peer::position;
use crate::sim::plan::TOLERANCE;

impl World {
    /// The aggregator compares where outputs lie.
    pub(super) fn compare(&mut self, action: &Action) {
        let Action::Compare {
            job,
            shard,
            left,
            right,
            left_outputs,
            right_outputs,
            ref openings,
            ..
        } = *action
        else {
            return;
        };
        let apart = position(&left_outputs).abs_diff(position(&right_outputs));
        let tolerance = TOLERANCE.unsigned_abs();
        let finding = match apart {
            _ if apart <= tolerance => Finding::Agree,
            _ if apart <= tolerance.saturating_mul(2) => Finding::Unclear,
            _ => Finding::Differ,
        };
        let finding = match openings {
            Some(openings) if finding == Finding::Agree => {
                let sides = [
                    (openings.left.0, left, right),
                    (openings.right.0, right, left),
                ];
                for (provider, failed, other) in sides {
                    let peer = self.peers.iter().find(|peer| peer.id() == provider);
                    if peer.is_some_and(|peer| peer.opens_nothing(&mut self.dice)) {
                        return self.local(Event::OpeningFailed {
                            job,
                            shard,
                            failed,
                            other,
                        });
                    }
                }
                match openings.left.1 == openings.right.1 {
                    true => Finding::Agree,
                    false => Finding::Differ,
                }
            }
            _ => finding,
        };
        self.local(Event::Compared {
            job,
            shard,
            left,
            right,
            finding,
        });
    }
}
