import { SidekeyError } from '../../errors.ts';
import type { RawFields } from '../fields.ts';
import { hasResponseBody } from '../framing.ts';
import { Malformed } from '../h1/faults.ts';
import { responsePlan } from '../h1/framing.ts';
import { fieldLines, headBytes } from '../h1/head-writer.ts';
import type { NameSet } from '../h1/name-set.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';

/** How the body of a response is framed for its client. `close`: it ends with the connection. */
export type ReplyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

const noFields: RawFields = [];
const none: ReplyFraming = { kind: 'none' };
const chunked: ReplyFraming = { kind: 'chunked' };
const close: ReplyFraming = { kind: 'close' };

/** What is to be written, and to whom. */
export interface FinalHead {
  readonly status: number;
  readonly reason: string;
  /** End to end: without fields of the connection and without `Transfer-Encoding`. */
  readonly fields: RawFields;
  /** Of the request that is answered. */
  readonly method: string;
  readonly version: '1.0' | '1.1';
}

/**
 * How the response is framed: as its length says, in chunks, or by the end of the connection for a client of HTTP/1.0.
 *
 * @throws SidekeyError `upstream_protocol` where its length can be read in more than one way
 */
export function replyFraming({ status, fields, method, version }: FinalHead): ReplyFraming {
  if (!hasResponseBody(method, status)) return none;
  let length: string | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    if (!isNamed(fields[i]!, 'content-length')) continue;
    if (length !== null) throw ambiguous();
    length = fields[i + 1]!;
  }
  if (length === null) return version === '1.1' ? chunked : close;
  if (!/^[0-9]{1,15}$/.test(length)) throw ambiguous();
  return { kind: 'length', bytes: Number(length) };
}

/**
 * The head as text, a character a byte.
 *
 * @param connection lines of the fields that concern the connection, as `lastLines` and `keptLines` have them
 * @throws SidekeyError `policy_violation` where a field would be more than one line: it would be taken for a response
 */
export function finalHead(head: FinalHead, framing: ReplyFraming, connection: string): string {
  const { status, reason } = head;
  const isChunked = framing.kind === 'chunked';
  const lines = fieldLines(isChunked ? head.fields : withoutTrailer(head.fields));
  const coding = isChunked ? 'Transfer-Encoding: chunked\r\n' : '';
  return `HTTP/1.1 ${status} ${printable(reason)}\r\n${lines}${connection}${coding}\r\n`;
}

/**
 * As `replyFraming`, of a head that was read and may go on byte by byte. Null: it has to be written anew, since its body is
 * framed otherwise for the client, or it announces one that it does not have.
 */
export function passedFraming(
  head: ResponseHeadBytes,
  method: string,
  version: FinalHead['version'],
): ReplyFraming | null {
  const plan = responsePlan(head, method);
  if (plan instanceof Malformed) return null;
  if (plan.kind === 'length') return head.has('trailer') ? null : plan;
  return plan.kind === 'chunked' && version === '1.1' ? chunked : null;
}

/** How such a head goes on; see `finalHead`. */
export function passedHead(
  head: ResponseHeadBytes,
  drop: NameSet,
  connection: string,
  added: RawFields = noFields,
): Buffer {
  const lines = added.length === 0 ? connection : `${fieldLines(added)}${connection}`;
  if (head.version === '1.1') return headBytes(head, { drop, lines });
  return headBytes(head, { line: `HTTP/1.1 ${head.status} ${head.reason}`, drop, lines });
}

/** Of a connection that ends with its response. */
export const lastLines = 'Connection: close\r\n';

/** Of one that stays, and is closed when nothing is asked for so many milliseconds. */
export function keptLines(idleMs: number): string {
  if (idleMs !== kept.idleMs)
    kept = {
      idleMs,
      lines: `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(idleMs / 1_000)}\r\n`,
    };
  return kept.lines;
}

/** The last that was asked for: it changes with the config alone. */
let kept = { idleMs: -1, lines: '' };

/** Interim statuses that clients know, and their names. 100 and 101 are answers of the proxy's own. */
const interim: ReadonlyMap<number, string> = new Map([
  [102, 'Processing'],
  [103, 'Early Hints'],
]);

/** The head of an interim response; null: clients do not know it. It has no body, and announces none. */
export function interimHead(status: number, fields: RawFields): string | null {
  const reason = interim.get(status);
  if (reason === undefined) return null;
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(without(without(fields, 'content-length'), 'trailer'))}\r\n`;
}

/** A response announces no trailers that it cannot have. */
function withoutTrailer(fields: RawFields): RawFields {
  for (let i = 0; i < fields.length; i += 2) {
    if (isNamed(fields[i]!, 'trailer')) return without(fields, 'trailer');
  }
  return fields;
}

function without(fields: RawFields, name: string): RawFields {
  return fields.filter((_text, i) => !isNamed(fields[i - (i % 2)]!, name));
}

function isNamed(field: string, name: string): boolean {
  return field.length === name.length && field.toLowerCase() === name;
}

/** A reason phrase is a courtesy: what does not belong in one is left out. */
function printable(reason: string): string {
  return reason.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?');
}

function ambiguous(): SidekeyError {
  return new SidekeyError('upstream_protocol', 'The response has no single, plain Content-Length.');
}
