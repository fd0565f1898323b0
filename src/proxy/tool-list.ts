import { type RawFields, valuesOf } from './http/fields.ts';
import type { Reply } from './http/message.ts';
import { decodedFields, type GuardOwner, type ReplySink } from './leak-guard/response.ts';
import { SidekeyError } from '../lib/errors.ts';
import { mediaTypeOf } from './policy/text.ts';
import { EventRewriter, withoutTools } from './policy/tools.ts';

/** Maximum bytes of a list of tools, or of one event. */
const maxListBytes = 16_777_216;

/** Removes forbidden tools from an answer to `tools/list`. Refuses an answer that it cannot read. */
export class ToolListReply implements ReplySink {
  readonly #reply: Reply;
  readonly #owner: GuardOwner;
  readonly #isStream: boolean;
  readonly #isListed: (tool: string) => boolean;
  /** Rewriter of the event stream; null: the answer is not an event stream. */
  #events: EventRewriter | null = null;
  /** An answer in JSON, which is sent when it is complete; null: the answer is not held. */
  #held: { readonly pieces: Buffer[]; readonly begin: (isEmpty: boolean) => void } | null = null;
  #bytes = 0;

  /** @param isStream true for a `GET`: only a stream of events has lists */
  constructor(reply: Reply, owner: GuardOwner, isStream: boolean, isListed: (tool: string) => boolean) {
    this.#reply = reply;
    this.#owner = owner;
    this.#isStream = isStream;
    this.#isListed = isListed;
  }

  get gone(): Reply['gone'] {
    return this.#reply.gone;
  }

  head(status: number, reason: string, fields: RawFields): void {
    const written = valuesOf(fields, 'content-type').join();
    const type = mediaTypeOf(written);
    const hasEvents = /event-stream/i.test(written);
    // An error page has no list.
    const isHeld = !hasEvents && !this.#isStream && (status < 300 || /json/i.test(written));
    const isCoded = valuesOf(fields, 'content-encoding').some((name) => name.toLowerCase() !== 'identity');
    if (!hasEvents && !isHeld) this.#reply.head(status, reason, fields);
    else if (isCoded) this.#refuse('is compressed');
    else if (hasEvents ? type !== 'text/event-stream' : type === null && written !== '') {
      this.#refuse('has a Content-Type that programs may read in different ways');
    } else if (isHeld) {
      const begin = (isEmpty: boolean) =>
        this.#reply.head(status, reason, isEmpty ? fields : decodedFields(fields));
      this.#held = { pieces: [], begin };
    } else {
      this.#events = new EventRewriter((data) => withoutTools(data, this.#isListed));
      this.#reply.head(status, reason, decodedFields(fields));
    }
  }

  write(piece: Buffer): boolean {
    if (this.#held !== null) {
      this.#held.pieces.push(Buffer.from(piece));
      this.#bytes += piece.length;
      return this.#isWithin(this.#bytes);
    }
    if (this.#events === null) return this.#reply.write(piece);
    return this.#sendEvents(this.#events.push(piece.toString('latin1'))) && this.#isWithin(this.#events.held);
  }

  onDrain(listener: () => void): void {
    this.#reply.onDrain(listener);
  }

  end(trailers: RawFields, flushed?: () => void): void {
    if (this.#events !== null) this.#sendEvents(this.#events.end());
    if (this.#held !== null) {
      const whole = Buffer.concat(this.#held.pieces);
      const text = whole.length === 0 ? '' : withoutTools(whole, this.#isListed);
      if (text === null) this.#refuse();
      else {
        this.#held.begin(text === '');
        this.#send(Buffer.from(text));
      }
    }
    if (!this.#owner.isOver) this.#reply.end(trailers, flushed);
  }

  abort(): void {
    this.#reply.abort();
  }

  #sendEvents(events: string | null): boolean {
    if (events === null) this.#refuse();
    return events !== null && this.#send(Buffer.from(events, 'latin1'));
  }

  #send(bytes: Buffer): boolean {
    return bytes.length === 0 || this.#reply.write(bytes);
  }

  #isWithin(bytes: number): boolean {
    if (bytes > maxListBytes) this.#refuse(`has more than ${maxListBytes} bytes`);
    return bytes <= maxListBytes;
  }

  #refuse(why = 'has JSON that programs may read in different ways'): void {
    const sentence = `The rules limit tools, and the answer of the server ${why}, so its list cannot be limited.`;
    const hint = 'call a tool by its name; the rules of the domain decide on each call';
    this.#owner.stop(new SidekeyError('upstream_protocol', sentence, { hint }));
  }
}
