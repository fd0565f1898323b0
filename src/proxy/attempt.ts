import { missingConsent } from '../grants/messages.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import { hopByHop, type RawFields, valuesOf } from '../http/fields.ts';
import { announcesInVain, type BodyPlan } from '../http/framing.ts';
import type { ResponseHeadBytes } from '../http/head.ts';
import { chunkEnd, chunkStart, isOneLine, lastChunk, ownHead, trailerSection } from '../http/h1/write.ts';
import type { ExchangeResult, Meter, Reply } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { asTyped } from '../lib/log.ts';
import { authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { isFieldName } from '../policy/text.ts';
import { nonceIn, type Nonces } from '../schemes/dpop-proof.ts';
import { wantsNonce } from '../schemes/dpop.ts';
import type { AppliedRequest } from '../schemes/scheme.ts';
import type { UpstreamConnection } from '../upstream/h1-connection.ts';
import type { Connections } from '../upstream/h1-pool.ts';
import type { Streams } from '../upstream/h2-pool.ts';
import type { StreamHead } from '../upstream/h2-stream.ts';
import type { ProxyServices, ConfigSnapshot } from './deps.ts';
import type { UpstreamRequest } from './forward.ts';
import type { ExchangeRecord } from './record.ts';
import type { RequestBody } from './request-body.ts';

/**
 * What an agent is told besides where the upstream refuses its request for want of a consent: `Sidekey-Hint`. What the
 * upstream says goes on as it is; what is missing goes on record, by the names of scopes alone.
 *
 * @param token the credential that left last
 */
export function consentHint(
  token: () => Pick<ReadyToken, 'grant' | 'sealed'>,
  { provider }: Pick<ConfigSnapshot, 'provider'>,
  record: Pick<ExchangeRecord, 'lacks'>,
  { activity }: Pick<ProxyServices, 'activity'>,
): NonNullable<UpstreamRequest['consentHint']> {
  return (fields) => {
    const left = token();
    const { grant } = left;
    const missing = missingConsent((name) => valuesOf(fields, name), left, provider(grant.provider));
    if (missing === null) return [];
    if (missing.scopes !== null) {
      record.lacks(missing.reason);
      activity.lacked(grant.id, missing.scopes);
    }
    return ['Sidekey-Hint', asTyped(missing.hint)];
  };
}

/** Whether a status says that the credential was not enough (RFC 6750 §3.1). */
export function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

/**
 * What a response says of the proof that its request had (RFC 9449 §9). `again`: the request is wanted once more with the
 * nonce that came; `in vain`: so it is, and no nonce came that could be used. Either way nothing is wrong with the token.
 */
export type ProofAnswer = 'nothing' | 'again' | 'in vain';

/** The proofs of one exchange whose token is bound to a key. */
export interface Proofs {
  /**
   * Told of each response: its nonce is good for the requests to come, whatever its status.
   *
   * @param values answers the values of a field, by its name in lower case
   */
  heard(status: number, values: (name: string) => readonly string[]): ProofAnswer;
  /** The request as it left last, with another proof: none is good for two. Throws what `inject` throws. */
  anew(): AppliedRequest;
}

/** @param origin where the request goes: what its nonces are remembered by */
export function createProofs(nonces: Nonces, origin: string, anew: () => AppliedRequest): Proofs {
  return {
    heard(status, values) {
      const nonce = nonceIn(values('dpop-nonce'));
      if (nonce !== null) nonces.remember(origin, nonce);
      if (status !== 401 || !wantsNonce(values('www-authenticate'))) return 'nothing';
      return nonce === null ? 'in vain' : 'again';
    },
    anew,
  };
}

/** What of a request a head is made of. */
type Leaving = Pick<UpstreamRequest, 'authority' | 'method' | 'framing' | 'protocol'>;

/**
 * The head of a request as it is sent in HTTP/1.1, with the fields as they stand.
 *
 * @param isExpecting whether the upstream is asked for a 100 before the body (RFC 9110 §10.1.1)
 * @throws SidekeyError `bad_request` where it would not be one head of one request
 */
export function requestHead(leaving: Leaving, { path, fields }: AppliedRequest, isExpecting = false): Buffer {
  checkTarget(path);
  const own = leaving.protocol === 'h2' ? withoutTe(fields) : fields;
  const kept = isExpecting ? [...own, 'Expect', '100-continue'] : own;
  try {
    return ownHead(`${leaving.method} ${path} HTTP/1.1`, kept);
  } catch (cause) {
    throw cannotBeForwarded(cause);
  }
}

/** Fields whose values no compressor is to remember, whoever put them in: others could guess them by its size. */
const secrets = ['authorization', 'cookie'];

/**
 * The head of a request as it opens a stream of HTTP/2 (RFC 9113 §8.3.1).
 *
 * @throws SidekeyError `bad_request` as `requestHead`
 */
export function streamHead(
  { authority, method, framing }: Leaving,
  { path, fields, carriedIn, conceal, reframed }: AppliedRequest,
  isExpecting = false,
): StreamHead {
  checkTarget(path);
  const { scheme } = authority;
  const kept = [':method', method, ':scheme', scheme, ':authority', authorityText(authority), ':path', path];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    // `:authority` stands for `Host`, and HTTP/2 has no other fields of one connection (RFC 9113 §8.2.2).
    if (name === 'te' ? value !== 'trailers' : name === 'host' || hopByHop.has(name)) continue;
    if (!isFieldName(name) || !isOneLine(value)) throw cannotBeForwarded();
    kept.push(name, value);
  }
  if (isExpecting) kept.push('expect', '100-continue');
  const neverIndexed = [...secrets, ...(carriedIn ?? []), ...(conceal === undefined ? [] : [':path'])];
  return { fields: kept, neverIndexed, isWhole: (reframed ?? framing).kind === 'none' };
}

/** `TE` is of one connection in HTTP/1.1; to a client of HTTP/2 trailers go on in any case. */
function withoutTe(fields: RawFields): RawFields {
  return fields.filter((_text, index) => fields[index - (index % 2)]!.toLowerCase() !== 'te');
}

function checkTarget(path: string): void {
  // A space would end the target.
  if (!path.startsWith('/') || path.includes(' ') || !isOneLine(path)) throw cannotBeForwarded();
}

function cannotBeForwarded(cause?: unknown): SidekeyError {
  return new SidekeyError('bad_request', 'The request has a field or a target that cannot be forwarded.', {
    cause,
  });
}

/** The fields of a final head, without the length that a 204 announces and cannot have. */
export function endToEndFields(head: ResponseHeadBytes): RawFields {
  const fields = head.raw();
  if (head.status !== 204 || !announcesInVain(head)) return fields;
  return fields.filter((_, index) => fields[index - (index % 2)]!.toLowerCase() !== 'content-length');
}

/** `timeout` of a response's `Keep-Alive`, in milliseconds; null: it says nothing. */
export function keptFor(head: ResponseHeadBytes): number | null {
  const value = head.first('keep-alive');
  if (value === null) return null;
  const seconds = /(?:^|[\s,;])timeout\s*=\s*"?([0-9]{1,9})/i.exec(value)?.[1];
  return seconds === undefined ? null : Number(seconds) * 1_000;
}

/** One try at carrying a request. */
export interface AttemptContext {
  readonly request: UpstreamRequest;
  /** What of it may be another at the second try. */
  readonly injected: AppliedRequest;
  /** The body as it comes, or as it was kept; null: it has no byte. */
  readonly sent: AsyncIterable<Buffer> | Buffer | null;
  readonly body: RequestBody;
  readonly renew: UpstreamRequest['renew'];
  /** Whether it may be sent once more for the sake of a nonce. */
  readonly mayProve: boolean;
  /** Whether a kept connection has just died under this request. */
  readonly fresh: boolean;
  readonly meter: Meter;
  readonly reply: Reply;
  readonly limits: Limits;
  readonly connections: Connections;
  readonly streams: Streams;
}

/** What came of it. */
export type AttemptEnd =
  | { readonly kind: 'done'; readonly result: ExchangeResult }
  /** A 401 came, and there is a newer token. */
  | { readonly kind: 'renewed'; readonly request: AppliedRequest; readonly sent: AttemptContext['sent'] }
  /** A 401 came that wants another proof, and has a nonce for it. */
  | { readonly kind: 'proved'; readonly sent: AttemptContext['sent'] }
  /**
   * The connection died under a request that may safely be sent again (RFC 9110 §9.2.2), or the upstream has done nothing
   * with it (RFC 9113 §8.7).
   */
  | { readonly kind: 'lost'; readonly error: SidekeyError; readonly sent: AttemptContext['sent'] }
  /** The upstream takes it in HTTP/1.1 alone. */
  | { readonly kind: 'downgraded'; readonly sent: AttemptContext['sent'] };

/** An upstream that has not answered an expectation for so long may know none: the client is told to go on. */
export const expectationMs = 2_000;

/** How the body of a request is framed as it leaves. */
export function planOf({ request, injected }: AttemptContext): BodyPlan {
  return injected.reframed ?? request.framing;
}

/** Whether the upstream is to say if it wants the body, since nobody has asked the client for it yet. */
export function expects(it: AttemptContext): boolean {
  return it.reply.waits && planOf(it).kind !== 'none';
}

/** Whether a request may be sent again without a word of its upstream (RFC 9110 §9.2.1). */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

/** A body to be sent, as its head frames it. */
interface UploadBody {
  readonly plan: BodyPlan;
  /** As it comes, or all of it; null: it has no byte. */
  readonly pieces: AsyncIterable<Buffer> | Buffer | null;
  /** Asked when all pieces have come. */
  readonly trailers: () => RawFields;
}

/** What a body is written to. */
interface UploadTarget {
  /** False: it takes no more until it has drained. */
  write(piece: Buffer): boolean;
  /** All of it has been written. */
  end(trailers: RawFields): void;
}

/** The end of a body, before its trailers. */
const noMoreChunks = Buffer.from('0\r\n');
const noTrailers = Buffer.from(lastChunk);

/** A connection of HTTP/1.1, which is told where a body ends by how it is framed. */
export function framedFor({ kind }: BodyPlan, connection: UpstreamConnection): UploadTarget {
  if (kind !== 'chunked') return { write: (piece) => connection.write(piece), end() {} };
  return {
    write(piece) {
      connection.write(chunkStart(piece.length));
      connection.write(piece);
      return connection.write(chunkEnd);
    },
    end: (trailers) => void connection.write(endOf(trailers)),
  };
}

/** The body as it goes with the request: written anew while it streams, where its credential asks for that. */
export function rewrittenBody(
  { rewriteBody }: AppliedRequest,
  sent: UploadBody['pieces'],
): UploadBody['pieces'] {
  return rewriteBody === undefined ? sent : rewriteBody(listOf(sent));
}

/** Sends one request body to an upstream; reads no more of it than that takes. */
export class Upload {
  /** Whether all of it has been written. */
  isSent = false;
  /** Whether it waits for the next piece, and not for the upstream. */
  waitsForPiece = true;
  readonly #target: UploadTarget;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(target: UploadTarget) {
    this.#target = target;
  }

  /**
   * Resolves when all is written, or it was stopped. Rejects with what the pieces fail with, and with SidekeyError
   * `bad_request` where they are not what was announced.
   *
   * @param progressed called when the upstream has been given something
   */
  async send({ plan, pieces, trailers }: UploadBody, progressed: () => void): Promise<void> {
    let bytes = 0;
    for await (const piece of listOf(pieces)) {
      if (this.#stopped) return;
      if (piece.length === 0) continue;
      bytes += piece.length;
      if (plan.kind === 'length' && bytes > plan.bytes) throw notAsLong();
      this.waitsForPiece = false;
      if (!this.#target.write(piece)) await this.#drain();
      if (this.#stopped) return;
      this.waitsForPiece = true;
      progressed();
    }
    if (this.#stopped) return;
    if (plan.kind === 'length' && bytes < plan.bytes) throw notAsLong();
    this.#target.end(trailers());
    this.waitsForPiece = false;
    this.isSent = true;
    progressed();
  }

  /** The upstream takes more. */
  drained(): void {
    this.#drained?.();
    this.#drained = null;
  }

  /** Sends nothing more. */
  stop(): void {
    this.#stopped = true;
    this.drained();
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }
}

function listOf(pieces: UploadBody['pieces']): AsyncIterable<Buffer> | Iterable<Buffer> {
  if (pieces === null) return [];
  return Buffer.isBuffer(pieces) ? [pieces] : pieces;
}

function endOf(trailers: RawFields): Buffer {
  return trailers.length === 0 ? noTrailers : Buffer.concat([noMoreChunks, trailerSection(trailers)]);
}

function notAsLong(): SidekeyError {
  return new SidekeyError('bad_request', 'The request body is not as long as its Content-Length says.');
}
