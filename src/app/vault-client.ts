import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { readSecret } from '../config/secret-reference.ts';
import type { VaultServer } from '../config/vaults.ts';
import { readBounded } from '../lib/body.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import type { FailureCode } from '../lib/failures.ts';
import { withoutStop } from '../lib/text.ts';
import { describe, describeFault } from '../grants/oauth/description.ts';
import { type JsonObject, jsonObject, memberAt } from '../grants/oauth/http.ts';
import { openUpstreamClient } from './upstream.ts';

/** The client of HashiCorp Vault and OpenBao: logs in, renews its token, and sends requests. */

/** Life of a token or a lease. Times are milliseconds since the epoch. */
export interface VaultLife {
  readonly endsAt: number;
  /** Time of its renewal or replacement. */
  readonly dueAt: number;
  readonly isRenewable: boolean;
}

/** A token of the server. Leases made with it end with it. */
export interface VaultToken {
  readonly text: string;
  /** Replaced by a renewal; null: unknown, as for a token of the config. */
  life: VaultLife | null;
}

/** Sends requests to one server. */
export type VaultClient = ReturnType<typeof createVaultClient>;

/** A successful response. */
interface VaultReply {
  readonly answer: JsonObject;
  readonly token: VaultToken;
  /** Time before the request was sent, in milliseconds since the epoch. */
  readonly askedAt: number;
}

/** A response of any status. */
interface AnyReply extends Omit<VaultReply, 'token'> {
  readonly isOk: boolean;
  readonly status: number;
  /** The error for a response that is not ok. */
  readonly refusal: SidekeyError;
}

interface VaultClientParts {
  /** Config in force, for the connections. */
  readonly config: () => Pick<Config, 'file' | 'upstream' | 'limits'>;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  /** Code of all failures. */
  readonly code: FailureCode;
}

const maxAnswerBytes = 1_048_576;
/** Milliseconds until a failed renewal is repeated. */
const retryMs = 30_000;
/** Milliseconds. A renewal that adds less counts as refused, because the server is at a maximum. */
const leastGainMs = 1_000;

/** Returns a life of `seconds` from the time before the request. It is due after two thirds. */
export function vaultLife(askedAt: number, seconds: unknown, renewable: unknown): VaultLife {
  const lifeMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1_000 : 0;
  return { endsAt: askedAt + lifeMs, dueAt: askedAt + (lifeMs * 2) / 3, isRenewable: renewable === true };
}

/** Reports whether a renewal lengthened a life. */
export function isLonger(renewed: VaultLife, before: VaultLife): boolean {
  return renewed.endsAt > before.endsAt + leastGainMs;
}

/** For tokens that never end, the server returns the duration 0. */
const tokenLife = (askedAt: number, seconds: unknown, renewable: unknown): VaultLife =>
  seconds === 0
    ? { endsAt: Infinity, dueAt: Infinity, isRenewable: false }
    : vaultLife(askedAt, seconds, renewable);

const lifeOfAuth = (answer: JsonObject, askedAt: number): VaultLife =>
  tokenLife(askedAt, memberAt(answer, 'auth.lease_duration'), memberAt(answer, 'auth.renewable'));

type Login = Exclude<VaultServer['login'], { readonly method: 'token' }>;

/** Creates a client. Reads nothing and opens no connection before the first request. */
export function createVaultClient(
  { address, namespace, ca, login, where }: VaultServer,
  { config, env, now, code }: VaultClientParts,
) {
  let current: VaultToken | null = null;
  let pending: Promise<VaultToken> | null = null;

  function refused(why: string, hint: Hint, cause?: unknown): SidekeyError {
    return new SidekeyError(code, `The Vault server ${address} cannot be used: ${why}.`, { hint, cause });
  }

  function refusalOf(status: number, path: string, answer: JsonObject | null, secrets: readonly string[]) {
    const told = [answer?.['errors'], answer?.['warnings']].flat().filter((it) => typeof it === 'string');
    const words = describe(told.join('; '), secrets);
    const sentence = `it answered ${status} to ${path}${words === '' ? '' : ` (${withoutStop(words)})`}`;
    // Status 0: a redirect that `fetch` did not follow, as configured.
    if (status === 0 || (status >= 300 && status < 400))
      return refused(`${sentence}, a redirect, which is never followed`, hints.redirect);
    const other = path.endsWith('/login') ? hints.login : hints.other;
    return refused(sentence, hintOfStatus[status] ?? other);
  }

  async function send(
    method: 'GET' | 'POST',
    path: string,
    { body, token, secret = '' }: { body?: object | undefined; token?: string; secret?: string },
  ): Promise<AnyReply> {
    const { file, upstream, limits } = config();
    // The address guard is for requests of agents. The config names this address.
    const own = {
      ...upstream,
      privateAddresses: ['0.0.0.0/0', '::/0'],
      ca: ca === null ? upstream.ca : [ca],
    };
    const url = new URL(`/v1/${path}`, address);
    const signal = AbortSignal.timeout(limits.refresh_timeout);
    const client = await openUpstreamClient({ file, upstream: own, limits }, { env, ownPorts: () => [] });
    const askedAt = now();
    try {
      const response = await client.fetch(url, {
        method,
        redirect: 'manual',
        headers: {
          accept: 'application/json',
          'x-vault-request': 'true',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(token === undefined ? {} : { 'x-vault-token': token }),
          ...(namespace === null ? {} : { 'x-vault-namespace': namespace }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal,
      });
      const { status, ok: isOk } = response;
      const bytes = await readBounded(response.body, maxAnswerBytes);
      if (bytes === null) throw refused('its answer is larger than 1 MiB', hints.other);
      const answer = jsonObject(bytes.toString('utf8'));
      if (isOk && answer === null) throw refused('its answer is no JSON', hints.other);
      const refusal = refusalOf(status, url.pathname, answer, [token ?? '', secret]);
      return { isOk, status, answer: answer ?? {}, askedAt, refusal };
    } catch (cause) {
      if (cause instanceof SidekeyError && cause.code === code) throw cause;
      const why = signal.aborted
        ? `it did not answer within ${limits.refresh_timeout} ms`
        : withoutStop(describeFault(cause));
      throw refused(why, hints.other, cause);
    } finally {
      await client.close();
    }
  }

  const readLogin = () => readSecret(login.secret, { env, cwd: dirname(config().file), where });

  async function newToken({ method, mount, role }: Login): Promise<VaultToken> {
    const secret = await readLogin();
    const body = method === 'approle' ? { role_id: role, secret_id: secret } : { role, jwt: secret };
    const { isOk, answer, askedAt, refusal } = await send('POST', `auth/${mount}/login`, { body, secret });
    if (!isOk) throw refusal;
    const text = memberAt(answer, 'auth.client_token');
    if (typeof text !== 'string') throw refused(`its ${method} login gave no token`, hints.other);
    return { text, life: lifeOfAuth(answer, askedAt) };
  }

  /** Renews the current token. Returns false if the server refuses. */
  async function renewToken(token: VaultToken, life: VaultLife): Promise<boolean> {
    if (!life.isRenewable) return false;
    const reply = await send('POST', 'auth/token/renew-self', { body: {}, token: token.text });
    const renewed = lifeOfAuth(reply.answer, reply.askedAt);
    if (reply.isOk && isLonger(renewed, life)) token.life = renewed;
    return token.life === renewed;
  }

  async function replaceToken(by: Login): Promise<VaultToken> {
    const token = current;
    const life = token?.life ?? null;
    if (token === null || life === null || life.endsAt <= now()) return (current = await newToken(by));
    try {
      return (await renewToken(token, life)) ? token : (current = await newToken(by));
    } catch {
      // The server is unreachable, and the token is still valid.
      token.life = { ...life, dueAt: Math.min(life.endsAt, now() + retryMs) };
      return token;
    }
  }

  async function liveToken(): Promise<VaultToken> {
    if (login.method === 'token') {
      const text = await readLogin();
      if (current?.text !== text) current = { text, life: null };
      return current;
    }
    if (current !== null && now() < (current.life?.dueAt ?? 0)) return current;
    return (pending ??= replaceToken(login).finally(() => (pending = null)));
  }

  return {
    /** Returns the JSON of a 2xx response, and its request's token. @throws SidekeyError with `code` */
    async request(method: 'GET' | 'POST', path: string, body?: object): Promise<VaultReply> {
      const attempt = async () => {
        const token = await liveToken();
        return { token, ...(await send(method, path, { body, token: token.text })) };
      };
      const known = current;
      let reply = await attempt();
      // The token of an earlier login may have been revoked.
      if (reply.status === 403 && reply.token === known && login.method !== 'token') {
        if (current === known) current = null;
        reply = await attempt();
      }
      if (!reply.isOk) throw reply.refusal;
      return reply;
    },
    /** Returns the life of a token. For a token of the config, sends a request. @throws as `request` */
    async lifeOf(token: VaultToken): Promise<VaultLife> {
      if (token.life !== null) return token.life;
      const { isOk, answer, askedAt, refusal } = await send('GET', 'auth/token/lookup-self', {
        token: token.text,
      });
      if (!isOk) throw refusal;
      return tokenLife(askedAt, memberAt(answer, 'data.ttl'), false);
    },
  };
}

const hintOfStatus: Readonly<Record<number, string>> = {
  403: 'check that the token or the role is valid, and that its policy allows this path',
  404: 'check the path and the namespace; KV version 2 has data/ after the mount: secret/data/NAME',
  503: 'unseal the server',
};

const hints = {
  login: 'check the login of the server in the config: its role, its secret, and its mount',
  redirect: 'set the address to that of the active server, or of a load balancer in front',
  other: 'check the address, and that the server runs and is unsealed',
} as const;
