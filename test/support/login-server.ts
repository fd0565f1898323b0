import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { hashToken } from '../../src/agents/authentication.ts';
import { openTunnel, type RawResponse } from './raw-client.ts';
import { requestBody } from './request-body.ts';
import { addAgent, leaseRecord } from './rights.ts';
import { type SidekeyOptions, startSidekey, type TestSidekey } from './sidekey.ts';
import { startUpstream, type Upstream } from './upstream.ts';

/** A token request as the provider received it. */
interface Received {
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** An answer of the provider in place of its own. */
interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly location?: string;
  readonly body: string;
}

/** A provider that programs log in at, with an API, and a proxy before both. */
export interface LoginServer {
  readonly sidekey: TestSidekey;
  readonly upstream: Upstream;
  readonly received: Received[];
  /** Every token that the provider has issued. */
  readonly issued: string[];
  /** Texts of the requests to the API, by `Authorization`. */
  readonly api: string[];
  /** Moves the clock of the proxy on. */
  later(ms: number): void;
  /** Answers the next token requests. */
  answer(next: ((request: Received) => Promise<Answer> | Answer) | null): void;
  /** Sends a request through the proxy. `as`: `NAME:TOKEN` of an agent. */
  send(head: string, body?: string, as?: string): Promise<RawResponse>;
  /** Starts another process of the proxy with the same state. Returns the way to send requests through it. */
  another(): Promise<LoginServer['send']>;
  /** Sends a form to the token endpoint. */
  token(parameters: Readonly<Record<string, string>>, as?: string): Promise<RawResponse>;
  /** Adds an agent with the token `secret`, and with a lease with the token `leased`. */
  agent: (
    name: string,
    fields?: Parameters<typeof addAgent>[3],
    leased?: readonly string[] | null,
  ) => Promise<void>;
}

/** The client of the program that logs in. */
export const clientId = 'app_program';

const header = { alg: 'RS256', typ: 'JWT', kid: 'k1' };

const segment = (it: object) => Buffer.from(JSON.stringify(it)).toString('base64url');

/** A JWT with a signature. */
export function signedJwt(claims: object): string {
  return `${segment(header)}.${segment(claims)}.${randomBytes(64).toString('base64url')}`;
}

/** A code for the token endpoint. */
export const codeRequest = {
  grant_type: 'authorization_code',
  code: 'the-code',
  redirect_uri: 'http://localhost:1455/auth/callback',
  client_id: clientId,
  code_verifier: 'the-verifier',
};

/**
 * @param provider changes of its definition
 * @param config more of the config
 */
export async function startLoginServer(
  provider: Readonly<Record<string, unknown>> = {},
  rules: readonly object[] = [],
  config: object = {},
): Promise<LoginServer> {
  const received: Received[] = [];
  const issued: string[] = [];
  const api: string[] = [];
  let ahead = 0;
  let next: Parameters<LoginServer['answer']>[0] = null;

  function tokens(): Answer {
    const access = signedJwt({ sub: 'u1', exp: 4_000_000_000, n: issued.length });
    const refresh = `rt_${randomBytes(24).toString('hex')}`;
    const id = signedJwt({ email: 'dana@acme.test', sub: 'u1', plan: 'pro' });
    issued.push(access, refresh, id);
    return {
      body: JSON.stringify({
        access_token: access,
        refresh_token: refresh,
        id_token: id,
        token_type: 'Bearer',
        ...(received.length > 1 ? {} : { expires_in: 3_600 }),
        scope: 'openid offline_access',
        account: { uuid: 'a1' },
        session_secret: 'not to be passed on',
      }),
    };
  }

  async function listener(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await requestBody(request);
    if (request.method !== 'POST' || !/^\/+oauth\/+token/i.test(request.url ?? '')) {
      api.push(request.headers.authorization ?? '');
      response.end('the API');
      return;
    }
    const isJson = request.headers['content-type']?.includes('json') === true;
    const parameters = (isJson ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body))) as Record<
      string,
      string
    >;
    const asked = { headers: request.headers, body, parameters };
    received.push(asked);
    const answer = next === null ? tokens() : await next(asked);
    response.statusCode = answer.status ?? 200;
    response.setHeader('content-type', answer.type ?? 'application/json');
    if (answer.location !== undefined) response.setHeader('location', answer.location);
    response.end(answer.body);
  }

  const upstream = await startUpstream((...it) => void listener(...it).catch(() => it[1].destroy()));
  const { authority } = upstream;
  const options: SidekeyOptions = {
    now: () => Date.now() + ahead,
    domains: { [authority]: { grant: 'program', ...(rules.length === 0 ? {} : { rules }) } },
    config: {
      ...config,
      providers: {
        program: {
          title: 'Program',
          token_endpoint: `https://${authority}/oauth/token`,
          audience: [authority],
          inject: [{ paths: ['/oauth/**'], as: 'own' }, { as: 'bearer' }],
          flows: ['authorization_code'],
          capture_logins: true,
          logins: [{ program: 'Program', client_id: clientId, answer_fields: ['account'] }],
          ...provider,
        },
      },
    },
  };
  const sidekey = await startSidekey(options);
  const { store } = sidekey.proxy.state;
  const sendBy =
    (proxy: TestSidekey): LoginServer['send'] =>
    async (head, body = '', as) => {
      const client = await openTunnel(proxy, authority, {
        fields: as === undefined ? [] : [`Proxy-Authorization: Basic ${Buffer.from(as).toString('base64')}`],
      });
      client.send(
        `${head}\r\nHost: ${authority}\r\n${body === '' ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`}\r\n${body}`,
      );
      return client.response(head.split(' ', 1)[0]);
    };
  const send = sendBy(sidekey);
  return {
    sidekey,
    upstream,
    received,
    issued,
    api,
    later: (ms) => void (ahead += ms),
    answer: (it) => void (next = it),
    send,
    another: async () => sendBy(await startSidekey({ ...options, folder: sidekey.folder })),
    token: (parameters, as) =>
      send(
        'POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded',
        new URLSearchParams(parameters).toString(),
        as,
      ),
    async agent(name, fields = {}, grants = null) {
      await addAgent(store, name, 'secret', fields);
      const at = { createdAt: Date.now(), expiresAt: Date.now() + 900_000 };
      await store.leases.insert(leaseRecord({ agent: name, tokenHash: hashToken('leased'), grants, ...at }));
    },
  };
}
