// Bytes: their spellings, the encoding in which statements are signed (postcard), and their digests.

import { blake3 } from "./vendor/noble-hashes/blake3.js";

const utf8 = new TextEncoder();

/** The bytes of a text. */
export const text = (value) => utf8.encode(value);

/** Bytes as hexadecimal digits. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The bytes of hexadecimal digits, with or without the prefix of a digest. */
export function unhex(digits) {
  const plain = String(digits).replace(/^blake3:/, "");
  if (!/^([0-9a-f]{2})*$/.test(plain)) throw new Error(`${digits} is not hexadecimal`);
  return Uint8Array.from(plain.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** The bytes of base64. */
export const unbase64 = (value) => Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0));

/** Pieces in one piece. */
export function concat(...pieces) {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) { whole.set(piece, at); at += piece.length; }
  return whole;
}

/** Whether both are the same bytes. */
export const same = (left, right) => left.length === right.length && left.every((byte, at) => byte === right[at]);

/** A number in eight bytes, the lowest first. */
export function u64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** A number in four bytes, the lowest first. */
export function u32(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** The digest of bytes. */
export const digest = (bytes) => blake3(bytes);

/** The digest of parts for one purpose, each with its length before it. */
export function bind(context, parts) {
  return blake3(concat(...parts.flatMap((part) => [u64(part.length), part])), { context: text(context) });
}

/** Writes postcard. */
export class Writer {
  #pieces = [];

  raw(bytes) { this.#pieces.push(bytes); return this; }

  /** A number, seven bits a byte. */
  varint(value) {
    const bytes = [];
    for (let rest = BigInt(value); ; ) {
      const low = Number(rest & 127n);
      rest >>= 7n;
      bytes.push(rest ? low | 128 : low);
      if (!rest) return this.raw(Uint8Array.from(bytes));
    }
  }

  bytes(value) { return this.varint(value.length).raw(value); }

  bool(value) { return this.raw(Uint8Array.of(value ? 1 : 0)); }

  list(values, write) {
    this.varint(values.length);
    for (const value of values) write(this, value);
    return this;
  }

  done() { return concat(...this.#pieces); }
}

/** Reads postcard; refuses what ends too soon or too late. */
export class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) { this.#bytes = bytes; }

  raw(length) {
    if (this.#at + length > this.#bytes.length) throw new Error("a signed statement ends too soon");
    const piece = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return piece;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 133n; shift += 7n) {
      const [byte] = this.raw(1);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new Error("a number in a signed statement is too long");
  }

  bytes() { return this.raw(Number(this.varint())); }

  option(read) { return this.raw(1)[0] === 0 ? null : read(this); }

  bool() { return this.raw(1)[0] === 1; }

  list(read) { return Array.from({ length: Number(this.varint()) }, () => read(this)); }

  end() {
    if (this.#at !== this.#bytes.length) throw new Error("a signed statement goes on after its end");
  }
}
