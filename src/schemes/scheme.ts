import { type GuardedSecrets, matcherFor } from '../leak-guard/patterns.ts';
import { replaced } from '../leak-guard/redactor.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { AppliedRequest } from './apply.ts';

/**
 * One opened credential, as one way carries it. A way is a function that makes one of these, in a file of its own;
 * `carrierFor` knows them all. What can be done once for the credential is done when it is made, and not for each request.
 */
export interface Carrier {
  /** Fields that are the same in every request. */
  readonly fields: readonly Field[];
  /** Names, in lower case, of fields that the way writes besides: those of the client go, as those of `fields` do. */
  readonly replaces?: Iterable<string>;
  /** Whether the client's own `Authorization` goes on: its placeholder may stand there. */
  readonly keepsAuthorization?: true;
  /** What is to be written into one request besides; absent: nothing. @throws SidekeyError `policy_violation` */
  readonly into?: (request: CarriedRequest) => Part;
}

/** What a way sees of a request. */
export interface CarriedRequest {
  readonly authority: Authority;
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as they came in, hop-by-hop fields already taken out. */
  readonly fields: readonly string[];
  readonly facts: MessageFacts | undefined;
}

/** What a way writes into one request. What is absent stays as it was. */
export interface Part extends Pick<AppliedRequest, 'conceal' | 'rewriteBody' | 'identity'> {
  readonly path?: string;
  /** The client's own, where the way writes in one of them. */
  readonly fields?: readonly string[];
  /** Fields of this request alone. They come in the place of those that are replaced, behind `Carrier.fields`. */
  readonly added?: readonly string[];
  /** All of the body, where it is another. What frames it and sums it up is seen to. */
  readonly body?: Buffer;
}

/** The facts of a request, for a way that needs them. */
export function factsOf({ facts }: CarriedRequest): MessageFacts {
  if (facts !== undefined) return facts;
  throw new SidekeyError('internal', 'Nothing was said of the message that a credential is put into.');
}

/**
 * Response fields without a credential that stood in the path or the query: a redirect repeats the address that was
 * asked for, and who follows it elsewhere would take the credential along. An address without it is asked for again
 * through Sidekey, which puts it in anew.
 *
 * @param fields name, value, name, value…
 * @param instead what takes its place: what the client wrote there
 */
export function conceal(fields: readonly string[], secrets: GuardedSecrets, instead = ''): readonly string[] {
  const matcher = matcherFor(secrets);
  if (matcher === null) return fields;
  return fields.map((text, index) => (index % 2 === 0 ? text : replaced(matcher, text, () => instead)));
}

/** A request that the credential is not put into: `policy_violation`. */
export function refused(sentence: string, hint?: string): SidekeyError {
  return new SidekeyError('policy_violation', sentence, { hint });
}

/** A field line: its name as it is written, and its value. */
export type Field = readonly [name: string, value: string];

/** What of a request a way may have to know besides its path and its fields. */
export interface MessageFacts {
  readonly method: string;
  /** Whether a byte may come after the head. */
  readonly hasBody: boolean;
  /** SHA-256 of the body in hex, where `bodyNeed` asks for it; else null. */
  readonly bodyHash: string | null;
  /** All of the body, where `bodyNeed` asks for it; else null. */
  readonly body: Buffer | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Bytes of a chunk that are held, so that its signature can stand before it. */
  readonly chunkBytes: number;
  /** What the server wants to see in a proof (RFC 9449 §9); absent or null: nothing. */
  readonly nonce?: string | null;
}
