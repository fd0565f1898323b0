import { type RawFields, valuesOf } from '../http/fields.ts';
import type { Reply } from '../http/message.ts';
import { decodedFields, type GuardOwner, type ReplySink } from '../leak-guard/response.ts';
import { SidekeyError } from '../lib/errors.ts';
import { jsonType, mediaTypeOf } from '../policy/text.ts';
import { EventRewriter, withoutTools } from '../policy/tools.ts';

/** Maximum bytes of a list of tools, or of one event. */
const maxListBytes = 16_777_216;

/** Removes the tools that may not be called from an answer to `tools/list`. An answer that it cannot read is refused. */
export class ToolListReply implements ReplySink {
  readonly #reply: Reply;
  readonly #owner: GuardOwner;
  readonly #isListed: (tool: string) => boolean;
  /** Null: the answer has another media type. */
  #events: EventRewriter | null = null;
  /** The pieces of a JSON answer, which is sent when it is complete; null: it is no JSON. */
  #pieces: Buffer[] | null = null;
  #bytes = 0;

  constructor(reply: Reply, owner: GuardOwner, isListed: (tool: string) => boolean) {
    this.#reply = reply;
    this.#owner = owner;
    this.#isListed = isListed;
  }

  get gone(): Reply['gone'] {
    return this.#reply.gone;
  }

  head(status: number, reason: string, fields: RawFields): void {
    const type = mediaTypeOf(valuesOf(fields, 'content-type').join()) ?? '';
    if (type === 'text/event-stream') {
      this.#events = new EventRewriter((data) => withoutTools(data, this.#isListed));
    } else if (jsonType.test(type)) this.#pieces = [];
    const isPlain = this.#events === null && this.#pieces === null;
    const isCoded = valuesOf(fields, 'content-encoding').some(
      (coding) => coding.toLowerCase() !== 'identity',
    );
    if (!isPlain && isCoded) this.#owner.stop(unreadable('is compressed, though that was not asked for'));
    else this.#reply.head(status, reason, isPlain ? fields : decodedFields(fields));
  }

  write(piece: Buffer): boolean {
    if (this.#pieces !== null) {
      this.#pieces.push(Buffer.from(piece));
      this.#bytes += piece.length;
      return this.#isWithin(this.#bytes);
    }
    if (this.#events === null) return this.#reply.write(piece);
    const events = this.#events.push(piece.toString('latin1'));
    return this.#isWithin(this.#events.held) && this.#send(Buffer.from(events, 'latin1'));
  }

  onDrain(listener: () => void): void {
    this.#reply.onDrain(listener);
  }

  end(trailers: RawFields, flushed?: () => void): void {
    if (this.#events !== null) this.#send(Buffer.from(this.#events.end(), 'latin1'));
    if (this.#pieces !== null) {
      const whole = Buffer.concat(this.#pieces);
      const text = withoutTools(whole.toString('utf8'), this.#isListed);
      this.#send(text === null ? whole : Buffer.from(text));
    }
    this.#reply.end(trailers, flushed);
  }

  abort(): void {
    this.#reply.abort();
  }

  #send(bytes: Buffer): boolean {
    return bytes.length === 0 || this.#reply.write(bytes);
  }

  #isWithin(bytes: number): boolean {
    if (bytes > maxListBytes) this.#owner.stop(unreadable(`has more than ${maxListBytes} bytes`));
    return bytes <= maxListBytes;
  }
}

function unreadable(why: string): SidekeyError {
  return new SidekeyError('upstream_protocol', `The list of tools cannot be read: it ${why}.`, {
    hint: 'call a tool by its name; the rules of the domain decide on each call',
  });
}
