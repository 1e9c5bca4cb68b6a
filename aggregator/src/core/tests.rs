//! Small scripts, one rule each. Every step of every script is followed by the full check, and by a
//! snapshot that must come back equal.

mod admission;
mod audits;
mod bounds;
mod diversity;
mod draws;
mod epochs;
mod liquidations;
mod money;
mod openings;
mod replicas;
mod restart;
mod reveals;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceKind, DeviceSpec, Offer, Price};
use jobs::outcome::{Fingerprint, Meters, Outcome};
use jobs::package::Limits;
use jobs::time::Timestamp;
use ledger::FeeBps;

use super::event::{Chance, Finding};
use super::*;

const REQUEST: RequestId = RequestId(7);

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn job() -> JobId {
    JobId(digest("job"))
}

fn client() -> ClientId {
    ClientId(digest("client"))
}

fn provider(index: u8) -> ProviderId {
    ProviderId([index; 32])
}

fn offer(index: u8, class: &str) -> Offer {
    Offer {
        provider: provider(index),
        operator: None,
        device: DeviceSpec {
            kind: DeviceKind::Cpu,
            name: "test".into(),
            memory_bytes: 1 << 33,
        },
        price: Price {
            per_gfuel: Amount(1_000),
            per_device_second: Amount(500),
        },
        fingerprint: Fingerprint {
            engine: class.into(),
            library: String::new(),
            execution_provider: String::new(),
            device: String::new(),
            options: String::new(),
        },
        capacity: 4,
        memory_bytes_max: 1 << 30,
        fuel_max: 10_000_000_000,
        model_bytes_max: 1 << 20,
        issued: Timestamp(0),
    }
}

/// Two shards of two items each, two replicas, three at most, one unit.
fn spec() -> JobSpec {
    JobSpec {
        items: 4,
        items_per_shard: 2,
        replicas: 2,
        max_replicas: 3,
        trusted: None,
        audit: None,
        comparison: Comparison::Exact,
        openings: false,
        limits: Limits {
            fuel: 4_000_000_000,
            memory_bytes: 1 << 20,
            output_bytes_per_item: 64,
            wall_ms: 10_000,
        },
        models: 1,
        model_bytes_max: 1 << 10,
        device: None,
        max_price: Amount(1_000_000),
        deadline_ms: 600_000,
    }
}

struct Script {
    core: Core,
    now: u64,
    /// Assignments sent and not yet taken by [`Script::sent`].
    sent: Vec<Assignment>,
    last: Vec<Action>,
}

impl Script {
    /// `providers` connected providers of one class with a stake each, and a client with ten units.
    fn new(providers: u8) -> Self {
        let config = Config::new(provider(0xaa), FeeBps::new(100).unwrap());
        let mut script = Self {
            core: Core::new(config),
            now: 1_000_000,
            sent: Vec::new(),
            last: Vec::new(),
        };
        for index in 0..providers {
            script.offer(offer(index, "class"));
            script.pay(Movement::Stake(provider(index)), 300).unwrap();
        }
        script.pay(Movement::Deposit(client()), 10_000_000).unwrap();
        script
    }

    fn step(&mut self, event: Event) -> &[Action] {
        let actions = self.core.step(Timestamp(self.now), event);
        self.core.check().unwrap();
        let (rows, max) = (rows(&self.core, &actions), self.core.config.step_rows_max());
        assert!(rows <= max, "{rows} rows in one step, {max} at most");
        let bytes = postcard::to_stdvec(&self.core).unwrap();
        assert_eq!(postcard::from_bytes::<Core>(&bytes).unwrap(), self.core);
        self.sent
            .extend(actions.iter().filter_map(|action| match action {
                Action::Dispatch(assignment) => Some((**assignment).clone()),
                _ => None,
            }));
        self.last = actions;
        &self.last
    }

    /// Every provider offers from a network of its own.
    fn offer(&mut self, offer: Offer) {
        let prefix = u64::from(offer.provider.0[0]);
        self.offer_from(offer, prefix);
    }

    fn offer_from(&mut self, offer: Offer, prefix: u64) {
        let offer = Box::new(offer);
        self.step(Event::Offer { offer, prefix });
    }

    fn pay(&mut self, movement: Movement, micros: u128) -> Result<Reply, Refusal> {
        let id = digest(&format!("{movement:?} {micros}"));
        self.step(Event::Move {
            request: REQUEST,
            id,
            movement,
            amount: Amount(micros),
        });
        self.reply()
    }

    fn reply(&self) -> Result<Reply, Refusal> {
        let mut replies = self.last.iter().filter_map(|action| match action {
            Action::Reply { reply, .. } => Some(reply.clone()),
            _ => None,
        });
        replies.next().expect("a reply")
    }

    fn submit(&mut self, spec: JobSpec) -> Result<Quote, Refusal> {
        self.submit_as(client(), job(), spec)
    }

    fn submit_as(&mut self, client: ClientId, job: JobId, spec: JobSpec) -> Result<Quote, Refusal> {
        self.step(Event::Submit {
            request: REQUEST,
            client,
            job,
            spec,
            chance: Chance([3; 32]),
        });
        self.reply().map(|reply| match reply {
            Reply::Admitted { quote, .. } => quote,
            other => panic!("{other:?}"),
        })
    }

    /// Submits and gets to the first assignments.
    fn start(&mut self, spec: JobSpec) -> Quote {
        let quote = self.submit(spec).unwrap();
        let inputs = (0..quote.shards).map(|shard| BlobRef::of(&shard.to_le_bytes()));
        self.step(Event::BlobsReady {
            job: job(),
            shard_inputs: inputs.collect(),
        });
        quote
    }

    /// Assignments of a shard that were sent since the last call.
    fn sent(&mut self, shard: u32) -> Vec<Assignment> {
        let (mine, rest) = self.sent.drain(..).partition(|a| a.shard == shard);
        self.sent = rest;
        mine
    }

    fn opening(&self, assignment: &Assignment, output: &str) -> Opening {
        let class = self.core.view_provider(assignment.provider).unwrap();
        Opening {
            nonce: [9; 32],
            outcome: Outcome {
                noted: None,
                placement: Vec::new(),
                root: digest(output),
                outputs: BlobRef::of(output.as_bytes()),
                items: assignment.items,
                meters: Meters {
                    fuel: 2_000_000_000,
                    device_us: 1_000_000 + u64::from(assignment.attempt) * 1_000_000,
                    tensor_bytes: 0,
                    tokens: 0,
                    memory_bytes: 0,
                },
                fingerprint: class.offer.fingerprint,
            },
        }
    }

    fn commitment(&self, assignment: &Assignment, output: &str) -> Commitment {
        let opening = self.opening(assignment, output);
        let (job, shard) = (assignment.job, assignment.shard);
        Commitment::bind(assignment.id, job, shard, assignment.provider, &opening)
    }

    fn commit(&mut self, assignment: &Assignment, output: &str) -> &[Action] {
        let assignment_id = assignment.id;
        self.step(Event::AssignAccepted {
            assignment: assignment_id,
        });
        let commitment = self.commitment(assignment, output);
        self.step(Event::Committed { commitment })
    }

    fn reveal(&mut self, assignment: &Assignment, output: &str) -> &[Action] {
        let opening = Box::new(self.opening(assignment, output));
        self.step(Event::Revealed {
            assignment: assignment.id,
            opening,
            outputs_valid: true,
        })
    }

    /// Commits, then reveals, these outputs by these replicas.
    fn execute(&mut self, replicas: &[(&Assignment, &str)]) {
        for (assignment, output) in replicas {
            self.commit(assignment, output);
        }
        for (assignment, output) in replicas {
            self.reveal(assignment, output);
        }
    }

    /// Executes equal outputs with this much fuel, and with meters changed by `change`.
    fn execute_with(&mut self, replicas: &[(&Assignment, u64)], change: impl Fn(&mut Meters)) {
        let openings = replicas.iter().map(|(assignment, fuel)| {
            let mut opening = self.opening(assignment, "right");
            opening.outcome.meters.fuel = *fuel;
            change(&mut opening.outcome.meters);
            (*assignment, opening)
        });
        self.bind_and_reveal(openings.collect());
    }

    /// Commits to all of these, then reveals them.
    fn bind_and_reveal(&mut self, openings: Vec<(&Assignment, Opening)>) {
        for (assignment, opening) in &openings {
            let Assignment { id, job, shard, .. } = **assignment;
            let commitment = Commitment::bind(id, job, shard, assignment.provider, opening);
            self.step(Event::Committed { commitment });
        }
        for (assignment, opening) in openings {
            self.step(Event::Revealed {
                assignment: assignment.id,
                opening: Box::new(opening),
                outputs_valid: true,
            });
        }
    }

    fn wait(&mut self, ms: u64) -> &[Action] {
        self.now += ms;
        self.step(Event::Tick)
    }

    fn outcome(&self) -> Option<&JobOutcome> {
        self.core.outcome(job())
    }

    fn failure(&self) -> &FailReason {
        match self.outcome() {
            Some(JobOutcome::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn score(&self, of: &Assignment) -> u32 {
        self.core.view_provider(of.provider).unwrap().score
    }

    fn earned(&self, of: &Assignment) -> Amount {
        self.core.view_provider(of.provider).unwrap().earned
    }

    /// Sends every shard home with equal outputs and merges.
    fn finish(&mut self) {
        for shard in 0..self.core.view_job(job()).unwrap().quote.shards {
            let sent = self.sent(shard);
            let equal: Vec<_> = sent
                .iter()
                .map(|assignment| (assignment, "right"))
                .collect();
            self.execute(&equal);
        }
        self.step(Event::Merged {
            job: job(),
            result: BlobRef::of(b"result"),
            shards: digest("shards"),
            round: 1,
        });
    }
}

/// Rows that these actions of a step add to the store's batch, its event aside.
fn rows(core: &Core, actions: &[Action]) -> usize {
    let mut batch = store::Batch::new();
    let mut orders = 0;
    for action in actions {
        match action {
            Action::Journal(entries) => core.ledger().stage(entries, &mut batch).unwrap(),
            Action::Dispatch(_) => orders += 1,
            _ => {}
        }
    }
    batch.rows() + orders
}

fn reveals(actions: &[Action]) -> Vec<AssignmentId> {
    let asked = actions.iter().filter_map(|action| match action {
        Action::RequestReveal { assignment, .. } => Some(*assignment),
        _ => None,
    });
    asked.collect()
}
