import { type RawFields, valuesOf } from '../http/fields.ts';
import type { Meter, Reply } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type EchoPlan, isCovered } from '../policy/leak-guard.ts';
import { codingsOf, createDecoder, type Decoder } from './decoder.ts';
import { type GuardedSecrets, type Matcher, matcherFor } from './matcher.ts';
import { GrpcRedactor, Redactor, redactText } from './redactor.ts';

/** What a final response is passed on into. */
export type ReplySink = Pick<Reply, 'head' | 'write' | 'onDrain' | 'end' | 'abort'>;

/** What is known of an exchange whose responses are guarded. */
export interface GuardedExchange {
  readonly reply: Reply;
  readonly plan: EchoPlan | null | undefined;
  readonly secrets: GuardedSecrets | undefined;
  readonly meter: Pick<Meter, 'echoed'>;
  /** Why so many bytes of a body may not go on; null: they may. */
  readonly overBound: (bytes: number) => SidekeyError | null;
}

/** Who is told that a response may not go on. */
interface GuardOwner {
  readonly isOver: boolean;
  stop(why: SidekeyError): void;
}

/** Where a response of this status goes: into the reply itself, unless it is looked at first. */
export function guarded(exchange: GuardedExchange, status: number, owner: GuardOwner): ReplySink {
  const { reply, plan, secrets } = exchange;
  if (plan === null || plan === undefined || secrets === undefined || !isCovered(plan, status)) return reply;
  const matcher = matcherFor(secrets);
  return matcher === null ? reply : new GuardedReply(exchange, plan, matcher, owner);
}

/** The fields of an interim response, or of a 101, without echoes. */
export function guardedFields(
  { plan, secrets, meter }: Omit<GuardedExchange, 'reply' | 'overBound'>,
  status: number,
  fields: RawFields,
): RawFields {
  if (plan === null || plan === undefined || secrets === undefined || !isCovered(plan, status)) return fields;
  const matcher = matcherFor(secrets);
  if (matcher === null) return fields;
  const { kept, found } = withoutEchoes(matcher, fields);
  meter.echoed(found);
  return kept;
}

/** A response on its way to a client that must not see the credential in it. What cannot be looked into does not go on. */
class GuardedReply implements ReplySink {
  readonly #reply: Reply;
  readonly #exchange: GuardedExchange;
  readonly #owner: GuardOwner;
  readonly #matcher: Matcher;
  #redactor: Redactor | GrpcRedactor;
  readonly #refuses: boolean;
  /** Sends the head: where echoes are refused, as late as can be, so that the refusal is an answer and no cut. */
  #begin: (() => void) | null = null;
  #codings: readonly string[] = [];
  #decoder: Decoder | null = null;
  #decodedBytes = 0;
  #told = 0;

  constructor(exchange: GuardedExchange, plan: EchoPlan, matcher: Matcher, owner: GuardOwner) {
    this.#exchange = exchange;
    this.#reply = exchange.reply;
    this.#owner = owner;
    this.#matcher = matcher;
    this.#redactor = new Redactor(matcher);
    this.#refuses = plan.onEcho === 'refuse';
  }

  head(status: number, reason: string, fields: RawFields): void {
    const codings = codingsOf(valuesOf(fields, 'content-encoding'));
    const unreadable = unreadableBy(status, fields, codings);
    if (codings === null || unreadable !== null) {
      this.#owner.stop(notLookedInto(unreadable ?? 'a content coding that is not known here'));
      return;
    }
    this.#codings = codings;
    if (isGrpc(fields)) this.#redactor = new GrpcRedactor(this.#matcher);
    const words = redactText(this.#matcher, reason);
    const { kept, found } = withoutEchoes(this.#matcher, fields);
    if (!this.#mayGoOn(found + (words === reason ? 0 : 1))) return;
    const sent = codings.length === 0 ? kept : decodedFields(kept);
    this.#begin = () => {
      this.#begin = null;
      this.#reply.head(status, words, sent);
    };
    if (!this.#refuses) this.#begin();
  }

  write(piece: Buffer): boolean {
    if (this.#codings.length === 0) return this.#look(piece);
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

  /** What is left to do when the body is whole. */
  #flushed: () => void = () => {};

  /** An empty body has no coding: nothing is made before its first byte. */
  #decoderOf(): Decoder {
    if (this.#decoder !== null) return this.#decoder;
    const decoder = createDecoder(this.#codings, {
      decoded: (piece) =>
        this.#guarding(() => {
          this.#decodedBytes += piece.length;
          const over = this.#exchange.overBound(this.#decodedBytes);
          if (over !== null) this.#stop(over);
          else if (!this.#look(piece)) {
            decoder.pause();
            this.#reply.onDrain(() => decoder.resume());
          }
        }),
      ended: () => this.#guarding(() => this.#flushed()),
      failed: () => this.#stop(notLookedInto('a body that is not what its content coding says')),
    });
    this.#decoder = decoder;
    this.#reply.gone.listen(() => decoder.destroy());
    return decoder;
  }

  /** What comes out of a decoder comes in turns of its own: what is thrown there would be caught by nobody. */
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

  /** Passes on what has no echo. False: the client takes no more for now. */
  #look(piece: Buffer): boolean {
    const pieces = this.#redactor.push(piece);
    return !this.#mayGoOn(0) || this.#pass(pieces);
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
    const { kept, found } = withoutEchoes(this.#matcher, trailers);
    if (!this.#mayGoOn(found)) return;
    this.#pass(rest);
    if (this.#owner.isOver) return;
    this.#begin?.();
    this.#reply.end(kept, flushed);
  }

  /** Tells of the echoes that were found; false: they may not even go on without them. */
  #mayGoOn(inHead: number): boolean {
    const found = inHead + this.#redactor.found - this.#told;
    if (found === 0) return true;
    this.#told = this.#redactor.found;
    this.#exchange.meter.echoed(found);
    if (this.#owner.isOver) return false;
    if (this.#refuses) this.#stop(echoed());
    return !this.#refuses;
  }

  #stop(why: SidekeyError): void {
    this.#decoder?.destroy();
    this.#owner.stop(why);
  }
}

/** Why nothing can be said of the body of a response; null: something can. */
function unreadableBy(status: number, fields: RawFields, codings: readonly string[] | null): string | null {
  if (codings === null) return 'a content coding that is not known here, or too many';
  // Of a part nothing is known: the rest of the secret may be in the next one.
  if (status === 206) return 'a part of a body alone (206), and was asked for all of it';
  const ofMessages = valuesOf(fields, 'grpc-encoding').some((value) => value.toLowerCase() !== 'identity');
  return ofMessages ? 'messages that are compressed one by one (grpc-encoding)' : null;
}

/** What is said of the body as it was coded, in lower case. */
const ofCoded = new Set([
  'content-encoding',
  'content-length',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
  'accept-ranges',
]);

/** The fields of a response whose coding was taken off (RFC 9110 §8.8.1: it is not the same byte by byte). */
function decodedFields(fields: RawFields): RawFields {
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    if (ofCoded.has(name)) continue;
    kept.push(fields[i]!, name === 'etag' && !value.startsWith('W/') ? `W/${value}` : value);
  }
  return kept;
}

/** Messages with their lengths before them, each of which is answered to by itself. */
function isGrpc(fields: RawFields): boolean {
  return valuesOf(fields, 'content-type').some((type) =>
    /^application\/grpc(?!-web-text)/i.test(type.trim()),
  );
}

function withoutEchoes(
  matcher: Matcher,
  fields: RawFields,
): { readonly kept: RawFields; readonly found: number } {
  let kept: string[] | null = null;
  let found = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    // A name that is masked would be a field that nobody sent.
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

function echoed(): SidekeyError {
  return new SidekeyError('credential_echoed', 'The response shows the credential, and goes no further.', {
    hint: 'ask for something else, or set leak_guard: redact on the domain',
  });
}

function notLookedInto(what: string): SidekeyError {
  return new SidekeyError(
    'upstream_protocol',
    `The response cannot be looked into for the credential: it has ${what}.`,
    {
      hint: 'ask for it without compression, or set leak_guard: off on the domain if nothing is echoed there',
    },
  );
}
