import type { Meter, Reply } from './http/message.ts';
import type { Protocol } from './upstream/h2-session.ts';
import {
  type AttemptContext,
  type AttemptEnd,
  type Credentials,
  type Ending,
  meteredBody,
  type RequestBody,
  type Sending,
} from './attempt.ts';
import { Attempt } from './forward-h1.ts';
import { StreamAttempt } from './forward-h2.ts';
import type { UpstreamRequest } from './request.ts';
import { isIdempotent } from './response.ts';
import type { ConfigSnapshot } from './services.ts';

/**
 * Sends a request over a kept or a new connection or session, and streams the response into the reply.
 * Repeats the request if a kept connection ended, the token was renewed, or the upstream wants another DPoP
 * proof or HTTP/1.1. Memory holds the bytes under way and, for a second attempt, a bounded copy of the body.
 *
 * An upstream that fails before its head fails the exchange with a SidekeyError. Later ones cut the client.
 */
export function forward(sending: ForwardSending): void {
  new Forwarding(sending).attempt();
}

const noBody: RequestBody = { stream: null, whole: () => ({ copy: null }), again: () => ({ copy: null }) };

type ForwardSending = Sending<Pick<ConfigSnapshot, 'connections' | 'streams' | 'limits'>>;

/** The attempts to send one request. */
class Forwarding implements AttemptContext {
  request: UpstreamRequest;
  sent: AttemptContext['sent'];
  mayRenew: boolean;
  mayProve: boolean;
  fresh = false;
  readonly body: RequestBody;
  readonly meter: Meter;
  readonly reply: Reply;
  readonly limits: ConfigSnapshot['limits'];
  readonly connections: ConfigSnapshot['connections'];
  readonly streams: ConfigSnapshot['streams'];
  readonly credentials: Credentials;
  readonly expiredSigns: AttemptContext['expiredSigns'];
  readonly #ending: Ending;
  readonly #isProved: boolean;
  #protocol: Protocol;

  constructor(sending: ForwardSending) {
    const { request, reply, meter, credentials } = sending;
    const { connections, streams, limits } = sending.config;
    const { credential, authority } = request;
    this.request = request;
    this.reply = reply;
    this.limits = limits;
    this.connections = connections;
    this.streams = streams;
    this.meter = meter;
    this.credentials = credentials;
    this.#ending = sending;
    this.#isProved = credential !== null && credential.nonceOrigin !== null;
    this.mayRenew =
      credential !== null &&
      (credential.token.grant.refreshable || credential.also.some(({ token }) => token.grant.refreshable));
    this.mayProve = this.#isProved;
    this.expiredSigns = this.mayRenew ? credentials.expiredSigns(request) : [];
    // HTTP/2 without TLS needs prior knowledge on both sides (RFC 9113 §3.3).
    this.#protocol = authority.scheme === 'https' ? request.protocol : 'http/1.1';
    // An upstream of HTTP/2 says of any request when it has not processed it.
    const mayRepeat = this.mayRenew || this.mayProve || this.#protocol === 'h2' || isIdempotent(request);
    const keep = mayRepeat ? limits.replay_bytes : 0;
    this.body = request.body === null ? noBody : meteredBody(request.body, keep, limits.body_bytes, meter);
    this.sent = this.body.stream;
  }

  get isExpecting(): boolean {
    return this.reply.expectsContinue && this.request.framing.kind !== 'none';
  }

  attempt(): void {
    if (this.#protocol === 'h2') new StreamAttempt(this).run();
    else new Attempt(this).run();
  }

  ended(end: AttemptEnd): void {
    if (end.kind === 'done') {
      this.#ending.done(end.carried);
      return;
    }
    // The connection of this attempt is still being closed.
    queueMicrotask(() => this.#repeat(end));
  }

  failed(error: Error): void {
    this.#ending.failed(error);
  }

  #repeat(end: Exclude<AttemptEnd, { readonly kind: 'done' }>): void {
    this.sent = end.sent;
    switch (end.kind) {
      case 'renewed':
        this.request = end.request;
        this.mayRenew = false;
        this.attempt();
        return;
      case 'proved':
        this.mayProve = false;
        break;
      case 'lost':
        if (this.fresh) {
          this.failed(end.error);
          return;
        }
        this.fresh = true;
        break;
      case 'downgraded':
        this.#protocol = 'http/1.1';
    }
    try {
      // The proof of the last attempt may be known to others.
      if (this.#isProved) this.request = this.credentials.prove(this.request);
    } catch (error) {
      this.failed(error as Error);
      return;
    }
    this.attempt();
  }
}
