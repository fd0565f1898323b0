import { SidekeyError } from '../../../lib/errors.ts';

const atLine = 0;
const inName = 1;
const beforeValue = 2;
const withinValue = 3;
const atLineFeed = 4;
const atLastLineFeed = 5;

/**
 * Reads field lines up to the empty line, each byte once, in any number of pieces (RFC 9112 §5). Refuses
 * folded lines, blanks before a colon, and line ends other than CR LF.
 */
export class FieldScanner {
  /** Offsets of `count` fields, as in `FieldTable`. Overwritten after `begin`: `takeOffsets` copies them. */
  readonly offsets: number[] = [];
  /** Read position, relative to `base`. */
  at = 0;
  /** Number of fields so far. */
  count = 0;
  readonly #most: number;
  #state = atLine;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;

  /** @param most maximum number of fields */
  constructor(most: number) {
    this.#most = most;
  }

  /** Restarts. @param at start of the first line, relative to `base` */
  begin(at: number): void {
    this.at = at;
    this.count = 0;
    this.#state = atLine;
  }

  /**
   * Continues where the last call stopped. The bytes before may have moved, together with `base`.
   *
   * @param stop end of the bytes received, or allowed
   */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === atLine) {
        const byte = bytes[at]!;
        if (byte === CR) {
          state = atLastLineFeed;
          at += 1;
          continue;
        }
        if ((kindOf[byte]! & inToken) === 0) return faultAtLine(byte);
        if (this.count === this.#most) return 'too_many_fields';
        this.#nameStart = at - base;
        state = inName;
      }
      if (state === inName) {
        at = endOfRun(bytes, at, stop, inToken);
        if (at === stop) break;
        if (bytes[at] !== COLON) return faultInName(bytes[at]!);
        this.#nameEnd = at - base;
        at += 1;
        state = beforeValue;
      }
      if (state === beforeValue) {
        while (at < stop && (bytes[at] === SP || bytes[at] === HT)) at += 1;
        if (at === stop) break;
        this.#valueStart = at - base;
        state = withinValue;
      }
      if (state === withinValue) {
        at = endOfValue(bytes, at, stop);
        if (at === stop) break;
        const byte = bytes[at]!;
        if (byte !== CR) return byte === LF ? 'bare_lf' : 'control_byte';
        at += 1;
        state = atLineFeed;
        if (at === stop) break;
      }
      if (bytes[at] !== LF) return 'bare_cr';
      if (state === atLastLineFeed) {
        this.at = at + 1 - base;
        return 'done';
      }
      this.#add(bytes, base, at - 1);
      at += 1;
      state = atLine;
    }
    this.at = at - base;
    this.#state = state;
    return 'more';
  }

  /** @param lineEnd index of the line's CR in `bytes` */
  #add(bytes: Buffer, base: number, lineEnd: number): void {
    let valueEnd = lineEnd;
    const valueStart = base + this.#valueStart;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HT)) valueEnd -= 1;
    const { offsets } = this;
    const to = this.count * 5;
    offsets[to] = numberOf(bytes, base + this.#nameStart, base + this.#nameEnd);
    offsets[to + 1] = this.#nameStart;
    offsets[to + 2] = this.#nameEnd;
    offsets[to + 3] = this.#valueStart;
    offsets[to + 4] = valueEnd - base;
    this.count += 1;
  }

  /** Number of bytes read, from `base` on. */
  get extent(): number {
    return this.at;
  }

  /** Returns a copy of the offsets. */
  takeOffsets(): number[] {
    return this.offsets.slice(0, this.count * 5);
  }
}

function faultAtLine(byte: number): Fault {
  if (byte === LF) return 'bare_lf';
  if (byte === SP || byte === HT) return 'folded_field';
  if (byte === COLON) return 'empty_name';
  return 'bad_name';
}

function faultInName(byte: number): Fault {
  if (byte === SP || byte === HT) return 'space_before_colon';
  if (byte === CR || byte === LF) return 'no_colon';
  return 'bad_name';
}

/** The side that sent a malformed message. */
export type Whose = 'request' | 'response';

/**
 * All faults of a message: violations of RFC 9112, and ambiguities. In a request none is repaired, because a
 * repair enables request smuggling; `mend.ts` repairs some of responses. No text quotes the message.
 */
export const faults = {
  // Lines.
  bare_lf: 'has a line that ends in a bare line feed',
  bare_cr: 'has a carriage return without a line feed',
  control_byte: 'has a control byte in its head',
  // Another protocol.
  tls_handshake: 'is a TLS handshake, where plain HTTP is expected',
  http2_preface: 'begins HTTP/2, where HTTP/1.1 is expected',
  // The first line.
  bad_method: 'has a method that is no short token of capitals',
  bad_target: 'has a target with a byte that does not belong there',
  raw_target: 'has a target with a byte beyond ASCII that is not percent-encoded',
  no_version: 'names no version of HTTP in its first line',
  unknown_version: 'is neither HTTP/1.1 nor HTTP/1.0',
  bad_status: 'has a status that is no number from 100 to 999',
  // Fields.
  folded_field: 'has a field that goes on in the next line',
  empty_name: 'has a field without a name',
  bad_name: 'has a field name that is no token',
  space_before_colon: 'has a blank between a field name and its colon',
  no_colon: 'has a field line without a colon',
  // Framing.
  length_and_coding: 'has both Content-Length and Transfer-Encoding',
  bad_length: 'has no single, plain Content-Length',
  bad_coding: 'has a transfer coding other than chunked',
  coding_in_1_0: 'has Transfer-Encoding in HTTP/1.0',
  body_of_connect: 'is a CONNECT with a body',
  framing_in_trailers: 'has a trailer that would frame it or its connection',
  interim_with_body: 'is an interim response that announces a body',
  incomplete_head: 'ends before the end of its head',
  unasked_switch: 'switches to another protocol, and the request asked for none',
  interim_is_last: 'is an interim response that ends its connection',
  // Chunks.
  bad_chunk_size: 'has a chunk size that is no plain hex number',
  chunk_size_too_large: 'has a chunk size beyond all bounds',
  bad_chunk_extension: 'has a chunk extension that is not well-formed',
  chunk_extension_too_large: 'has a chunk extension that is too long',
  too_much_chunk_overhead: 'has far more bytes around its chunks than in them',
  bad_chunk_end: 'has a chunk that does not end where its size says',
  // Limits.
  head_too_large: 'has a head that is too large',
  too_many_fields: 'has too many header fields',
  trailers_too_large: 'has trailers that are too large',
  too_many_trailers: 'has too many trailers',
  // Connections.
  bytes_behind_last: 'is the last of its connection, and bytes follow it',
} as const satisfies Record<string, string>;

/** The name of a fault. */
export type Fault = keyof typeof faults;

/** The limits of a head, from `limits` of the config. */
export interface HeadLimits {
  /** Maximum number of bytes of a head, and of the trailers of a body. */
  readonly head_bytes: number;
  readonly head_fields: number;
}

/** A malformed message. Code: `bad_request` for a request, `upstream_protocol` for a response. */
export class Malformed extends SidekeyError {
  readonly fault: Fault;

  constructor(whose: Whose, fault: Fault, limits?: HeadLimits) {
    super(whose === 'request' ? 'bad_request' : 'upstream_protocol', sentence(whose, fault, limits), {
      hint: hintOf(fault),
    });
    this.fault = fault;
  }
}

function sentence(whose: Whose, fault: Fault, limits: HeadLimits | undefined): string {
  const bound = limits === undefined ? '' : boundOf(fault, limits);
  return `The ${whose} ${faults[fault]}${bound}.`;
}

function boundOf(fault: Fault, { head_bytes: bytes, head_fields: fields }: HeadLimits): string {
  switch (fault) {
    case 'head_too_large':
    case 'trailers_too_large':
      return `: more than ${bytes} bytes`;
    case 'too_many_fields':
    case 'too_many_trailers':
      return `: more than ${fields}`;
    default:
      return '';
  }
}

function hintOf(fault: Fault): string | undefined {
  switch (fault) {
    case 'head_too_large':
    case 'trailers_too_large':
      return 'raise limits.head_bytes';
    case 'too_many_fields':
    case 'too_many_trailers':
      return 'raise limits.head_fields';
    case 'raw_target':
      return 'send text in UTF-8, each byte beyond ASCII as %XX; curl does so by --get --data-urlencode';
    case 'tls_handshake':
      return 'write the address of the proxy with http://, not https://; TLS begins inside CONNECT';
    case 'http2_preface':
      return 'speak HTTP/1.1 to the proxy; HTTP/2 is chosen by ALPN inside CONNECT';
    case 'bad_method':
      return 'speak HTTP/1.1 to the proxy; a client of another protocol has come to the wrong port';
    default:
      return undefined;
  }
}

/**
 * The field names that the proxy reads, with numbers, to compare their bytes only once. 0: any other name.
 */
const names = [
  '',
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'content-length',
  'content-type',
  'content-encoding',
  'host',
  'expect',
  'authorization',
  'proxy-authorization',
  'sidekey-grant',
  'sidekey-reason',
  'alt-svc',
  'cookie',
  // Families: every other name with this prefix.
  'proxy-',
  'sidekey-',
] as const;

type KnownName = (typeof names)[number];

/** Numbers of names. All are below 32, so a set of names is a bit mask. */
export const known = Object.freeze(
  Object.fromEntries(names.map((name, number) => [name, number])),
) as Readonly<Record<KnownName, number>>;

const families = ['proxy-', 'sidekey-'] as const;
const numbers = new Map<string, number>(
  names.map((name, number) => [name, number] as const).filter(([name]) => name !== '' && !name.endsWith('-')),
);
/** Names by length. Few lengths are shared, so one look rules out most names. */
const byLength: readonly { readonly name: string; readonly number: number }[][] = Array.from(
  { length: 1 + Math.max(...names.map((name) => name.length)) },
  (_, length) =>
    [...numbers].filter(([name]) => name.length === length).map(([name, number]) => ({ name, number })),
);
const p = 0x70;
const s = 0x73;

/** Returns the number of a name in a message. */
function numberOf(bytes: Buffer, start: number, end: number): number {
  const length = end - start;
  const first = lowerOf[bytes[start]!];
  if (length < byLength.length) {
    const candidates = byLength[length]!;
    for (let i = 0; i < candidates.length; i += 1) {
      const { name, number } = candidates[i]!;
      if (name.charCodeAt(0) === first && spells(bytes, start, end, name)) return number;
    }
  }
  if (first === p && length >= 6 && spells(bytes, start, start + 6, 'proxy-')) return known['proxy-'];
  if (first === s && length >= 8 && spells(bytes, start, start + 8, 'sidekey-')) return known['sidekey-'];
  return 0;
}

/** Returns the number of a name in lower case. */
export function numberOfText(name: string): number {
  const first = name.charCodeAt(0);
  if (name.length < byLength.length) {
    const candidates = byLength[name.length]!;
    for (let i = 0; i < candidates.length; i += 1) {
      const candidate = candidates[i]!;
      if (candidate.name.charCodeAt(0) === first && candidate.name === name) return candidate.number;
    }
  }
  if (first === p && name.startsWith('proxy-')) return known['proxy-'];
  return first === s && name.startsWith('sidekey-') ? known['sidekey-'] : 0;
}

/** Reports whether a number means exactly one name. */
export function isOneName(number: number): boolean {
  return number !== 0 && number < known['proxy-'];
}

/** Returns the numbers of all names with this prefix: of the family, and of its known members. */
export function numbersOfFamily(family: (typeof families)[number]): readonly number[] {
  return [
    known[family],
    ...[...numbers].filter(([name]) => name.startsWith(family)).map(([, number]) => number),
  ];
}

/** Byte values, and the classes of bytes that a part of a message may contain. */

export const HT = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const ZERO = 0x30;
const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const BACKSLASH = 0x5c;
const DEL = 0x7f;

/** Bytes of a token (RFC 9110 §5.6.2): methods, field names, names of chunk extensions. */
export const inToken = 1;
/** Bytes of a field value (RFC 9110 §5.5) with its blanks, a reason phrase, or quoted text. */
export const inValue = 2;
/** Bytes of a request target: visible ASCII except `#`: a target has no fragment (RFC 9112 §3.2). */
export const inTarget = 4;
/** Bytes of a token, except lower-case letters. */
export const inMethod = 8;

/** Flags of each byte. */
export const kindOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  let kinds = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(text)) kinds |= inToken;
  if (/[!#$%&'*+\-.^_`|~0-9A-Z]/.test(text)) kinds |= inMethod;
  if (/[\t\x20-\x7e\x80-\xff]/.test(text)) kinds |= inValue;
  if (/[\x21\x22\x24-\x7e]/.test(text)) kinds |= inTarget;
  return kinds;
});

/** ASCII letters in lower case, all other bytes unchanged. */
const lowerOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

/** The value of a hex digit. 16: not a hex digit. */
export const hexOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  return /[0-9A-Fa-f]/.test(text) ? Number.parseInt(text, 16) : 16;
});

/** Reports whether bytes spell a word, ignoring case. `word` in lower case. */
export function spells(bytes: Buffer, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i += 1) {
    if (lowerOf[bytes[start + i]!] !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** Returns the end of a run of bytes of one kind. */
export function endOfRun(bytes: Buffer, at: number, stop: number, kind: number): number {
  while (at < stop && (kindOf[bytes[at]!]! & kind) !== 0) at += 1;
  return at;
}

/** Like `endOfRun` for `inValue`, with comparisons: faster than look-ups for the bulk of a head. */
export function endOfValue(bytes: Buffer, at: number, stop: number): number {
  for (; at < stop; at += 1) {
    const byte = bytes[at]!;
    if ((byte < SP && byte !== HT) || byte === DEL) break;
  }
  return at;
}
