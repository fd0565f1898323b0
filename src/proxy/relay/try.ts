import type { BodyPlan } from '../../inject/body-plan.ts';
import type { SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import type { Limits } from '../../policy/limits.ts';
import type { Connections } from '../../upstream/connections.ts';
import type { Streams } from '../../upstream/h2/streams.ts';
import type { Departure } from '../forward.ts';
import type { Carried, Reply } from '../message.ts';
import type { Meter } from '../meter.ts';
import type { RequestBody } from '../request-body.ts';

/** One try at carrying a request. */
export interface Try {
  readonly departure: Departure;
  /** What of it may be another at the second try. */
  readonly request: Injected;
  /** The body as it comes, or as it was kept; null: it has no byte. */
  readonly sent: AsyncIterable<Buffer> | Buffer | null;
  readonly body: RequestBody;
  readonly renew: Departure['renew'];
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
  | { readonly kind: 'done'; readonly carried: Carried }
  /** A 401 came, and there is a newer token. */
  | { readonly kind: 'renewed'; readonly request: Injected; readonly sent: Try['sent'] }
  /** A 401 came that wants another proof, and has a nonce for it. */
  | { readonly kind: 'proved'; readonly sent: Try['sent'] }
  /**
   * The connection died under a request that may safely be sent again (RFC 9110 §9.2.2), or the upstream has done nothing
   * with it (RFC 9113 §8.7).
   */
  | { readonly kind: 'lost'; readonly error: SidekeyError; readonly sent: Try['sent'] }
  /** The upstream takes it in HTTP/1.1 alone. */
  | { readonly kind: 'downgraded'; readonly sent: Try['sent'] };

/** An upstream that has not answered an expectation for so long may know none: the client is told to go on. */
export const expectationMs = 2_000;

/** How the body of a request is framed as it leaves. */
export function planOf({ departure, request }: Try): BodyPlan {
  return request.reframed ?? departure.framing;
}

/** Whether the upstream is to say if it wants the body, since nobody has asked the client for it yet. */
export function expects(it: Try): boolean {
  return it.reply.waits && planOf(it).kind !== 'none';
}

/** Whether a request may be sent again without a word of its upstream (RFC 9110 §9.2.1). */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}
