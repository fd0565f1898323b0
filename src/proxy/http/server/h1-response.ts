import { SidekeyError } from '../../../lib/errors.ts';
import type { WriteBuffer } from '../../../lib/write-buffer.ts';
import type { RawFields } from '../fields.ts';
import { hasResponseBody, responseFraming } from '../framing.ts';
import { Malformed } from '../h1/scan.ts';
import { addHead, chunkEnd, chunkStart, fieldLines, type HeadEdit, lastChunk } from '../h1/write.ts';
import { NameSet, type RequestHeadBytes, type ResponseHeadBytes } from '../head.ts';
import { createGone, type Gone, type Reply } from '../message.ts';

/** The connection that a reply is written to. */
export interface ReplyLine {
  readonly outbox: WriteBuffer;
  /** Returns the lines of the `Connection` fields. */
  connectionLines(isLast: boolean): string;
  /** True if the connection ends with this response in any case. Read when the head is written. */
  readonly endsAnyway: boolean;
  /** True if the client has ended its side. */
  readonly hasEnded: boolean;
  /** True if the write buffer is full, so that optional output is omitted. */
  readonly isFull: boolean;
  /** Stops reading requests. */
  takeNoMore(): void;
  /** Ends the connection after the written bytes. */
  hangUp(): void;
  onDrain(listener: () => void): void;
  /** Cuts the connection. `isPlainEnd`: a plain end would complete the response. */
  cut(isPlainEnd: boolean): void;
}

/** The reply to an HTTP/1.1 request. */
export class ClientReply implements Reply {
  readonly copies = true as const;
  started = false;
  /** True if the whole response was written. */
  ended = false;
  readonly gone = createGone();
  /** True if a client that ends its side counts as gone. */
  isHeld = false;
  readonly #line: ReplyLine;
  readonly #head: RequestHeadBytes;
  /** True if the client waits for `100 Continue` before it sends its body. */
  #expectsContinue: boolean;
  #isLast = false;
  #framing: ReplyFraming = none;
  /** Remaining bytes of a response with a length. */
  #left = 0;

  constructor(line: ReplyLine, head: RequestHeadBytes, expectsContinue: boolean) {
    this.#line = line;
    this.#head = head;
    this.#expectsContinue = expectsContinue;
  }

  hold(): Gone {
    this.isHeld = true;
    if (this.#line.hasEnded) this.gone.tell();
    return this.gone;
  }

  get expectsContinue(): boolean {
    return this.#expectsContinue;
  }

  continue(isSending = false): void {
    if (this.#expectsContinue && !this.started && !isSending) {
      this.#line.outbox.add('HTTP/1.1 100 Continue\r\n\r\n');
      this.#line.outbox.flush();
    }
    this.#expectsContinue = false;
  }

  informational(status: number, fields: RawFields): void {
    // Optional (RFC 9110 §15.2). An upstream may send any number, to a client that does not read.
    if (this.started || this.#head.version === '1.0' || this.#line.isFull) return;
    const text = interimHead(status, fields);
    if (text !== null) this.#line.outbox.add(text);
  }

  closeAfter(): void {
    this.#isLast = true;
    this.#line.takeNoMore();
  }

  head(status: number, reason: string, fields: RawFields): void {
    const { method, version } = this.#head;
    const head = { status, reason, fields, method, version };
    const framing = replyFraming(head);
    const isLast = this.#endsWith(framing);
    this.#line.outbox.add(finalHead(head, framing, this.#line.connectionLines(isLast)));
    this.#begun(framing, isLast);
  }

  forwardHead(head: ResponseHeadBytes, drop: NameSet, added?: RawFields): boolean {
    const { method, version } = this.#head;
    const framing = passedFraming(head, method, version);
    if (framing === null) return false;
    const isLast = this.#endsWith(framing);
    addHead(this.#line.outbox, head, editOf(head, drop, this.#line.connectionLines(isLast), added));
    this.#begun(framing, isLast);
    return true;
  }

  /** Reports whether the connection ends with this response. */
  #endsWith({ kind }: ReplyFraming): boolean {
    // Without a 100, the client may or may not send its body: the next bytes are ambiguous.
    return this.#isLast || this.#expectsContinue || kind === 'close' || this.#line.endsAnyway;
  }

  #begun(framing: ReplyFraming, isLast: boolean): void {
    this.started = true;
    this.#framing = framing;
    if (framing.kind === 'length') this.#left = framing.bytes;
    if (isLast) this.closeAfter();
  }

  write(chunk: Buffer): boolean {
    return this.writePart(chunk, 0, chunk.length);
  }

  writePart(bytes: Buffer, start: number, end: number): boolean {
    const { kind } = this.#framing;
    const { outbox } = this.#line;
    const size = end - start;
    if (size === 0 || kind === 'none' || this.ended) return true;
    if (kind === 'chunked') {
      outbox.add(chunkStart(size));
      outbox.addPart(bytes, start, end);
      return outbox.add(chunkEnd);
    }
    if (kind === 'length') {
      // The client would read bytes beyond the length as another response.
      if (size > this.#left) {
        this.abort();
        return true;
      }
      this.#left -= size;
    }
    return outbox.addPart(bytes, start, end);
  }

  onDrain(listener: () => void): void {
    this.#line.onDrain(listener);
  }

  end(trailers: RawFields, flushed?: () => void): void {
    if (this.ended) return;
    if (!this.started || this.#left > 0) {
      this.abort();
      return;
    }
    const { outbox } = this.#line;
    if (this.#framing.kind === 'chunked') {
      outbox.add(trailers.length === 0 ? lastChunk : `0\r\n${fieldLines(trailers)}\r\n`);
    }
    this.ended = true;
    outbox.flush();
    if (this.#isLast) this.#line.hangUp();
    if (flushed !== undefined) outbox.whenTaken(flushed);
  }

  abort(): void {
    this.ended = true;
    this.#line.cut(this.#framing.kind === 'close');
  }
}

/** The framing of a response body for the client. `close`: the body ends with the connection. */
type ReplyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

const noFields: RawFields = [];
const none: ReplyFraming = { kind: 'none' };
const chunked: ReplyFraming = { kind: 'chunked' };
const close: ReplyFraming = { kind: 'close' };

/** A final head to write. */
export interface FinalHead {
  readonly status: number;
  readonly reason: string;
  /** End-to-end fields, without `Transfer-Encoding`. */
  readonly fields: RawFields;
  /** The method of the request. */
  readonly method: string;
  readonly version: '1.0' | '1.1';
}

/**
 * Returns the framing of a response: its length, chunks, or the end of the connection for HTTP/1.0.
 *
 * @throws SidekeyError `upstream_protocol` if its length is ambiguous
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
 * Returns the head as latin1 text.
 *
 * @param connection lines of the connection fields, such as `lastLines` and `keptLines`
 * @throws SidekeyError `policy_violation` if a field has a line break: it could pass for a response
 */
export function finalHead(head: FinalHead, framing: ReplyFraming, connection: string): string {
  const { status, reason } = head;
  const isChunked = framing.kind === 'chunked';
  const lines = fieldLines(isChunked ? head.fields : withoutTrailer(head.fields));
  const coding = isChunked ? 'Transfer-Encoding: chunked\r\n' : '';
  // Other characters are invalid in a reason phrase.
  return `HTTP/1.1 ${status} ${reason.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?')}\r\n${lines}${connection}${coding}\r\n`;
}

/**
 * Returns the framing of a head that can be forwarded unchanged. Null: the client needs another framing, or
 * the head announces a body that it does not have.
 */
function passedFraming(
  head: ResponseHeadBytes,
  method: string,
  version: FinalHead['version'],
): ReplyFraming | null {
  const framing = responseFraming(head, method);
  if (framing instanceof Malformed) return null;
  if (framing.kind === 'length') return head.has('trailer') ? null : framing;
  return framing.kind === 'chunked' && version === '1.1' ? chunked : null;
}

/** Returns the changes to a forwarded head; see `finalHead`. */
function editOf(
  head: ResponseHeadBytes,
  drop: NameSet,
  connection: string,
  added: RawFields = noFields,
): HeadEdit {
  const lines = added.length === 0 ? connection : `${fieldLines(added)}${connection}`;
  if (head.version !== '1.1') return { line: `HTTP/1.1 ${head.status} ${head.reason}`, drop, lines };
  if (lastEdit.drop !== drop || lastEdit.lines !== lines) lastEdit = { drop, lines };
  return lastEdit;
}

/** The last result. Most responses have the same changes. */
let lastEdit: HeadEdit = { drop: new NameSet([]), lines: '' };

/** The `Connection` line of the last response. */
export const lastLines = 'Connection: close\r\n';

/** Returns the `Connection` lines of a connection that stays open for `idleMs` milliseconds. */
export function keptLines(idleMs: number): string {
  if (idleMs !== keepAlive.idleMs)
    keepAlive = {
      idleMs,
      lines: `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(idleMs / 1_000)}\r\n`,
    };
  return keepAlive.lines;
}

/** The last result. It changes only with the config. */
let keepAlive = { idleMs: -1, lines: '' };

/** The interim statuses that are forwarded. The proxy itself sends 100 and 101. */
const interim: ReadonlyMap<number, string> = new Map([
  [102, 'Processing'],
  [103, 'Early Hints'],
]);

/** Returns the head of an interim response, without announcements of a body, or null for other statuses. */
export function interimHead(status: number, fields: RawFields): string | null {
  const reason = interim.get(status);
  if (reason === undefined) return null;
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(without(without(fields, 'content-length'), 'trailer'))}\r\n`;
}

/** Removes `Trailer` from a response that cannot have trailers. */
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

function ambiguous(): SidekeyError {
  return new SidekeyError('upstream_protocol', 'The response has no single, plain Content-Length.');
}
