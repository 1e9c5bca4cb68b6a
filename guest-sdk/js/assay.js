// What the author of an Assay job in JavaScript imports: `import { each } from './assay.js'`.
//
// A job is a function over items. There is no world around it: clocks count the work done, random
// numbers follow from the job's seed, `console.log` writes to the job's log.

import { log as write } from 'assay:job/log@0.1.0';
import * as context from 'assay:job/context@0.1.0';
import { loadByName } from 'wasi:nn/graph@0.2.0-rc-2024-10-28';
import { Tensor as HostTensor } from 'wasi:nn/tensor@0.2.0-rc-2024-10-28';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** An item is not what the job expects. Every replica fails alike, so say which value is at fault. */
export class BadInput extends Error {}

/** A model could not be reached, or refused the tensors that it was given. */
export class ModelError extends Error {}

/** Lines for the job's owner. They count against the job's log limit and are no part of an output. */
export const log = {
  debug: (message) => write('debug', String(message)),
  info: (message) => write('info', String(message)),
  warn: (message) => write('warn', String(message)),
  error: (message) => write('error', String(message)),
};

/** 128 bits drawn from the job and the shard, as two bigints; equal on every replica. */
export const seed = () => context.seed();
/** The names of the models in the job's manifest. */
export const models = () => context.models();
/** The index of this shard in the job, from 0. */
export const shardIndex = () => context.shardIndex();
/** The job-wide index of the first item of this shard, from 0. */
export const itemOffset = () => Number(context.itemOffset());

/** One item: bytes, or what they spell. */
export class Item {
  constructor(bytes, index) {
    /** Uint8Array. */
    this.bytes = bytes;
    /** The item's index in the whole job, from 0. */
    this.index = index;
  }

  /** The item as UTF-8. */
  text() {
    try {
      return decoder.decode(this.bytes);
    } catch {
      throw new BadInput('it is not UTF-8');
    }
  }

  /** The item as JSON. */
  json() {
    try {
      return JSON.parse(this.text());
    } catch (error) {
      if (error instanceof BadInput) throw error;
      throw new BadInput(`it is not JSON: ${error.message}`);
    }
  }
}

/**
 * Makes a job of a function that answers one item: `export const run = each((item) => ...)`. It returns a string, a
 * Uint8Array or anything that JSON can spell.
 */
export function each(answer) {
  return (items) => {
    const first = itemOffset();
    return items.map((bytes, at) => {
      const item = new Item(bytes, first + at);
      try {
        return output(answer(item));
      } catch (error) {
        throw failure(error, `item ${item.index}: `);
      }
    });
  };
}

/** Makes a job of a function that answers all items of a shard at once, with one answer for each, in order. */
export function whole(answer) {
  return (items) => {
    const first = itemOffset();
    try {
      return Array.from(answer(items.map((bytes, at) => new Item(bytes, first + at))), output);
    } catch (error) {
      throw failure(error, '');
    }
  };
}

function output(value) {
  if (value instanceof Uint8Array) return value;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (text === undefined) throw new Error(`${String(value)} is no output: give a string, bytes, or what JSON can spell`);
  return encoder.encode(text);
}

/** What `run` throws: a case of the contract's `job-error`. */
function failure(error, where) {
  const text = where + (error instanceof Error ? error.message : String(error));
  if (error instanceof BadInput) return { tag: 'bad-input', val: text };
  if (error instanceof ModelError) return { tag: 'model', val: text };
  if (error instanceof Error && error.stack) log.error(`${error.name}: ${error.message} at ${error.stack.trim().split('\n')[0]}`);
  return { tag: 'failed', val: text };
}

const TYPES = {
  f32: { host: 'fp32', array: Float32Array },
  f64: { host: 'fp64', array: Float64Array },
  u8: { host: 'u8', array: Uint8Array },
  i32: { host: 'i32', array: Int32Array },
  i64: { host: 'i64', array: BigInt64Array },
};

/** Numbers with a shape: `new Tensor('f32', [1, 3], [0.5, 1, 2])`. Types are f32, f64, u8, i32 and i64 (bigints). */
export class Tensor {
  constructor(type, dims, values) {
    const known = TYPES[type];
    if (!known) throw new TypeError(`${type} is no type of a tensor; there are ${Object.keys(TYPES).join(', ')}`);
    this.type = type;
    this.dims = Array.from(dims);
    this.values = values instanceof known.array ? values : known.array.from(values);
    const count = this.dims.reduce((product, dim) => product * dim, 1);
    if (count !== this.values.length) {
      throw new RangeError(`a tensor of ${this.dims.join(' x ')} has ${count} values, not ${this.values.length}`);
    }
  }
}

function toHost({ type, dims, values }) {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new HostTensor(Uint32Array.from(dims), TYPES[type].host, bytes);
}

function fromHost(tensor) {
  const host = tensor.ty();
  const [type, known] = Object.entries(TYPES).find(([, known]) => known.host === host) ?? [];
  if (!known) throw new ModelError(`the model gave ${host}, which JavaScript has no numbers for`);
  const bytes = tensor.data();
  return new Tensor(type, tensor.dimensions(), new known.array(bytes.slice().buffer));
}

const loaded = new Map();

/** The model of that name in the job's manifest: `model('classify').run({ x: new Tensor(...) }).scores.values`. */
export function model(name) {
  if (!loaded.has(name)) loaded.set(name, new Model(name));
  return loaded.get(name);
}

class Model {
  #context;

  constructor(name) {
    this.name = name;
    this.#context = this.#ask(() => loadByName(name).initExecutionContext());
  }

  /** Runs the model on tensors by name; gives tensors by name. */
  run(inputs) {
    const given = Object.entries(inputs).map(([name, tensor]) => [name, toHost(tensor)]);
    const answer = this.#ask(() => this.#context.compute(given));
    return Object.fromEntries(answer.map(([name, tensor]) => [name, fromHost(tensor)]));
  }

  #ask(question) {
    try {
      return question();
    } catch (error) {
      const reason = error?.payload?.data?.() ?? error?.message ?? String(error);
      throw new ModelError(`${this.name}: ${reason}`);
    }
  }
}
