import type { Gone } from '../../gone.ts';
import type { Outbox } from '../../outbox.ts';
import type { RawFields } from '../fields.ts';
import { createGone } from '../gone.ts';
import { chunkEnd, chunkStart, lastChunk } from '../h1/chunk-writer.ts';
import { fieldLines } from '../h1/head-writer.ts';
import type { RequestHeadBytes } from '../h1/request-head.ts';
import type { Reply } from '../message.ts';
import type { NameSet } from '../h1/name-set.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import {
  finalHead,
  interimHead,
  passedFraming,
  passedHead,
  replyFraming,
  type ReplyFraming,
} from './reply-head.ts';

/** What a reply needs of the connection that it goes out on. */
export interface ReplyLine {
  readonly outbox: Outbox;
  /** Lines of the fields that concern the connection. */
  connectionLines(isLast: boolean): string;
  /** Asked at the head: whether the connection ends with this response in any case. */
  readonly endsAnyway: boolean;
  /** Whether the client has ended its side. */
  readonly hasEnded: boolean;
  /** Whether so much waits to be taken by the client that nothing is added that can be left out. */
  readonly isFull: boolean;
  /** No request is read any more. */
  takeNoMore(): void;
  /** Ends our side behind what was written, as the last of the connection. */
  hangUp(): void;
  onDrain(listener: () => void): void;
  /** Cuts the connection; `isPlainEnd`: a mere end would be taken for that of the response. */
  cut(isPlainEnd: boolean): void;
}

/** The response to one request, on its way to the client. */
export class ClientReply implements Reply {
  readonly copies = true as const;
  started = false;
  /** Whether it is complete, as far as was written. */
  ended = false;
  readonly gone = createGone();
  /** Whether a client that ends its side has left. */
  isHeld = false;
  readonly #line: ReplyLine;
  readonly #head: RequestHeadBytes;
  /** The client waits for `100 Continue` before it sends its body. */
  #waits: boolean;
  #isLast = false;
  #framing: ReplyFraming = { kind: 'none' };
  /** Of a response with a length: bytes that are still to be written. */
  #left = 0;

  constructor(line: ReplyLine, head: RequestHeadBytes, waitsToContinue: boolean) {
    this.#line = line;
    this.#head = head;
    this.#waits = waitsToContinue;
  }

  waiting(): Gone {
    this.isHeld = true;
    if (this.#line.hasEnded) this.gone.tell();
    return this.gone;
  }

  get waits(): boolean {
    return this.#waits;
  }

  continue(isSending = false): void {
    if (this.#waits && !this.started && !isSending) {
      this.#line.outbox.add('HTTP/1.1 100 Continue\r\n\r\n');
      this.#line.outbox.flush();
    }
    this.#waits = false;
  }

  informational(status: number, fields: RawFields): void {
    // A courtesy (RFC 9110 §15.2). An upstream may send any number of them, also to a client that reads none.
    if (this.started || this.#head.version === '1.0' || this.#line.isFull) return;
    const text = interimHead(status, fields);
    if (text !== null) this.#line.outbox.add(text);
  }

  last(): void {
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

  pass(head: ResponseHeadBytes, drop: NameSet, added?: RawFields): boolean {
    const { method, version } = this.#head;
    const framing = passedFraming(head, method, version);
    if (framing === null) return false;
    const isLast = this.#endsWith(framing);
    this.#line.outbox.add(passedHead(head, drop, this.#line.connectionLines(isLast), added));
    this.#begun(framing, isLast);
    return true;
  }

  /** Whether the connection ends with this response. */
  #endsWith({ kind }: ReplyFraming): boolean {
    // A client that waits for a 100 that did not come may or may not send its body: nobody knows what comes next.
    return this.#isLast || this.#waits || kind === 'close' || this.#line.endsAnyway;
  }

  #begun(framing: ReplyFraming, isLast: boolean): void {
    this.started = true;
    this.#framing = framing;
    if (framing.kind === 'length') this.#left = framing.bytes;
    if (isLast) this.last();
  }

  write(chunk: Buffer): boolean {
    const { kind } = this.#framing;
    const { outbox } = this.#line;
    if (chunk.length === 0 || kind === 'none' || this.ended) return true;
    if (kind === 'chunked') {
      outbox.add(chunkStart(chunk.length));
      outbox.add(chunk);
      return outbox.add(chunkEnd);
    }
    if (kind === 'length') {
      // What stands behind the length would be read as another response.
      if (chunk.length > this.#left) {
        this.abort();
        return true;
      }
      this.#left -= chunk.length;
    }
    return outbox.add(chunk);
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
