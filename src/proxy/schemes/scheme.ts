import { z } from 'zod';
import type { Credential, SealedCredential } from '../../domain/credential.ts';
import type { Placement } from '../../domain/provider.ts';
import type { BodyFraming } from '../http/framing.ts';
import { type GuardedSecrets, matcherFor } from '../leak-guard/patterns.ts';
import { replaced } from '../leak-guard/redactor.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import type { Authority } from '../policy/authority.ts';
import type { LimitName } from '../policy/limits.ts';
import type { ClientIdentity } from '../policy/peer.ts';

/**
 * One way to authenticate a request with a credential. A scheme is one file and one line of `list.ts`, from
 * which the config schema, `explain`, `provider show`, the proxy and the leak guard read it.
 *
 * Type parameters: `P` is its placement, `W` the value that its config schemas give.
 */
export interface AuthScheme<P extends Placement = Placement, W = unknown> {
  /** Name of the scheme, also as text or first key of a provider's `inject`. */
  readonly kind: P['kind'];
  /** Forms in `inject`, for messages, such as `{ query: NAME }`; null: it cannot be written there. */
  readonly syntax: string | null;
  readonly schemas: readonly z.ZodType<W>[];
  /** Returns the placement that a checked `inject` means. */
  parse(written: W): P;
  /** Returns the `inject` that means a placement. */
  format(placement: P): unknown;
  /** Returns the place of the credential in a request, for people, with `…` for the credential. */
  describe(placement: P): string;
  /** Accepted credentials; absent: any, or checked in `prepare`. `secret`: a value or a pair. */
  accepts?(placement: P): 'single' | 'pair' | 'secret';
  /** True if the credential is never in a request, not even in place of a placeholder. */
  readonly isNeverSent?: true;
  /** Services repeat this part of a request in links and forms. */
  readonly isRepeated?: true;
  /** Path prefixes that the credential follows. */
  pathPrefixes?(placement: P): readonly string[];
  /** Names of the fields that carry the credential, apart from `Authorization`. */
  fieldNames?(placement: P): readonly string[];
  /** Parameter of the query that is the credential. */
  queryParameter?(placement: P): string;
  /** Returns the body without the value that the credential replaces. */
  maskBody?(body: Buffer, placement: P): Buffer;
  /** Returns a request that can carry the credential; absent: an empty one can. */
  sample?(placement: P): SampleRequest;
  /**
   * Returns the facts of the body that the head needs; null: nothing, and it streams.
   *
   * @throws SidekeyError `policy_violation`: no credential can be put into such a request
   */
  needs?(request: RequestHead, placement: P): BodyNeed | null;
  /** Returns the texts that no response may contain; absent: those of `secretsOf`. */
  secrets?(credential: Credential): readonly string[];
  /**
   * Prepares a credential for all requests.
   *
   * @throws SidekeyError `policy_violation` if the scheme refuses it; `internal` if it has no token yet
   */
  prepare(sealed: SealedCredential, placement: P): PreparedCredential;
}

/** Returns the parts of a scheme whose name is its whole `inject`. @param place see `describe` */
export function scheme<K extends Placement['kind']>(kind: K, description: string, place: string) {
  return {
    kind,
    syntax: kind,
    schemas: [z.literal(kind).meta({ description })],
    parse: () => ({ kind }),
    format: () => kind,
    describe: () => place,
  };
}

/** One opened credential in one placement, ready for many requests. */
export interface PreparedCredential {
  /** Fields that are the same in every request. */
  readonly fields: readonly Field[];
  /** Names, in lower case, of other fields that `apply` writes: those of the client are removed. */
  readonly replaces?: Iterable<string>;
  /** The client's own `Authorization` is forwarded. */
  readonly keepsAuthorization?: true;
  /** Returns the changes to one request besides `fields`. @throws SidekeyError `policy_violation` */
  readonly apply?: (request: UnauthenticatedRequest) => RequestChanges;
}

/** A request before the credential is put into it. */
export interface UnauthenticatedRequest {
  readonly authority: Authority;
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as received, without hop-by-hop fields. */
  readonly fields: readonly string[];
  readonly facts: MessageFacts | undefined;
}

/** Changes that a scheme makes to one request. Absent: that part stays. */
export interface RequestChanges extends Pick<
  AppliedRequest,
  'conceal' | 'rewriteBody' | 'identity' | 'secrets'
> {
  readonly path?: string;
  /** The client's fields, where the scheme writes into one of them. */
  readonly fields?: readonly string[];
  /** Fields of only this request. They follow `PreparedCredential.fields`. */
  readonly added?: readonly string[];
  /** The whole new body. Its framing and digests are corrected. */
  readonly body?: Buffer;
}

/** The request with the credential in it. */
export interface AppliedRequest {
  /** Origin-form, with its query. */
  readonly path: string;
  readonly fields: readonly string[];
  /** Removes the credential from response fields. Absent: services do not repeat it there. */
  readonly conceal?: ((fields: readonly string[]) => readonly string[]) | undefined;
  /** Names, in lower case, of fields that may contain the credential. */
  readonly carriedIn?: ReadonlySet<string> | undefined;
  /** Texts that no response may contain; the same object for as long as the credential is opened. */
  readonly secrets?: GuardedSecrets | undefined;
  /** Rewrites the body while it streams; absent: it is forwarded unchanged. */
  readonly rewriteBody?:
    ((pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>) | undefined;
  /** Framing of the rewritten body, as `fields` say; absent: unchanged. */
  readonly reframed?: BodyFraming | undefined;
  /** Client identity for the TLS connection; absent: none of this grant. */
  readonly identity?: GrantIdentity | undefined;
  /** Replacement in the text messages of a WebSocket client; absent: none. */
  readonly messages?: (() => Replacement) | undefined;
}

/** Texts to search for, and the value that replaces them. */
export interface Replacement {
  readonly texts: readonly Buffer[];
  readonly value: Buffer;
}

/** Client identity of one grant, valid until `end`. */
export interface GrantIdentity extends ClientIdentity {
  /** Ends the validity of the identity. Idempotent. */
  end(): void;
}

/** A field line: its name as written, and its value. */
export type Field = readonly [name: string, value: string];

/** Head of a request whose body is still to come. */
export interface RequestHead
  extends Pick<UnauthenticatedRequest, 'authority' | 'path'>, Pick<MessageFacts, 'method' | 'hasBody'> {
  /** Name, value, name, value… with `Host`. */
  readonly fields: readonly string[];
}

/** Facts of a request besides its path and its fields. */
export interface MessageFacts {
  readonly method: string;
  /** True if the body may have a byte. */
  readonly hasBody: boolean;
  /** SHA-256 of the body in hex, if `needs` requires it; else null. */
  readonly bodyHash: string | null;
  /** The whole body, if `needs` requires it; else null. */
  readonly body: Buffer | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Longest chunk, in bytes, that is held to sign it. */
  readonly chunkBytes: number;
  /** Nonce that the server requires in a proof (RFC 9449 §9); absent or null: none. */
  readonly nonce?: string | null;
}

/** Part of a body that has to be known before the head of its request is sent. */
export interface BodyNeed {
  /** `hash`: only the SHA-256 of the body. `whole`: all its bytes. */
  readonly of: 'hash' | 'whole';
  /** The limit on the bytes that are read. */
  readonly limit: Extract<LimitName, 'signed_body_bytes' | 'injected_body_bytes'>;
  /** Subject of a sentence about such a body. */
  readonly what: string;
  /** Checks that the credential can be put there. @throws SidekeyError `policy_violation` */
  readonly check?: (body: Buffer) => void;
}

/** A minimal request that can carry the credential of a scheme. */
interface SampleRequest {
  readonly path: string;
  readonly fields: readonly string[];
  /** Body; null: none. */
  readonly body: Buffer | null;
}

/** Returns the facts of a request to a scheme that needs them. */
export function factsOf({ facts }: UnauthenticatedRequest): MessageFacts {
  if (facts !== undefined) return facts;
  throw new SidekeyError('internal', 'Nothing was said of the message that a credential is put into.');
}

/**
 * Replaces secrets in response fields. A redirect repeats the path and query of the request: a client that
 * follows it to another host would send the credential there.
 *
 * @param fields name, value, name, value…
 * @param replacement the text that the client wrote in that place
 */
export function conceal(
  fields: readonly string[],
  secrets: GuardedSecrets,
  replacement = '',
): readonly string[] {
  const matcher = matcherFor(secrets);
  if (matcher === null) return fields;
  return fields.map((text, index) => (index % 2 === 0 ? text : replaced(matcher, text, () => replacement)));
}

/** Returns a `policy_violation`: the credential is not put into the request. */
export function refused(sentence: string, hint?: Hint): SidekeyError {
  return new SidekeyError('policy_violation', sentence, { hint });
}
