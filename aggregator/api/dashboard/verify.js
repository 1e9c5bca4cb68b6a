// Checks a finished job's record in this page, believing nothing of the aggregator's that it can compute: signatures,
// openings of commitments, who was paid, and that the money adds up. What it cannot see here, the outputs of every replica
// and the audits that were drawn, `assay receipt verify` checks.

import { Reader, Writer, bind, concat, digest, hex, same, text, u32, u64, unbase64, unhex } from "./bytes.js";
import { micros, money, short } from "./format.js";

const RECEIPT = "application/vnd.in-toto+json";

/** Whether this browser can check the signatures that providers make. */
export async function able() {
  if (!globalThis.crypto?.subtle) return "this page must be opened at localhost or over https: browsers check no signatures elsewhere";
  try {
    await ed25519(new Uint8Array(32).fill(1), new Uint8Array(64), new Uint8Array(0));
    return null;
  } catch (error) {
    return error.name === "NotSupportedError" ? "this browser knows no Ed25519 signatures; a newer one does" : null;
  }
}

/**
 * Checks a record (its JSON, parsed) of the job that was asked for. `result` fetches the merged result's bytes, or throws.
 * Calls `say({ what, holds, why })` for every check, `holds` being null for what could not be looked at.
 */
export async function verify(record, job, result, say) {
  let sound = true;
  const check = async (what, test) => {
    try {
      const why = await test();
      say({ what, holds: true, why });
      return true;
    } catch (error) {
      sound = false;
      say({ what, holds: false, why: error.message });
      return false;
    }
  };
  const found = {};
  await check("The client signed the package, and the job is its digest", async () => {
    found.package = await packageOf(record.package, job);
    return `client ${short(found.package.client)}`;
  });
  await check("The aggregator signed the settlement of this job", async () => {
    found.settlement = await settlementOf(record.settlement, job, found.package);
    return `aggregator ${short(record.settlement.signer)}`;
  });
  if (!sound) return false;
  await check("The settlement covers these shard records", () => {
    require(same(shardsDigest(record.shards), found.settlement.shards), "their digest is another one");
    return `${record.shards.length} shards`;
  });
  await check("Every provider signed its commitment before and its receipt after, and each opens to the other", async () => {
    let replicas = 0;
    for (const shard of record.shards) {
      for (const replica of [...shard.replicas, ...shard.checks]) {
        await replicaOf(replica, shard, job, record.package.package);
        replicas += 1;
      }
    }
    return `${replicas} executions, ${2 * replicas} signatures`;
  });
  await check("What agreed is what was accepted", () => agreement(record.shards, found.package));
  await check("Who was paid is who agreed, and the money adds up", () => payments(record.shards, found.settlement));
  let bytes;
  try { bytes = await result(); } catch (error) {
    say({ what: "The result is the one that was settled", holds: null, why: error.message });
    return sound;
  }
  await check("The result is the one that was settled", () => {
    require(same(digest(bytes), found.settlement.result.digest), "its digest is another one");
    return `${bytes.length} bytes, ${short(hex(found.settlement.result.digest))}`;
  });
  return sound;
}

function require(holds, why) {
  if (!holds) throw new Error(why);
}

/** Checks a Sigstore bundle over the package: ECDSA P-256 with the client's key. */
async function packageOf(signed, job) {
  const bytes = text(signed.package);
  require(same(digest(bytes), unhex(job)), "the package is another job's");
  const der = unbase64(signed.public_key.replace(/-----[^-]+-----|\s/g, ""));
  const key = await crypto.subtle.importKey("spki", der, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
  const bundle = JSON.parse(signed.bundle);
  const signature = raw(unbase64(bundle.messageSignature.signature));
  const holds = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, bytes);
  require(holds, "the client's signature does not hold");
  return { ...JSON.parse(signed.package), client: hex(digest(der)) };
}

/** An ECDSA signature of two DER integers as two numbers of 32 bytes. */
function raw(der) {
  const reader = new Reader(der);
  require(reader.raw(1)[0] === 0x30, "the client's signature is not a sequence");
  reader.raw(1);
  const number = () => {
    require(reader.raw(1)[0] === 0x02, "the client's signature holds no integer");
    const digits = reader.raw(reader.raw(1)[0]);
    const plain = digits.length > 32 ? digits.subarray(digits.length - 32) : digits;
    return concat(new Uint8Array(32 - plain.length), plain);
  };
  const both = concat(number(), number());
  reader.end();
  return both;
}

/** Checks and reads a signed statement of a peer. */
async function statement(signed, domain) {
  const payload = Uint8Array.from(signed.payload);
  const name = text(domain);
  const message = concat(u64(name.length), name, payload);
  const holds = await ed25519(unhex(signed.signer), Uint8Array.from(signed.signature), message);
  require(holds, `the signature of ${short(signed.signer)} does not hold`);
  return new Reader(payload);
}

async function ed25519(signer, signature, message) {
  const key = await crypto.subtle.importKey("raw", signer, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, message);
}

async function settlementOf(signed, job, packaged) {
  const reader = await statement(signed, "assay/settlement/v2");
  const settlement = {
    job: reader.raw(32), client: reader.raw(32), escrowed: reader.varint(),
    paid: reader.list((each) => [hex(each.raw(32)), each.varint()]),
    fee: reader.varint(), feeBps: reader.varint(), returned: reader.varint(),
    result: { digest: reader.raw(32), size: reader.varint() },
    shards: reader.raw(32),
  };
  // The journal's head, and what was drawn by: shares are spelled in hexadecimal even here.
  reader.varint();
  reader.raw(32);
  reader.bytes();
  reader.option((share) => share.bytes());
  reader.bool();
  reader.option((floor) => [floor.varint(), floor.varint()]);
  reader.end();
  require(same(settlement.job, unhex(job)), "it is of another job");
  require(!packaged || hex(settlement.client) === packaged.client, "another client paid than signed");
  return settlement;
}

function blob(writer, { digest: address, size }) {
  writer.raw(unhex(address)).varint(size);
}

function shardsDigest(shards) {
  const replica = (writer, each) => {
    const { payload, signer, signature } = each.commitment;
    writer.raw(unhex(each.assignment)).raw(unhex(each.provider));
    writer.bytes(Uint8Array.from(payload)).raw(unhex(signer)).bytes(Uint8Array.from(signature));
    writer.bytes(text(each.receipt)).bool(each.agreed).varint(micros(each.paid));
  };
  return digest(new Writer().list(shards, (writer, shard) => {
    writer.varint(shard.index);
    blob(writer, shard.input);
    writer.list(shard.replicas, replica);
    blob(writer, shard.canonical);
    writer.raw(unhex(shard.canonical_root)).list(shard.checks, replica).bool(shard.adopted);
  }).done());
}

/** Checks one execution: both signatures, and that the receipt opens the commitment. */
async function replicaOf(replica, shard, job, packaged) {
  const at = `shard ${shard.index}, ${short(replica.provider)}: `;
  const reader = await statement(replica.commitment, "assay/commitment/v3");
  const [assignment, of] = [reader.raw(32), reader.raw(32)];
  const [index, provider, committed] = [reader.varint(), reader.raw(32), reader.raw(32)];
  reader.end();
  require(replica.commitment.signer === replica.provider && hex(provider) === replica.provider, `${at}another provider committed`);
  require(same(assignment, unhex(replica.assignment)) && same(of, unhex(job)) && index === BigInt(shard.index), `${at}it committed to something else`);

  const envelope = JSON.parse(replica.receipt);
  const payload = unbase64(envelope.payload);
  const [{ keyid, sig }] = envelope.signatures;
  const signed = concat(text(`DSSEv1 ${RECEIPT.length} ${RECEIPT} ${payload.length} `), payload);
  require(envelope.payloadType === RECEIPT && keyid === replica.provider, `${at}the receipt is not its own`);
  require(await ed25519(unhex(keyid), unbase64(sig), signed), `${at}the receipt's signature does not hold`);

  const { assignment: given, package: ran, opening } = JSON.parse(new TextDecoder().decode(payload)).predicate;
  require(same(text(canonical(ran)), text(packaged)), `${at}the receipt is of another package`);
  require(given.id === replica.assignment && given.job === job && given.shard === shard.index, `${at}the receipt is of another assignment`);
  require(given.input.digest === shard.input.digest || given.sample.length > 0, `${at}it was given another input`);
  require(same(commitment(given, opening), committed), `${at}the receipt does not open the commitment`);
  replica.root = opening.outcome.root;
}

/** What a provider commits to. */
function commitment(given, { nonce, outcome }) {
  const { fingerprint, placement, meters, noted } = outcome;
  const counts = [meters.fuel, meters.device_us, meters.tensor_bytes, meters.memory_bytes, meters.tokens];
  require(counts.every(Number.isSafeInteger), "a meter is beyond what this page can count");
  const fields = [fingerprint.engine, fingerprint.library, fingerprint.execution_provider, fingerprint.device, fingerprint.options];
  const ran = placement.flatMap((on) => [text(on.model), text(on.execution_provider), u32(on.nodes)]);
  return bind("assay 2026-11-22 commitment v3", [
    unhex(given.id), unhex(given.job), u32(given.shard), unhex(given.provider), Uint8Array.from(nonce), unhex(outcome.root),
    bind("assay 2026-11-21 fingerprint v1", fields.map(text)),
    bind("assay 2026-11-22 placement v1", ran),
    concat(...counts.map(u64)),
    noted ? concat(unhex(noted.root), u32(noted.chunks), u32(noted.inferences)) : new Uint8Array(0),
  ]);
}

/** RFC 8785 for what a package holds: objects in order of their names, no space between. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

function agreement(shards, packaged) {
  let against = 0;
  for (const shard of shards) {
    const agreed = shard.replicas.filter((replica) => replica.agreed);
    require(agreed.some((replica) => replica.root === shard.canonical_root), `shard ${shard.index}: nobody who agreed answered what was accepted`);
    if (packaged.comparator.kind === "exact") {
      require(agreed.every((replica) => replica.root === shard.canonical_root), `shard ${shard.index}: replicas that agreed differ`);
    }
    const enough = packaged.replication.replicas;
    require(agreed.length >= enough || shard.adopted, `shard ${shard.index}: ${agreed.length} agreed, ${enough} were wanted`);
    against += shard.replicas.length - agreed.length;
  }
  return against ? `${against} out of line` : "no disagreement";
}

function payments(shards, { escrowed, paid, fee, returned }) {
  const earned = new Map();
  for (const shard of shards) {
    for (const { provider, agreed, paid: amount } of [...shard.replicas, ...shard.checks]) {
      require(agreed || micros(amount) === 0n, `${short(provider)} was paid for an answer out of line`);
      if (micros(amount)) earned.set(provider, (earned.get(provider) ?? 0n) + micros(amount));
    }
  }
  const total = paid.reduce((all, [, amount]) => all + amount, 0n);
  const stated = paid.filter(([, amount]) => amount > 0n);
  require(stated.length === earned.size && stated.every(([provider, amount]) => earned.get(provider) === amount), "providers got other sums than their executions earned");
  require(total + fee + returned === escrowed, `${money(total)} + ${money(fee)} + ${money(returned)} is not ${money(escrowed)}`);
  return `${money(total)} to providers + ${money(fee)} fee + ${money(returned)} returned = ${money(escrowed)}`;
}
