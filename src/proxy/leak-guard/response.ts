import type { Transform } from 'node:stream';
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib';
import { type RawFields, valuesOf } from '../http/fields.ts';
import type { Meter, Reply } from '../http/message.ts';
import { contentCodings, maxCodings } from '../../lib/content-coding.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type LeakSearch, isCovered } from '../policy/domain-map.ts';
import { type GuardedSecrets, type Matcher, matcherFor } from './patterns.ts';
import { GrpcRedactor, Redactor, redactText } from './redactor.ts';

/** The receiver of a final response. */
export type ReplySink = Pick<Reply, 'head' | 'write' | 'onDrain' | 'end' | 'abort'>;

/** An exchange whose responses are guarded. */
export interface GuardedExchange {
  readonly reply: ReplySink & Pick<Reply, 'gone'>;
  readonly search: LeakSearch | null | undefined;
  readonly secrets: GuardedSecrets | undefined;
  readonly meter: Pick<Meter, 'addLeaks'>;
  /** Returns an error if this many bytes of a body must not be forwarded, otherwise null. */
  readonly overBound: (bytes: number) => SidekeyError | null;
}

/** The owner of a response, which can stop it. */
export interface GuardOwner {
  readonly isOver: boolean;
  stop(why: SidekeyError): void;
}

/** Returns the receiver of a response with this status: the reply, or a guard before it. */
export function guardReply(exchange: GuardedExchange, status: number, owner: GuardOwner): ReplySink {
  const matcher = matcherOf(exchange, status);
  return matcher === null ? exchange.reply : new GuardedReply(exchange, matcher, owner);
}

/** Masks the leaks in the fields of an interim response or a 101. */
export function guardFields(
  exchange: Omit<GuardedExchange, 'reply' | 'overBound'>,
  status: number,
  fields: RawFields,
): RawFields {
  const matcher = matcherOf(exchange, status);
  if (matcher === null) return fields;
  const { kept, found } = redactFields(matcher, fields);
  exchange.meter.addLeaks(found);
  return kept;
}

/** Returns the automaton for a response with this status, or null if it is not searched. */
function matcherOf(
  { search, secrets }: Pick<GuardedExchange, 'search' | 'secrets'>,
  status: number,
): Matcher | null {
  if (search === null || search === undefined || secrets === undefined) return null;
  return isCovered(search, status) ? matcherFor(secrets) : null;
}

/** Searches a response for the credential before forwarding it. Refuses an unsearchable response. */
class GuardedReply implements ReplySink {
  readonly #reply: GuardedExchange['reply'];
  readonly #exchange: GuardedExchange;
  readonly #owner: GuardOwner;
  readonly #matcher: Matcher;
  #redactor: Redactor | GrpcRedactor;
  readonly #refuses: boolean;
  /** Sends the head. If leaks are refused, waits for the first byte, so that a refusal can still be sent. */
  #begin: (() => void) | null = null;
  #codings: readonly string[] = [];
  #decoder: Decoder | null = null;
  #decodedBytes = 0;
  #told = 0;

  constructor(exchange: GuardedExchange, matcher: Matcher, owner: GuardOwner) {
    this.#exchange = exchange;
    this.#reply = exchange.reply;
    this.#owner = owner;
    this.#matcher = matcher;
    this.#redactor = new Redactor(matcher);
    this.#refuses = exchange.search?.onLeak === 'refuse';
  }

  head(status: number, reason: string, fields: RawFields): void {
    const codings = codingsOf(valuesOf(fields, 'content-encoding'));
    if (isPart(status, fields)) {
      this.#owner.stop(
        notSearchable('only a part of a body, and the credential may go on in another', ofWhole),
      );
      return;
    }
    const unreadable = unreadableBy(fields, codings);
    if (codings === null || unreadable !== null) {
      this.#owner.stop(notSearchable(unreadable ?? 'a content coding that is not known here'));
      return;
    }
    this.#codings = codings;
    if (valuesOf(fields, 'content-type').some((type) => /^application\/grpc(?!-web-text)/i.test(type.trim())))
      this.#redactor = new GrpcRedactor(this.#matcher);
    const words = redactText(this.#matcher, reason);
    const { kept, found } = redactFields(this.#matcher, fields);
    if (!this.#mayForward(found + (words === reason ? 0 : 1))) return;
    const sent = codings.length === 0 ? kept : decodedFields(kept);
    this.#begin = () => {
      this.#begin = null;
      this.#reply.head(status, words, sent);
    };
    if (!this.#refuses) this.#begin();
  }

  write(piece: Buffer): boolean {
    if (this.#codings.length === 0) return this.#forward(piece);
    return this.#decoderOf().write(piece);
  }

  onDrain(listener: () => void): void {
    if (this.#decoder === null) this.#reply.onDrain(listener);
    else this.#decoder.onDrain(listener);
  }

  end(trailers: RawFields, flushed?: () => void): void {
    this.#flushed = () => this.#finish(trailers, flushed);
    if (this.#decoder === null) this.#flushed();
    else this.#decoder.end();
  }

  abort(): void {
    this.#decoder?.destroy();
    if (!this.#owner.isOver) this.#reply.abort();
  }

  /** The work to do when the body is complete. */
  #flushed: () => void = () => {};

  /** Creates the decoder at the first byte: an empty body has no coding. */
  #decoderOf(): Decoder {
    if (this.#decoder !== null) return this.#decoder;
    const decoder = createDecoder(this.#codings, {
      decoded: (piece) =>
        this.#guarding(() => {
          this.#decodedBytes += piece.length;
          const over = this.#exchange.overBound(this.#decodedBytes);
          if (over !== null) this.#stop(over);
          else if (!this.#forward(piece)) {
            decoder.pause();
            this.#reply.onDrain(() => decoder.resume());
          }
        }),
      ended: () => this.#guarding(() => this.#flushed()),
      failed: () => this.#stop(notSearchable('a body that is not what its content coding says')),
    });
    this.#decoder = decoder;
    this.#reply.gone.listen(() => decoder.destroy());
    return decoder;
  }

  /** Runs a callback of the decoder. No other code would catch its errors. */
  #guarding(act: () => void): void {
    if (this.#owner.isOver) {
      this.#decoder?.destroy();
      return;
    }
    try {
      act();
    } catch (cause) {
      this.#stop(cause instanceof SidekeyError ? cause : new SidekeyError('internal', undefined, { cause }));
    }
  }

  /** Forwards a piece with its leaks masked. Returns false if the caller must wait for `onDrain`. */
  #forward(piece: Buffer): boolean {
    const pieces = this.#redactor.push(piece);
    return !this.#mayForward(0) || this.#pass(pieces);
  }

  #pass(pieces: readonly Buffer[]): boolean {
    let isTaken = true;
    for (const piece of pieces) {
      if (piece.length === 0 || this.#owner.isOver) continue;
      this.#begin?.();
      isTaken = this.#reply.write(piece) && isTaken;
    }
    return isTaken;
  }

  #finish(trailers: RawFields, flushed: (() => void) | undefined): void {
    const rest = this.#redactor.end();
    const { kept, found } = redactFields(this.#matcher, trailers);
    if (!this.#mayForward(found)) return;
    this.#pass(rest);
    if (this.#owner.isOver) return;
    this.#begin?.();
    this.#reply.end(kept, flushed);
  }

  /** Counts the leaks found. Returns false if the response is refused for them. */
  #mayForward(inHead: number): boolean {
    const newLeaks = inHead + this.#redactor.found - this.#told;
    if (newLeaks === 0) return true;
    this.#told = this.#redactor.found;
    this.#exchange.meter.addLeaks(newLeaks);
    if (this.#owner.isOver) return false;
    if (this.#refuses) this.#stop(credentialLeaked());
    return !this.#refuses;
  }

  #stop(why: SidekeyError): void {
    this.#decoder?.destroy();
    this.#owner.stop(why);
  }
}

const ofWhole = 'ask for the whole body, without Range';

/**
 * Reports whether a body is a piece (RFC 9110 §14.4) or a delta (RFC 3229). The secret may go on in the next.
 */
function isPart(status: number, fields: RawFields): boolean {
  return (
    status === 206 ||
    status === 226 ||
    valuesOf(fields, 'content-range').some((value) => /^\s*bytes\s*=?\s*\d/i.test(value)) ||
    valuesOf(fields, 'content-type').some((type) => /multipart\/byteranges/i.test(type)) ||
    valuesOf(fields, 'im').length > 0
  );
}

/** Returns the reason that the body of a response cannot be searched, or null. */
function unreadableBy(fields: RawFields, codings: readonly string[] | null): string | null {
  if (codings === null) return 'a content coding that is not known here, or too many';
  const ofMessages = valuesOf(fields, 'grpc-encoding').some((value) => value.toLowerCase() !== 'identity');
  return ofMessages ? 'messages that are compressed one by one (grpc-encoding)' : null;
}

/** Fields that describe the coded body, in lower case. */
const ofCoded = new Set([
  'content-encoding',
  'content-length',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
  'accept-ranges',
]);

/** Returns the fields of a decoded response. Its `ETag` becomes weak (RFC 9110 §8.8.1). */
export function decodedFields(fields: RawFields): RawFields {
  const remaining: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    if (ofCoded.has(name)) continue;
    remaining.push(fields[i]!, name === 'etag' && !value.startsWith('W/') ? `W/${value}` : value);
  }
  return remaining;
}

function redactFields(
  matcher: Matcher,
  fields: RawFields,
): { readonly kept: RawFields; readonly found: number } {
  let kept: string[] | null = null;
  let found = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // A masked name would be a field that nobody sent.
    const isNamed = redactText(matcher, name) !== name;
    const shown = redactText(matcher, value);
    if (isNamed || shown !== value) {
      found += 1;
      kept ??= fields.slice(0, i);
    }
    if (!isNamed) kept?.push(name, shown);
  }
  return { kept: kept ?? fields, found };
}

function credentialLeaked(): SidekeyError {
  return new SidekeyError('credential_leaked', 'The response shows the credential, and goes no further.', {
    hint: 'ask for something else, or set leak_guard: redact on the domain',
  });
}

function notSearchable(what: string, step = 'ask for it without compression'): SidekeyError {
  const sentence = `The response cannot be looked into for the credential: it has ${what}.`;
  return new SidekeyError('upstream_protocol', sentence, {
    hint: `${step}, or set leak_guard: off on the domain if its responses cannot contain the credential`,
  });
}

/** A decoder of content codings, with flow control on both sides. */
type Decoder = ReturnType<typeof createDecoder>;

/** The receiver of decoded bytes. Receives no call after `failed`. */
interface DecoderSink {
  decoded(piece: Buffer): void;
  ended(): void;
  /** The body is malformed or truncated, or expands too much. */
  failed(error: Error): void;
}

/** A body may expand to `plainBytes`, and beyond that to `maxRatio` times its size. */
const plainBytes = 16_777_216;
const maxRatio = 200;

const makers: Readonly<Record<string, () => Transform>> = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  deflate: () => createInflate(),
  br: () => createBrotliDecompress(),
  // RFC 9659 §3: a window of at most 8 MB.
  zstd: () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } }),
};

/**
 * Returns the codings of `Content-Encoding` in the order of their application, without `identity`. Null: too
 * many codings, or an unknown one.
 */
function codingsOf(values: readonly string[]): readonly string[] | null {
  const codings = contentCodings(values);
  const isKnown = codings.every((coding) => Object.hasOwn(makers, coding));
  return isKnown && codings.length <= maxCodings ? codings : null;
}

/** Creates a decoder. @param codings at least one, as `codingsOf` returns them */
function createDecoder(codings: readonly string[], sink: DecoderSink) {
  const stages = codings.toReversed().map((coding) => makers[coding]!());
  const first = stages[0]!;
  const last = stages.at(-1)!;
  let bytesIn = 0;
  let bytesOut = 0;
  let isOver = false;
  const destroy = (): void => {
    isOver = true;
    for (const stage of stages) stage.destroy();
  };
  const fail = (error: Error): void => {
    if (isOver) return;
    destroy();
    sink.failed(error);
  };
  for (const [index, stage] of stages.entries()) {
    stage.on('error', fail);
    if (index > 0) stages[index - 1]!.pipe(stage);
  }
  last.on('data', (piece: Buffer) => {
    if (isOver) return;
    bytesOut += piece.length;
    if (bytesOut > plainBytes && bytesOut > bytesIn * maxRatio) fail(new Error('the body expands too much'));
    else sink.decoded(piece);
  });
  last.once('end', () => {
    if (isOver) return;
    isOver = true;
    sink.ended();
  });
  return {
    /** Returns false if the caller must wait for `onDrain`. */
    write(piece: Buffer): boolean {
      bytesIn += piece.length;
      return isOver || first.write(piece);
    },
    onDrain: (listener: () => void) => void first.once('drain', listener),
    /** Ends the input. */
    end: () => void (isOver || first.end()),
    pause: () => void last.pause(),
    resume: () => void last.resume(),
    destroy,
  };
}
