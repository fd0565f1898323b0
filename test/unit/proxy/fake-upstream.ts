import type { ExpiredSign } from '../../../src/domain/provider.ts';
import type { RawFields } from '../../../src/proxy/http/fields.ts';
import {
  type Account,
  createGone,
  type ExchangeResult,
  Meter,
  type Reply,
} from '../../../src/proxy/http/message.ts';
import { defaultLimits, type Limits } from '../../../src/proxy/policy/limits.ts';
import type { Credentials } from '../../../src/proxy/attempt.ts';
import { forward } from '../../../src/proxy/forward.ts';
import type { AppliedCredential, UpstreamRequest } from '../../../src/proxy/request.ts';
import type { ConnectionUser, UpstreamConnection } from '../../../src/proxy/upstream/h1-connection.ts';
import type { Connections } from '../../../src/proxy/upstream/h1-pool.ts';
import type { Streams } from '../../../src/proxy/upstream/h2-pool.ts';
import { factsOf } from '../../support/request-facts.ts';

/** A connection that a test speaks for. */
export interface FakeConnection extends UpstreamConnection {
  /** All that was written. */
  sent(): string;
  /** Has the upstream say these bytes. */
  says(text: string): void;
  readonly user: ConnectionUser;
  readonly released: boolean;
  readonly destroyed: boolean;
  readonly paused: boolean;
  /** The announced keep-alive time, and the last deadline. */
  readonly kept: number | null;
  readonly due: number;
  /** Number of deadlines that were set. */
  readonly deadlines: number;
  /** Takes no more until it is `drained`. */
  full: boolean;
}

/** The region is used again and again, as that of the real ones is. */
const region = Buffer.alloc(65_536);

export function fakeConnection(user: ConnectionUser): FakeConnection {
  let sent = '';
  let [released, destroyed, paused] = [false, false, false];
  let kept: number | null = null;
  let due = 0;
  let deadlines = 0;
  const it: FakeConnection = {
    user,
    full: false,
    isReused: false,
    write(bytes) {
      sent += bytes.toString('latin1');
      return !it.full;
    },
    writeHead: ({ method, path }, section) =>
      void it.write(`${method} ${path} HTTP/1.1\r\n${section.toString('latin1')}`),
    pause: () => void (paused = true),
    resume: () => void (paused = false),
    deadline(ms) {
      due = ms;
      deadlines += 1;
    },
    get isFull() {
      return it.full;
    },
    release(idleMs) {
      released = true;
      kept = idleMs;
    },
    destroy: () => void (destroyed = true),
    sent: () => sent,
    says(text) {
      const end = region.write(text, 'latin1');
      user.received(region, end);
      region.fill('?', 0, end);
    },
    get released() {
      return released;
    },
    get destroyed() {
      return destroyed;
    },
    get paused() {
      return paused;
    },
    get kept() {
      return kept;
    },
    get due() {
      return due;
    },
    get deadlines() {
      return deadlines;
    },
  };
  return it;
}

/** Connections that are given when the test says so. */
export function fakeConnections() {
  const asked: { readonly user: ConnectionUser; readonly fresh: boolean }[] = [];
  let left = 0;
  const connections: Connections = {
    request: (_authority, user, fresh) => void asked.push({ user, fresh: fresh === true }),
    leave: () => void (left += 1),
    adopt: (_authority, socket) => void socket.destroy(),
    usage: () => ({ open: 0, idle: 0, waiting: 0 }),
    close: () => Promise.resolve(),
  };
  return {
    connections,
    asked,
    left: () => left,
    /** Gives the one who asked last a connection. */
    give: (): FakeConnection => {
      const { user } = asked.at(-1)!;
      const connection = fakeConnection(user);
      user.connected(connection);
      return connection;
    },
  };
}

/** Streams for requests that open none: throws if one is requested. */
export const noStreams: Streams = {
  request() {
    throw new Error('a stream was asked for');
  },
  leave() {},
  negotiate: () => Promise.reject(new Error('a protocol was asked for')),
  usage: () => ({ open: 0, idle: 0, waiting: 0 }),
  close: () => Promise.resolve(),
};

/** A reply that keeps what it is told. */
export function replyOf(gone = createGone(), waits = false) {
  const said: unknown[] = [];
  const drains: (() => void)[] = [];
  let started = false;
  const state = { full: false };
  const reply: Reply = {
    get started() {
      return started;
    },
    gone,
    hold: () => gone,
    get expectsContinue() {
      return waits;
    },
    continue(isSending = false) {
      waits = false;
      if (!isSending) said.push('continue');
    },
    informational: (status, fields) => said.push(['informational', status, ...fields]),
    closeAfter() {},
    head(status, reason, fields) {
      started = true;
      said.push(['head', status, reason, ...fields]);
    },
    write(chunk) {
      const before: unknown = said.at(-1);
      if (Array.isArray(before) && before[0] === 'write') before[1] += chunk.toString('latin1');
      else said.push(['write', chunk.toString('latin1')]);
      return !state.full;
    },
    onDrain: (listener) => void drains.push(listener),
    end(trailers, flushed) {
      said.push(['end', ...trailers]);
      flushed?.();
    },
    abort: () => said.push('abort'),
  };
  return { reply, said, drains, state, gone };
}

/**
 * Parts of a request that a test sets, and what a renewal of its token changes; null: there is no newer
 * token.
 */
export interface FakeRequest extends Partial<UpstreamRequest> {
  readonly renew?: (isReplayable: boolean) => Promise<Partial<UpstreamRequest> | null>;
  /** Responses that count as a 401. */
  readonly signs?: readonly ExpiredSign[];
  /** Takes bytes off a budget. */
  readonly account?: Account;
}

const authority = { scheme: 'https', host: 'api.acme.test', port: 443 } as const;
const refreshable = { token: { grant: { refreshable: true } }, nonceOrigin: null } as AppliedCredential;

export function requestOf(more: FakeRequest = {}): UpstreamRequest {
  return {
    authority,
    peer: more.authority ?? authority,
    protocol: 'http/1.1',
    method: 'GET',
    path: '/',
    fields: ['Host', 'api.acme.test'],
    framing: { kind: 'none' },
    body: null,
    carriesGrant: true,
    permission: {
      caller: {
        agent: null,
        lease: null,
        egressNow: () => [],
        holds: () => Promise.resolve(Infinity),
        labels: [],
        labelsNow: () => Promise.resolve([]),
        grantLabels: () => Promise.resolve([]),
      },
      facts: factsOf('https://api.acme.test/'),
      grant: null,
    },
    maxResponse: null,
    leakGuard: null,
    leakKey: null,
    credential: more.renew === undefined ? null : refreshable,
    ...more,
  };
}

/** Renews tokens as a test says; no response says anything of a proof or a consent. */
export function credentialsOf({ renew, signs = [] }: FakeRequest = {}): Credentials {
  return {
    async renew(request, isReplayable) {
      const renewed = (await renew?.(isReplayable)) ?? null;
      return renewed && { ...request, ...renewed };
    },
    prove: (request) => request,
    readProof: () => 'nothing',
    expiredSigns: () => signs,
    consentHint: () => [],
  };
}

/** Forwards a request; resolves or rejects as its end says. */
export function forwarded(
  request: UpstreamRequest,
  reply: Reply,
  config: Parameters<typeof forward>[0]['config'],
  meter: Meter,
  credentials: Credentials,
): Promise<ExchangeResult> {
  return new Promise((done, failed) => {
    forward({ request, reply, config, meter, credentials, done, failed });
  });
}

/** Begins an exchange; its connection comes when the test gives it. */
export function exchangeOf(
  more: FakeRequest = {},
  limits: Limits = defaultLimits,
  { waits = false }: { readonly waits?: boolean } = {},
) {
  const pool = fakeConnections();
  const client = replyOf(createGone(), waits);
  const meter = new Meter(more.account);
  const { connections } = pool;
  const config = { connections, streams: noStreams, limits };
  const carried = forwarded(requestOf(more), client.reply, config, meter, credentialsOf(more));
  carried.catch(() => {});
  return { ...pool, ...client, carried, meter };
}

/** A body in these pieces. */
export async function* bodyOf(...pieces: string[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

/** A body of `hello` that comes when the test says so. */
export function lateBody() {
  const { promise, resolve } = Promise.withResolvers<void>();
  const body = (async function* () {
    await promise;
    yield Buffer.from('hello');
  })();
  return { body, come: resolve };
}

/** A body with a length or in chunks, and the fields that say so. */
export function framed(kind: 'chunked' | number): Pick<UpstreamRequest, 'framing' | 'fields'> {
  const fields: RawFields =
    kind === 'chunked' ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', `${kind}`];
  return {
    framing: kind === 'chunked' ? { kind } : { kind: 'length', bytes: kind },
    fields: ['Host', 'h', ...fields],
  };
}

/** Lets promises that are settled be noticed. */
export async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
