import { peerOf, type Peer } from '../../policy/peer.ts';
import type { ConnectionUser, UpstreamConnection } from '../../upstream/connection.ts';
import type { RawFields } from '../fields.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import { ConnectionEnded, timedOut } from '../upstream-failure.ts';
import { Answer, type Carriage } from './answer.ts';
import { requestHead } from './request-head.ts';
import { keptFor } from './response-facts.ts';
import { ResponseReading, type ResponseSink } from './response-reading.ts';
import { expectationMs, expects, planOf, type AttemptEnd, type Try } from './try.ts';
import { framedFor, rewrittenBody, Upload } from './upload.ts';

/**
 * Methods whose body means something to every server (RFC 9110 §9.3.3 and §9.3.4, RFC 5789). Servers may ignore that of GET,
 * HEAD, DELETE and OPTIONS (§9.3.1, §9.3.2, §9.3.5, §9.3.7), and that of a method they do not know.
 */
const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** One request over one connection, and the response into the reply. */
export class Attempt implements ConnectionUser, ResponseSink, Carriage {
  readonly owner: string;
  readonly #try: Try;
  readonly #peer: Peer;
  readonly #answer: Answer;
  readonly #reading: ResponseReading;
  readonly #isExpecting: boolean;
  #head: Buffer | null = null;
  #connection: UpstreamConnection | null = null;
  #upload: Upload | null = null;
  /** For how long the upstream keeps the connection, as it says. */
  #idleMs: number | null = null;
  /** Whether the upstream may have left the body of the request unread. */
  #isBodyDoubtful = false;

  constructor(it: Try) {
    this.#try = it;
    const { facts, grant } = it.departure.right;
    // Whose credential goes along: that of the grant, or the agent's own.
    this.owner = grant === null ? `agent ${facts.agent ?? ''}` : `grant ${grant.id}`;
    this.#peer = peerOf(it.departure.authority, it.request.identity);
    this.#isExpecting = expects(it);
    this.#answer = new Answer(it, this);
    this.#reading = new ResponseReading(it.departure.method, it.limits, this);
  }

  /** Rejects with a SidekeyError where the upstream fails before its head. */
  run(): Promise<AttemptEnd> {
    const { departure, request, connections, fresh } = this.#try;
    this.#answer.begin(() => {
      this.#head = requestHead(departure, request, this.#isExpecting);
      connections.request(this.#peer, this, fresh);
    });
    return this.#answer.end;
  }

  // What the connection tells.

  connected(connection: UpstreamConnection): void {
    const { departure, request, sent, reply, limits } = this.#try;
    this.#connection = connection;
    connection.deadline(this.#isExpecting ? expectationMs : limits.upstream_head);
    connection.write(this.#head!);
    this.#head = null;
    const { trailers } = departure;
    const plan = planOf(this.#try);
    if (plan.kind === 'none') return;
    // A server that sends no 100 may not read the body, and need not say so (RFC 9110 §10.1.1).
    this.#isBodyDoubtful = this.#isExpecting || !methodsWithBody.has(departure.method);
    if (!this.#isExpecting) reply.continue();
    this.#upload = new Upload(framedFor(plan, connection));
    this.#upload
      .send({ plan, pieces: rewrittenBody(request, sent), trailers }, () => this.#goOn(true))
      .catch((error: Error) => {
        if (this.#connection !== null) this.#broke(error);
      });
  }

  unconnected(error: Error): void {
    this.#answer.fail(error, false);
  }

  received(bytes: Buffer, end: number): void {
    const wrong = this.#reading.read(bytes, end);
    if (wrong !== null) this.#broke(wrong);
    else if (this.#reading.hasHead) this.#rearm();
  }

  drained(): void {
    this.#upload?.drained();
  }

  expired(): void {
    const { authority } = this.#try.departure;
    if (this.#reading.hasHead) {
      if (this.#answer.isWaitedFor) this.#rearm();
      else this.#broke(timedOut(authority, 'stopped sending'));
    } else if (this.#isExpecting && this.#try.reply.waits) this.#goOn();
    else if (this.#upload?.waitsForPiece === true) this.#rearm();
    else this.#broke(timedOut(authority, 'did not answer in time'));
  }

  ended(): void {
    if (this.#reading.end()) return;
    if (this.#reading.hasHead) this.#answer.cut(new ConnectionEnded());
    else this.#broke(new ConnectionEnded());
  }

  lost(error: Error): void {
    this.#broke(error);
  }

  // What the response turns out to be.

  interim(head: ResponseHeadBytes): void {
    const { departure, reply } = this.#try;
    if (head.status !== 100) {
      this.#answer.interim(head.status, head.raw());
      return;
    }
    this.#isBodyDoubtful = this.#upload !== null && !methodsWithBody.has(departure.method);
    if (reply.waits) this.#goOn();
  }

  head(head: ResponseHeadBytes): void {
    this.#idleMs = keptFor(head);
    if (this.#upload !== null && (head.status >= 400 || !this.#upload.isSent)) this.#isBodyDoubtful = true;
    this.#answer.headRead(head);
  }

  payload(piece: Buffer): void {
    this.#answer.payloadLent(piece);
  }

  whole(trailers: RawFields): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#upload?.stop();
    // What the upstream did not read of the body it reads as the beginning of the next request.
    const isReusable = !this.#isBodyDoubtful && this.#reading.isReusable;
    if (isReusable && connection?.isFull === false) connection.release(this.#idleMs);
    else connection?.destroy();
    this.#answer.whole(trailers);
  }

  // What the answer asks for.

  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
    this.#rearm();
  }

  stopSending(): void {
    this.#upload?.stop();
  }

  drop(): void {
    this.#upload?.stop();
    if (this.#head !== null) this.#try.connections.leave(this.#peer, this);
    this.#head = null;
    this.#connection?.destroy();
    this.#connection = null;
  }

  /** The body comes, or may come. */
  #goOn(isSending = false): void {
    this.#try.reply.continue(isSending);
    this.#rearm();
  }

  #rearm(): void {
    const { upstream_idle: idle, upstream_head: head } = this.#try.limits;
    this.#connection?.deadline(this.#reading.hasHead ? idle : head);
  }

  #broke(error: Error): void {
    this.#answer.broke(error, this.#reading.hasBegun);
  }
}
