import { constants, type ServerHttp2Stream } from 'node:http2';
import { giveUp } from '../../given-up-stream.ts';
import { SidekeyError } from '../../errors.ts';
import { valuesOf } from '../fields.ts';
import { refuseExpectation } from '../front/expectation.ts';
import { Deadline } from '../front/deadline.ts';
import { silent } from '../front/incoming-body.ts';
import type { Client, RequestHead } from '../message.ts';
import { refuse } from '../refusal.ts';
import type { StreamHead } from './request-head.ts';
import type { StreamService } from './service.ts';
import { StreamBody, type BodyOwner } from './stream-body.ts';
import { StreamReply, type ReplyOwner } from './stream-reply.ts';

/** One request on its stream, from its head until nothing of it is under way any more. */
export class RequestStream implements ReplyOwner, BodyOwner {
  readonly stream: ServerHttp2Stream;
  readonly reply: StreamReply;
  readonly body: StreamBody | null;
  readonly #head: RequestHead;
  readonly #protocol: string | null;
  readonly #client: Client;
  readonly #service: StreamService;
  readonly passed: BodyOwner['passed'];
  /** `Sec-WebSocket-Key` of an extended CONNECT; RFC 8441 §5 asks for none. */
  readonly webSocketKey: string | undefined;
  #deadline: Deadline | null = null;

  constructor(
    stream: ServerHttp2Stream,
    { head, protocol }: StreamHead,
    client: Client,
    service: StreamService,
    passed: BodyOwner['passed'],
  ) {
    this.stream = stream;
    this.#head = head;
    this.#protocol = protocol;
    this.#client = client;
    this.#service = service;
    this.passed = passed;
    this.webSocketKey = valuesOf(head.fields, 'sec-websocket-key')[0];
    // What stands behind a CONNECT is no body.
    const hasBody = !stream.endAfterHeaders && head.method !== 'CONNECT';
    this.body = hasBody ? new StreamBody(stream, this, service.limits()) : null;
    const waits = hasBody && expectationOf(head) === 'met';
    this.reply = new StreamReply(stream, head.method, waits, this);
  }

  /** Resolves when what was asked has been answered, or refused. Never rejects. */
  async run(): Promise<void> {
    const { stream, reply, body } = this;
    const head = this.#head;
    const why = this.#refusal();
    if (why !== null) {
      this.#service.denied(this.#client, why);
      refuse(reply, why, head.method);
    } else if (head.method === 'CONNECT') {
      const arrival = {
        head: webSocketHead(head),
        body: null,
        client: this.#client,
        upgrades: true,
      } as const;
      await this.#service.webSocket(arrival, this);
    } else if (expectationOf(head) === 'unmet') refuseExpectation(reply);
    else {
      const arrival = {
        head,
        body,
        client: this.#client,
        ...(body !== null && { trailers: () => body.trailers }),
      };
      await this.#service.exchange(arrival, this);
      if (!reply.ended) giveUp(stream, constants.NGHTTP2_INTERNAL_ERROR);
    }
    void body?.return();
    this.#deadline?.close();
  }

  /** Cuts what is under way, so that it cannot be taken for whole, and nothing else of the connection. */
  destroy(): void {
    giveUp(this.stream, constants.NGHTTP2_CANCEL);
  }

  replied(): void {
    void this.body?.return();
  }

  /** Who still sends is told that nobody reads it (RFC 9113 §8.1). */
  sent(): void {
    const isWhole = this.body === null ? this.#head.method !== 'CONNECT' : this.body.over;
    if (!isWhole) this.stream.close(constants.NGHTTP2_NO_ERROR);
  }

  /** Why it is none that can be served; null: it is. */
  #refusal(): SidekeyError | null {
    if (this.#head.method !== 'CONNECT') return null;
    if (this.#protocol === null) {
      return new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not carried.');
    }
    if (this.#protocol === 'websocket' && !this.stream.endAfterHeaders) return null;
    return new SidekeyError('bad_request', 'A CONNECT for another protocol than WebSocket is not carried.');
  }

  bodyAwaited(isAwaited: boolean): void {
    const idleMs = () => this.#service.limits().client_body_idle;
    if (!isAwaited) this.#deadline?.clear();
    else {
      this.#deadline ??= new Deadline(this.#service.timers, this.#service.now, () =>
        this.body?.fail(silent(idleMs())),
      );
      this.#deadline.set('body', idleMs());
    }
  }
}

/** Judged as the handshake that it stands for (RFC 8441 §5); what proves a handshake of HTTP/1.1 has no use in it. */
function webSocketHead(head: RequestHead): RequestHead {
  const fields = head.fields.filter((_text, i) => !notOfWebSocket.has(head.fields[i - (i % 2)]!));
  return { ...head, method: 'GET', fields };
}

/** The handshake has a key of the proxy's own, and no body. */
const notOfWebSocket = new Set(['sec-websocket-key', 'content-length']);

/** What becomes of the expectation of a request (RFC 9110 §10.1.1); null: it has none. */
function expectationOf({ fields }: RequestHead): 'met' | 'unmet' | null {
  const values = valuesOf(fields, 'expect');
  if (values.length === 0) return null;
  return values.some((value) => value.toLowerCase() === '100-continue') ? 'met' : 'unmet';
}
