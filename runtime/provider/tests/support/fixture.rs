//! Jobs and assignments as an aggregator would send them.

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::compare::Comparator;
use jobs::digest::BlobRef;
use jobs::envelope::ClientKey;
use jobs::ids::{AssignmentId, ProviderId};
use jobs::items;
use jobs::money::Amount;
use jobs::package::{InputRef, Limits, OutputFormat, Package, Replication};
use jobs::plan;
use jobs::statement::Signed;
use network::protocol::AssignRequest;

/// A job and everything that belongs to it.
pub(crate) struct Job {
    pub(crate) client: ClientKey,
    pub(crate) package: Package,
    #[allow(
        dead_code,
        reason = "one of the two programs that share this does not fetch"
    )]
    pub(crate) component: Vec<u8>,
    pub(crate) items: Vec<Vec<u8>>,
}

/// A component that runs `extra` and then returns its items.
pub(crate) fn guest(extra: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (import "assay:job/types@0.1.0" (instance $types
    (type $e (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
    (export "job-error" (type (eq $e)))))
  (alias export $types "job-error" (type $job-error))
  (core module $echo
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
        (i32.const -8))))
    (func (export "run") (param i32 i32) (result i32)
      {extra}
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (local.get 0))
      (i32.store (i32.const 1032) (local.get 1))
      (i32.const 1024)))
  (core instance $main (instantiate $echo))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (alias core export $main "run" (core func $core-run))
  (type $run (func (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $job-error)))))
  (func $run (type $run)
    (canon lift (core func $core-run) (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A signed job of six items, two in each shard.
pub(crate) fn job(component: Vec<u8>) -> Job {
    let items: Vec<Vec<u8>> = (0..6_u8)
        .map(|n| format!("item {n}").into_bytes())
        .collect();
    let (input, _) = InputRef::of(&items).unwrap();
    let package = Package {
        schema: jobs::package::PACKAGE_SCHEMA,
        name: "test".into(),
        component: BlobRef::of(&component),
        models: Vec::new(),
        input,
        items_per_shard: 2,
        output: OutputFormat::Items,
        policy: jobs::policy::Policy::Replicate,
        replication: Replication {
            replicas: 2,
            max_replicas: 5,
        },
        comparator: Comparator::Exact,
        limits: Limits {
            fuel: 1_000_000_000_000,
            memory_bytes: 16 << 20,
            output_bytes_per_item: 1 << 10,
            wall_ms: 60_000,
        },
        max_price: Amount(1_000_000),
        deadline_ms: 600_000,
        device: None,
        cpu_nodes: false,
        profile: None,
        openings: None,
        nonce: "0".repeat(32),
    };
    Job {
        client: ClientKey::generate().unwrap(),
        package,
        component,
        items,
    }
}

impl Job {
    /// The encoded items of a shard.
    pub(crate) fn input(&self, shard: u32) -> Vec<u8> {
        let first = shard as usize * 2;
        items::encode(&self.items[first..first + 2]).unwrap()
    }

    /// The order to execute a shard.
    pub(crate) fn assignment(
        &self,
        shard: u32,
        aggregator: &SigningKey,
        to: ProviderId,
    ) -> Assignment {
        let job = self.package.id().unwrap();
        let span = plan::span(6, 2, shard).unwrap();
        Assignment {
            id: AssignmentId::derive(id(aggregator), job, shard, 0, to),
            job,
            shard,
            attempt: 0,
            provider: to,
            aggregator: id(aggregator),
            input: BlobRef::of(&self.input(shard)),
            first_item: span.first_item,
            items: span.items,
            sample: Vec::new(),
            reward_max: Amount(1000),
            due_ms: 60_000,
        }
    }

    /// An order, signed by `aggregator`, with the package, signed by the client.
    pub(crate) fn request(
        &self,
        assignment: &Assignment,
        aggregator: &SigningKey,
    ) -> AssignRequest {
        AssignRequest {
            id: assignment.id,
            assignment: Signed::sign(assignment, aggregator).unwrap(),
            package: self.client.sign_package(&self.package).unwrap(),
            trace: None,
        }
    }
}

/// Whose key it is.
pub(crate) fn id(key: &SigningKey) -> ProviderId {
    ProviderId(key.verifying_key().to_bytes())
}
