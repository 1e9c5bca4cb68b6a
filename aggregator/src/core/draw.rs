//! What decides who executes a job's shards, and which answers are executed again.
//!
//! Two shares: the aggregator's, promised in its reply to the submission, and the client's, promised by the job's nonce
//! and given after that reply. So neither can choose what comes of them. The record of the job opens both.

use jobs::digest::Digest;
use jobs::ids::{ClientId, JobId, ProviderId};
use jobs::shares::{Floor, Shares};
use policy::beacon::{self, Beacon, Party, Share, ShareCommitment};
use policy::ticket::{Purpose, Ticket};

use super::action::Reply;
use super::event::{Chance, RequestId};
use super::refusal::Refusal;
use super::state::{Draw, Job};
use super::{Core, Effects};

impl Core {
    /// The client gives its share of the draw.
    pub(super) fn share(
        &mut self,
        request: RequestId,
        id: JobId,
        client: ClientId,
        chance: Chance,
        fx: &mut Effects,
    ) {
        let reply = match self.jobs.get_mut(&id) {
            None => Err(Refusal::UnknownJob),
            Some(job) if job.client != client => Err(Refusal::NotYours),
            Some(job) => {
                let shards = (0..).zip(&job.shards);
                // Nothing is drawn by a share that comes too late, and the record of the job says so.
                let wanted = job.spec.audit.is_some() || job.draw.order.is_none();
                let wanted = wanted && !job.is_closing();
                let draw = &mut job.draw;
                if wanted && draw.client.is_none() && draw.beacon.is_none() {
                    draw.client = Some(chance);
                    fx.touched.extend(shards.map(|(index, _)| (id, index)));
                    fx.fill = true;
                }
                Ok(Reply::Shared { job: id })
            }
        };
        fx.reply(request, reply);
    }

    /// What decides which answers of a job are audited, once it can be known.
    pub(super) fn beacon(&mut self, id: JobId) -> Option<Beacon> {
        let now = self.now;
        let draw = &mut self.jobs.get_mut(&id)?.draw;
        if draw.beacon.is_none() && (draw.client.is_some() || now >= draw.due) {
            draw.beacon = combined(id, draw);
        }
        draw.beacon
    }

    /// What the record of a job says of its draws.
    pub(super) fn draw_record(&self, job: &Job) -> Shares {
        let (draw, params) = (&job.draw, &self.config.audit);
        let share = |chance: Chance| jobs::policy::Share(chance.0);
        Shares {
            aggregator: share(draw.own),
            client: draw.client.map(share),
            by_both: draw.by_both,
            floor: job.spec.audit.map(|_| Floor {
                peer: params.peer.get(),
                trusted: params.trusted.get(),
            }),
        }
    }

    /// Settles by what it is drawn who executes a job, once the client has given its share or has had time to: what
    /// is drawn from then on, a share that comes later does not change.
    pub(super) fn settle_order(&mut self, id: JobId) {
        let (now, wait_ms) = (self.now, self.config.share_wait_ms);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let draw = &mut job.draw;
        let waited = now >= job.admitted.plus_ms(wait_ms);
        if draw.order.is_none() && (draw.client.is_some() || waited) {
            draw.order = combined(id, draw);
            draw.by_both = draw.client.is_some();
        }
    }
}

/// Who is drawn for replica `attempt` of a shard, among these with their weights.
pub(super) fn drawn(
    (job, order): (JobId, &Beacon),
    (shard, attempt): (u32, usize),
    candidates: impl Iterator<Item = (ProviderId, u64)>,
) -> Option<ProviderId> {
    let attempt = u64::try_from(attempt).unwrap_or(u64::MAX);
    let number = u64::from(shard) << 32 | attempt;
    let ticket = |(id, weight): (ProviderId, u64)| {
        let subject = job.0.as_bytes();
        let ticket = Ticket::of(Purpose::Dispatch, order, subject, number, id.0, weight);
        (ticket, id)
    };
    let smallest = candidates.map(ticket).min();
    smallest.map(|(_, id)| id)
}

/// The promise of the aggregator's share, which anyone can compare with the share when it is known.
pub(super) fn promise(id: JobId, own: &Chance) -> Digest {
    let promise = beacon::commit(id.0.as_bytes(), Party::Aggregator, &Share(own.0));
    Digest::from_bytes(promise.0)
}

/// The beacon of the shares that are there. A client that gave none in time has promised something that is not
/// opened: everything is audited.
fn combined(id: JobId, draw: &Draw) -> Option<Beacon> {
    let context = id.0.as_bytes();
    let own = (Party::Aggregator, Share(draw.own.0));
    let client = draw.client.map(|chance| (Party::Client, Share(chance.0)));
    let promise =
        |(party, share): &(Party, Share)| (*party, beacon::commit(context, *party, share));
    let unopened = (Party::Client, ShareCommitment([0; 32]));
    let committed = [promise(&own), client.as_ref().map_or(unopened, promise)];
    let revealed: Vec<_> = [own].into_iter().chain(client).collect();
    let drawn = beacon::combine(context, &committed, &revealed).ok();
    drawn.map(|drawn| drawn.beacon)
}
