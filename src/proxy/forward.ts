import type { Injected } from '../inject/inject.ts';
import type { Authority } from '../policy/authority.ts';
import type { RawFields } from './fields.ts';
import type { BodyPlan, Carried, Reply } from './message.ts';
import type { Meter, Spend } from './meter.ts';
import { Attempt } from './relay/attempt.ts';
import { isSafe } from './relay/try.ts';
import { meteredBody } from './request-body.ts';
import type { RequestRight } from './right.ts';
import type { Settings } from './rooms.ts';

/** A request as it leaves: where to, and what exactly. */
export interface Departure {
  readonly authority: Authority;
  readonly method: string;
  /** Origin-form, the raw bytes that were judged. */
  readonly path: string;
  /** All that goes on, what frames the body included. */
  readonly fields: RawFields;
  /** As the fields say. */
  readonly framing: BodyPlan;
  readonly body: AsyncIterable<Buffer> | null;
  /** Those of the body that go on, once it has ended. */
  readonly trailers: () => RawFields;
  /** Whether a credential travels with it. */
  readonly carriesGrant: boolean;
  /** Bytes of the response body that may come back; null: any. */
  readonly maxResponse: number | null;
  /** By what right it leaves: asked for again while the response lasts. */
  readonly right: RequestRight;
  /** Takes the bytes of both bodies off a budget; absent: they count against none. */
  readonly spend?: Spend | undefined;
  /** Takes the credential out of response fields; see `Injected`. */
  readonly conceal?: Injected['conceal'];
  /**
   * Asked at an upstream 401: has the token renewed, and answers with what to send the request with once more, or
   * null to let the 401 through. `replayable`: whether the request can be sent again. Absent where nothing can be
   * renewed.
   */
  readonly renew?: ((replayable: boolean) => Promise<Injected | null>) | undefined;
}

/**
 * Sends a request over a connection that is kept, or a new one, and streams the response back. Nothing is held in memory
 * but what is under way and, for a second try, a bounded copy of the body.
 *
 * Rejects with a SidekeyError where the upstream fails before its head; later failures cut the client's connection.
 */
export async function forward(
  departure: Departure,
  meter: Meter,
  reply: Reply,
  { connections, limits }: Pick<Settings, 'connections' | 'limits'>,
): Promise<Carried> {
  let { renew } = departure;
  let request: Injected = departure;
  const mayRepeat = renew !== undefined || isSafe(departure.method);
  const bounds = { keep: mayRepeat ? limits.replay_bytes : 0, most: limits.body_bytes };
  const body = meteredBody(departure.body, bounds, meter);
  let sent: AsyncIterable<Buffer> | Buffer | null = body.stream;
  let fresh = false;
  for (;;) {
    const attempt = new Attempt({
      departure,
      request,
      sent,
      body,
      renew,
      fresh,
      meter,
      reply,
      limits,
      connections,
    });
    const end = await attempt.run();
    switch (end.kind) {
      case 'done':
        return end.carried;
      case 'renewed':
        ({ request, sent } = end);
        renew = undefined;
        break;
      case 'lost':
        if (fresh) throw end.error;
        fresh = true;
        sent = end.sent;
    }
  }
}
