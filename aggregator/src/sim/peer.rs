//! Providers: what they answer, and their vices.

use std::collections::BTreeMap;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ProviderId};
use jobs::offer::Offer;
use jobs::openings::Noted;
use jobs::outcome::{Meters, Outcome};

use super::plan::{Dice, JobPlan, honest_fuel, honest_noted};
use crate::core::event::Code;
use crate::core::{Comparison, Event, Failure};

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vice {
    /// Nothing.
    None,
    /// Wrong outputs, its own each time.
    Wrong,
    /// Outputs at the edge of what is tolerated.
    Straddle,
    /// Wrong outputs, the same as every other colluder's.
    Collude,
    /// The same constant for everything.
    Lazy,
    /// Repeats another provider's commitment.
    Copy,
    /// Commits twice to different outcomes.
    Equivocate,
    /// Accepts and never answers, or does not even accept.
    Stall,
    /// Commits and does not reveal, or reveals what cannot be fetched.
    Withhold,
    /// Blames the guest for everything.
    FalseAlarm,
    /// Runs out of time more often than not.
    Slow,
    /// Right outputs, and next to no fuel and device time.
    Understate,
    /// Right outputs, and twice the fuel.
    Overstate,
    /// Refuses and fails now and then.
    Flaky,
    /// Right outputs and meters, which it has from somebody, and nothing of what lies behind them.
    MadeUp,
}

impl Vice {
    /// Whether it contradicts itself in signed statements: the only ground for taking stake.
    pub(super) const fn is_provable(self) -> bool {
        matches!(self, Self::Copy | Self::Equivocate)
    }

    /// Whether what it answers can be wrong, in outputs or in meters, so that who executes it again can tell.
    pub(super) const fn answers_wrongly(self) -> bool {
        matches!(
            self,
            Self::Wrong
                | Self::Straddle
                | Self::Collude
                | Self::Lazy
                | Self::Copy
                | Self::Understate
                | Self::Overstate
                | Self::MadeUp
        )
    }

    /// Whether it runs the guest, and so fails where the guest does.
    const fn executes(self) -> bool {
        matches!(
            self,
            Self::None
                | Self::Flaky
                | Self::Withhold
                | Self::Slow
                | Self::Understate
                | Self::Overstate
                // Whom it has its answers from fails where the guest does.
                | Self::MadeUp
        )
    }

    const fn is_fault(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// What an aggregator sends a provider.
#[derive(Clone, Debug)]
pub(super) enum ToPeer {
    Assign(Box<Assignment>),
    Cancel(AssignmentId),
    Reveal(AssignmentId),
}

/// What a provider does next.
#[derive(Debug)]
pub(super) enum Deed {
    /// Sends this.
    Send(Event),
    /// Sends this now and twice again, since it may be lost.
    SendOften(Event),
    /// Is busy with this.
    Work(Box<Assignment>),
}

/// A provider.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) vice: Vice,
    pub(super) offer: Offer,
    pub(super) class: u64,
    /// The network that it is reached from.
    pub(super) prefix: u64,
    pub(super) up: bool,
    /// Counts its starts; work begun before a crash is forgotten.
    pub(super) boot: u64,
    /// No message passes before this time.
    pub(super) cut_until: u64,
    running: BTreeMap<AssignmentId, u64>,
    /// What it signed, which survives a crash: it never signs twice for one assignment.
    signed: BTreeMap<AssignmentId, (Commitment, Opening)>,
}

impl Peer {
    pub(super) const fn new(vice: Vice, offer: Offer, class: u64, prefix: u64) -> Self {
        Self {
            vice,
            offer,
            class,
            prefix,
            up: true,
            boot: 0,
            cut_until: 0,
            running: BTreeMap::new(),
            signed: BTreeMap::new(),
        }
    }

    pub(super) const fn id(&self) -> ProviderId {
        self.offer.provider
    }

    pub(super) fn crash(&mut self) {
        self.up = false;
        self.boot = self.boot.saturating_add(1);
        self.running.clear();
    }

    /// Receives a message. Counts a fault for each vicious answer.
    pub(super) fn receive(
        &mut self,
        message: ToPeer,
        dice: &mut Dice,
        faults: &mut u64,
    ) -> Vec<Deed> {
        match message {
            ToPeer::Assign(assignment) => self.assigned(assignment, dice, faults),
            ToPeer::Cancel(id) => {
                self.running.remove(&id);
                Vec::new()
            }
            ToPeer::Reveal(assignment) => vec![Deed::Send(self.reveal(assignment, faults))],
        }
    }

    fn assigned(
        &mut self,
        assignment: Box<Assignment>,
        dice: &mut Dice,
        faults: &mut u64,
    ) -> Vec<Deed> {
        let id = assignment.id;
        if let Some((commitment, _)) = self.signed.get(&id) {
            let commitment = *commitment;
            return vec![Deed::Send(Event::Committed { commitment })];
        }
        let accepted = Deed::Send(Event::AssignAccepted { assignment: id });
        if self.running.contains_key(&id) {
            return vec![accepted];
        }
        let refusal = |code| {
            vec![Deed::Send(Event::AssignRefused {
                assignment: id,
                code: Code::new(code),
            })]
        };
        if self.running.len() >= usize::from(self.offer.capacity) {
            return refusal("busy");
        }
        if self.vice == Vice::Flaky && dice.chance(150) {
            *faults = faults.saturating_add(1);
            return refusal("whim");
        }
        if self.vice == Vice::Stall {
            *faults = faults.saturating_add(1);
            return if dice.chance(500) {
                vec![accepted]
            } else {
                Vec::new()
            };
        }
        self.running.insert(id, self.boot);
        vec![accepted, Deed::Work(assignment)]
    }

    /// The work on an assignment is over. `others` are commitments seen on the wire.
    pub(super) fn finish(
        &mut self,
        job: &JobPlan,
        assignment: &Assignment,
        others: &[Commitment],
        dice: &mut Dice,
        faults: &mut u64,
    ) -> Vec<Deed> {
        if self.running.remove(&assignment.id).is_none() {
            return Vec::new();
        }
        *faults = faults.saturating_add(u64::from(self.vice.is_fault()));
        let failed = |failure| {
            vec![Deed::SendOften(Event::ExecutionFailed {
                assignment: assignment.id,
                failure,
            })]
        };
        if let (Some(failure), true) = (&job.bad_guest, self.vice.executes()) {
            return failed(failure.clone());
        }
        if self.vice == Vice::FalseAlarm {
            return failed(Failure::Guest(Code::new("trap")));
        }
        if self.vice == Vice::Slow && dice.chance(600) {
            return failed(Failure::Timeout);
        }
        if self.vice == Vice::Flaky && dice.chance(150) {
            let own = Failure::Provider(Code::new("disk_full"));
            let died = dice.chance(500);
            return failed(if died { Failure::WorkerLost } else { own });
        }
        let opening = self.opening(job, assignment, dice);
        let bind = |opening: &Opening| {
            let (id, provider) = (assignment.id, assignment.provider);
            Commitment::bind(id, assignment.job, assignment.shard, provider, opening)
        };
        let mut commitment = bind(&opening);
        let mut deeds = Vec::new();
        if self.vice == Vice::Copy {
            let copied = others
                .iter()
                .find(|c| c.shard == assignment.shard && c.job == job.id);
            if let Some(copied) = copied {
                commitment.hash = copied.hash;
            }
        }
        if self.vice == Vice::Equivocate {
            let mut second = opening.clone();
            second.nonce = [1; 32];
            let commitment = bind(&second);
            deeds.push(Deed::SendOften(Event::Committed { commitment }));
        }
        self.signed.insert(assignment.id, (commitment, opening));
        deeds.push(Deed::SendOften(Event::Committed { commitment }));
        deeds
    }

    fn reveal(&self, assignment: AssignmentId, faults: &mut u64) -> Event {
        match self.signed.get(&assignment) {
            Some((_, opening)) if self.vice != Vice::Withhold => Event::Revealed {
                assignment,
                opening: Box::new(opening.clone()),
                outputs_valid: true,
            },
            Some((commitment, opening)) if commitment.hash.as_bytes().first() < Some(&128) => {
                *faults = faults.saturating_add(1);
                Event::Revealed {
                    assignment,
                    opening: Box::new(opening.clone()),
                    outputs_valid: false,
                }
            }
            _ => Event::RevealFailed { assignment },
        }
    }

    fn opening(&self, job: &JobPlan, assignment: &Assignment, dice: &mut Dice) -> Opening {
        let unique = u64::from_le_bytes(first_bytes(&assignment.id.0)) >> 8;
        let unique = i64::try_from(unique).unwrap_or(0).saturating_add(1_000_000);
        let position = match self.vice {
            Vice::Wrong | Vice::Copy => unique,
            Vice::Collude => 500_000,
            Vice::Lazy => 600_000,
            Vice::Straddle if job.spec.comparison == Comparison::Numeric => 17,
            Vice::Straddle => unique,
            _ => self.honest(job, dice),
        };
        let shard = job.first_shard.saturating_add(assignment.shard);
        let symbol = format!("{} {shard} {position}", job.origin);
        let exaggeration = dice.range(0, 900_000);
        let (fuel, device_us) = (
            honest_fuel(self.class, shard),
            exaggeration.saturating_add(100_000),
        );
        let (fuel, device_us) = match self.vice {
            Vice::Understate => (fuel / 10, 1),
            Vice::Overstate => (fuel.saturating_mul(2), device_us.saturating_mul(1_000)),
            _ => (fuel, device_us),
        };
        Opening {
            nonce: *Digest::of(symbol.as_bytes()).as_bytes(),
            outcome: Outcome {
                noted: job.spec.openings.then(|| self.noted(job, assignment)),
                placement: Vec::new(),
                root: Digest::of(format!("root {symbol}").as_bytes()),
                outputs: outputs(position, &symbol),
                items: assignment.items,
                meters: Meters {
                    fuel,
                    device_us,
                    tensor_bytes: 0,
                    tokens: 0,
                    memory_bytes: 1 << 20,
                },
                fingerprint: self.offer.fingerprint.clone(),
            },
        }
    }

    /// What it says that it noted: where it did not execute, something that nobody else says.
    fn noted(&self, job: &JobPlan, assignment: &Assignment) -> Noted {
        let honest = honest_noted(job.id, assignment.shard);
        match self.vice {
            Vice::MadeUp => Noted {
                root: assignment.id.0,
                ..honest
            },
            _ => honest,
        }
    }

    /// Whether it opens nothing now that it should.
    pub(super) fn opens_nothing(&self, dice: &mut Dice) -> bool {
        !self.up
            || match self.vice {
                Vice::Withhold => true,
                Vice::Flaky | Vice::MadeUp => dice.chance(200),
                _ => false,
            }
    }

    /// Where an honest output lies: on the truth; of a model, apart by class; of a numeric job,
    /// scattered around the truth.
    fn honest(&self, job: &JobPlan, dice: &mut Dice) -> i64 {
        let class = i64::try_from(self.class).unwrap_or(0);
        match job.spec.comparison {
            Comparison::Exact if job.spec.models > 0 => class.saturating_mul(1_000),
            Comparison::Exact => 0,
            Comparison::Numeric => {
                let width = u64::try_from(job.scatter.saturating_mul(2)).unwrap_or(0);
                let at = i64::try_from(dice.range(0, width)).unwrap_or(0);
                at.saturating_sub(job.scatter)
            }
        }
    }
}

fn first_bytes(digest: &Digest) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    bytes
}

/// Symbolic outputs: the size of the blob says where they lie.
fn outputs(position: i64, symbol: &str) -> BlobRef {
    BlobRef {
        digest: Digest::of(symbol.as_bytes()),
        size: position.unsigned_abs().saturating_mul(2) + u64::from(position < 0),
    }
}

/// Where symbolic outputs lie.
pub(super) fn position(outputs: &BlobRef) -> i64 {
    let distance = i64::try_from(outputs.size / 2).unwrap_or(i64::MAX);
    if outputs.size.is_multiple_of(2) {
        distance
    } else {
        distance.saturating_neg()
    }
}
