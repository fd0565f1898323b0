import type { Dispatcher } from 'undici';
import type { SidekeyError } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { responseFields, type RawFields } from './fields.ts';
import type { Carried, Reply } from './message.ts';
import { meteredBody, type RequestBody } from './request-body.ts';
import { isConnectionLoss, upstreamFailure } from './upstream-failure.ts';

/** A request as it leaves: where to, and what exactly. */
export interface Departure {
  readonly authority: Authority;
  readonly method: string;
  /** Origin-form, the raw bytes that were judged. */
  readonly path: string;
  readonly fields: RawFields;
  readonly body: AsyncIterable<Buffer> | null;
  /** Whether a credential travels with it. */
  readonly carriesGrant: boolean;
  /**
   * Asked at an upstream 401: has the token renewed, and answers with the fields to send the request with once more,
   * or null to let the 401 through. `replayable`: whether the request can be sent again. Absent where nothing can be
   * renewed.
   */
  readonly renew?: ((replayable: boolean) => Promise<RawFields | null>) | undefined;
}

/**
 * Sends a request through the pool and streams the response back. Nothing is held in memory but what is under way
 * and, for a second try after a 401, a bounded copy of the body.
 *
 * Rejects with a SidekeyError where the upstream fails before its head; later failures cut the client's connection.
 */
export async function forward(
  departure: Departure,
  reply: Reply,
  pool: Dispatcher,
  limits: Limits,
): Promise<Carried> {
  let { renew, fields } = departure;
  const body = meteredBody(departure.body, {
    keep: renew === undefined ? 0 : limits.replay_bytes,
    most: limits.body_bytes,
  });
  let sent: AsyncIterable<Buffer> | Buffer | null = body.stream;
  let lost = false;
  for (;;) {
    const end = await attempt({ departure, fields, sent, body, renew }, reply, pool);
    switch (end.kind) {
      case 'done':
        return end.carried;
      case 'renewed':
        fields = end.fields;
        sent = end.body;
        renew = undefined;
        break;
      case 'lost':
        if (lost) throw end.error;
        lost = true;
    }
  }
}

interface Try {
  readonly departure: Departure;
  readonly fields: RawFields;
  readonly sent: AsyncIterable<Buffer> | Buffer | null;
  readonly body: RequestBody;
  readonly renew: Departure['renew'];
}

type Attempt =
  | { readonly kind: 'done'; readonly carried: Carried }
  /** A 401 came, and there is a newer token. */
  | { readonly kind: 'renewed'; readonly fields: RawFields; readonly body: Buffer | null }
  /** A kept-alive connection died under a request that may safely be sent again (RFC 9110 §9.2.2). */
  | { readonly kind: 'lost'; readonly error: SidekeyError };

/** Ends a request of ours that nobody waits for any more. */
const abandoned = new Error('abandoned');

function attempt(
  { departure, fields, sent, body, renew }: Try,
  reply: Reply,
  pool: Dispatcher,
): Promise<Attempt> {
  const { authority, method, path, carriesGrant } = departure;
  const { promise, resolve, reject } = Promise.withResolvers<Attempt>();
  let controller: Dispatcher.DispatchController | undefined;
  let status = 0;
  let bytesOut = 0;
  let answering = false;
  let draining = false;
  let over = false;
  /** While a 401 is looked into, what comes of it is held: undici delivers the rest of a closed connection at once. */
  let held: (() => void)[] | null = null;

  /** The first end counts; what comes after it concerns nobody. */
  const settle = (then: () => void) => {
    if (over) return;
    over = true;
    reply.gone.forget(onGone);
    then();
  };
  const finish = (fate: Carried['fate']) =>
    settle(() => resolve({ kind: 'done', carried: { status, bytesIn: body.bytes, bytesOut, fate } }));
  const abandon = () => controller?.abort(abandoned);
  const onGone = () => {
    finish('gone');
    abandon();
  };
  if (reply.gone.already) {
    finish('gone');
    return promise;
  }
  reply.gone.listen(onGone);

  const begin = (raw: RawFields, reason: string) =>
    reply.head(status, reason, responseFields(raw, carriesGrant));
  const pass = (chunk: Buffer) => {
    bytesOut += chunk.length;
    if (reply.write(chunk) || draining) return;
    draining = true;
    controller?.pause();
    reply.onDrain(() => {
      draining = false;
      controller?.resume();
    });
  };
  const complete = (trailers: RawFields) =>
    reply.end(responseFields(trailers, carriesGrant), () => finish('complete'));
  const fail = (error: Error) => {
    if (reply.started) {
      finish('broken');
      reply.abort();
      return;
    }
    const failure = upstreamFailure(error, authority, answering);
    const mayRetry = departure.body === null && isSafe(method) && !answering && isConnectionLoss(error);
    settle(() => (mayRetry ? resolve({ kind: 'lost', error: failure }) : reject(failure)));
  };

  /** Sends the request anew with a newer token, or lets the 401 through where there is none. */
  const recover = (copy: Buffer | null, renewal: Promise<RawFields | null>, letThrough: () => void) => {
    const events = (held = [letThrough]);
    controller?.pause();
    renewal
      .then((fresh) => {
        if (over) return;
        if (fresh !== null) {
          settle(() => resolve({ kind: 'renewed', fields: fresh, body: copy }));
          abandon();
          return;
        }
        held = null;
        for (const event of events) event();
        controller?.resume();
      })
      .catch((error: Error) => {
        settle(() => reject(error));
        abandon();
      });
  };

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      // The client may have left while the request waited for a connection.
      if (over) throw abandoned;
      controller = started;
      if (sent !== null) reply.continue();
    },
    onResponseStarted() {
      answering = true;
    },
    onResponseStart(current, statusCode, _headers, reason = '') {
      const raw = rawFields(current.rawHeaders);
      if (statusCode < 200) {
        reply.informational(statusCode, responseFields(raw, carriesGrant));
        return;
      }
      status = statusCode;
      const whole = body.whole();
      if (statusCode !== 401 || renew === undefined) {
        begin(raw, reason);
      } else if (whole === null) {
        begin(raw, reason);
        // The next request shall have a better token, even if this one cannot be sent again.
        renew(false).catch(() => {});
      } else {
        recover(whole.copy, renew(true), () => begin(raw, reason));
      }
    },
    onResponseData(_current, chunk) {
      if (held === null) pass(chunk);
      else held.push(() => pass(chunk));
    },
    onResponseEnd(current) {
      const trailers = rawFields(current.rawTrailers);
      if (held === null) complete(trailers);
      else held.push(() => complete(trailers));
    },
    onResponseError(_current, error) {
      if (over) return;
      // An answer that broke while it was held has not begun for the client: it can still be told why.
      if (held === null) fail(error);
      else held.splice(0, held.length, () => fail(error));
    },
  };

  pool.dispatch(
    {
      origin: `${authority.scheme}://${authority.host}:${authority.port}`,
      method,
      path,
      headers: [...fields],
      // undici takes any async iterable; its types name streams alone.
      body: sent as Buffer | null,
    },
    handler,
  );
  return promise;
}

/** RFC 9110 §9.2.1. */
function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

/** undici gives the fields as they came: names and values in turn, as bytes. */
function rawFields(raw: Dispatcher.DispatchController['rawHeaders']): RawFields {
  if (!Array.isArray(raw)) return [];
  return raw.map((item) => (typeof item === 'string' ? item : item.toString('latin1')));
}
