import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { startUpstream, type Upstream } from './upstream.ts';

/**
 * A counterpart of the documented API of HashiCorp Vault and OpenBao, over TLS: logins, tokens, KV, leases,
 * transit.
 */
export interface VaultServer extends Upstream {
  /** Calls as `METHOD PATH TOKEN`. */
  readonly calls: readonly string[];
  /** Makes new ciphertexts of the next version; those of the versions before stay readable. */
  rotate(): void;
  /** Answers all calls like a sealed server, or no longer. */
  seal(isSealed?: boolean): void;
  /** Revokes all tokens of logins, with their leases. */
  revokeTokens(): void;
  /** Answers the next calls with this instead, as long as it is set. */
  instead: ((path: string) => Answer | null) | null;
}

interface Answer {
  /** 0: none comes. */
  readonly status: number;
  readonly body: object | string;
  readonly headers?: Record<string, string>;
}

interface Options {
  /** A token without an end, as a root token. */
  readonly token?: string;
  /** Tokens with an end, in seconds from the start. */
  readonly endingTokens?: Readonly<Record<string, number>>;
  /** Logins by method, or by the path of its mount. */
  readonly logins?: Readonly<Record<string, { readonly role: string; readonly secret: string }>>;
  /** Seconds of a token of a login, and the most that renewals reach. */
  readonly tokenTtl?: number;
  readonly tokenMaxTtl?: number;
  readonly namespace?: string;
  /** Secrets of KV version 1 and 2, by their path. */
  readonly kv1?: Readonly<Record<string, object>>;
  readonly kv2?: Readonly<Record<string, object>>;
  /** Roles of engines that make credentials, by the path to read. */
  readonly roles?: Readonly<Record<string, Role>>;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

interface Role {
  readonly ttl: number;
  readonly maxTtl: number;
  readonly renewable?: boolean;
  readonly make: (count: number) => object;
}

interface Token {
  /** Milliseconds since the epoch. */
  endsAt: number;
  readonly maxEndsAt: number;
}

interface Lease extends Token {
  readonly role: Role;
  readonly token: Token;
}

const ok = (body: object): Answer => ({ status: 200, body });
const failed = (status: number, ...errors: readonly string[]): Answer => ({ status, body: { errors } });

/** Starts the server, with the transit key `sidekey`. */
export async function startVaultServer(options: Options): Promise<VaultServer> {
  const { logins = {}, kv1 = {}, kv2 = {}, roles = {}, tokenTtl = 60, now = Date.now } = options;
  const keys = [randomBytes(32)];
  const forever = { endsAt: Infinity, maxEndsAt: Infinity };
  const tokens = new Map<string, Token>();
  if (options.token !== undefined) tokens.set(options.token, forever);
  for (const [text, seconds] of Object.entries(options.endingTokens ?? {})) {
    tokens.set(text, { endsAt: now() + seconds * 1_000, maxEndsAt: now() + seconds * 1_000 });
  }
  const leases = new Map<string, Lease>();
  const calls: string[] = [];
  const state = { isSealed: false, made: 0, instead: null as VaultServer['instead'] };

  const seconds = (endsAt: number) => (endsAt === Infinity ? 0 : Math.floor((endsAt - now()) / 1_000));
  const lengthen = (it: Token, ttl: number) =>
    (it.endsAt = Math.max(it.endsAt, Math.min(it.maxEndsAt, now() + ttl * 1_000)));

  function login(path: string, body: Record<string, string>): Answer {
    const mount = /^auth\/(.+)\/login$/.exec(path)?.[1] ?? '';
    const known = logins[mount];
    const [role, secret] =
      'role_id' in body ? [body['role_id'], body['secret_id']] : [body['role'], body['jwt']];
    if (known === undefined || role !== known.role || secret !== known.secret)
      return failed(400, `invalid role or secret ID: ${secret}`);
    const text = `hvs.${randomBytes(12).toString('base64url')}`;
    const endsAt = now() + tokenTtl * 1_000;
    tokens.set(text, { endsAt, maxEndsAt: now() + (options.tokenMaxTtl ?? tokenTtl) * 1_000 });
    return ok({ auth: { client_token: text, lease_duration: tokenTtl, renewable: true }, data: null });
  }

  function renewLease({ lease_id: id = '' }: Record<string, string>): Answer {
    const lease = leases.get(id);
    if (lease === undefined || lease.endsAt <= now() || lease.token.endsAt <= now())
      return failed(400, 'lease not found');
    if (lease.role.renewable === false) return failed(400, 'lease is not renewable');
    lengthen(lease, lease.role.ttl);
    return ok({ lease_id: id, renewable: true, lease_duration: seconds(lease.endsAt), data: null });
  }

  function makeCredentials(path: string, role: Role, token: Token): Answer {
    const id = `${path}/${randomBytes(9).toString('base64url')}`;
    const [endsAt, maxEndsAt] = [now() + role.ttl * 1_000, now() + role.maxTtl * 1_000];
    leases.set(id, { role, token, endsAt, maxEndsAt });
    const renewable = role.renewable ?? true;
    return ok({ lease_id: id, renewable, lease_duration: role.ttl, data: role.make((state.made += 1)) });
  }

  function secretAt(path: string): Answer {
    const data = kv1[path];
    if (data !== undefined) {
      const duration = 'ttl' in data ? Number.parseInt(String(data.ttl), 10) : 2_764_800;
      return ok({ lease_id: '', renewable: false, lease_duration: duration, data });
    }
    const secret = kv2[path];
    if (secret !== undefined) {
      const metadata = {
        created_time: '2026-11-01T00:00:00Z',
        deletion_time: '',
        destroyed: false,
        version: 1,
      };
      return ok({ lease_id: '', renewable: false, lease_duration: 0, data: { data: secret, metadata } });
    }
    const isWithoutData = Object.keys(kv2).some((it) => it.replace('/data/', '/') === path);
    if (!isWithoutData) return failed(404);
    const warnings = ['Invalid path for a versioned K/V secrets engine.'];
    return { status: 404, body: { errors: [], warnings } };
  }

  function transit(path: string, body: Record<string, string>): Answer {
    if (path === 'transit/encrypt/sidekey') {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', keys.at(-1)!, iv);
      const sealed = [cipher.update(body['plaintext'] ?? '', 'base64'), cipher.final()];
      const text = Buffer.concat([iv, ...sealed, cipher.getAuthTag()]).toString('base64');
      return ok({ data: { ciphertext: `vault:v${keys.length}:${text}` } });
    }
    const [, version = '', text = ''] = /^vault:v(\d+):(.*)$/.exec(body['ciphertext'] ?? '') ?? [];
    const bytes = Buffer.from(text, 'base64');
    const key = keys[Number(version) - 1];
    if (key === undefined) return failed(400, 'invalid ciphertext: no prefix');
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12));
    decipher.setAuthTag(bytes.subarray(-16));
    try {
      const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
      return ok({ data: { plaintext: plain.toString('base64') } });
    } catch {
      return failed(400, 'cipher: message authentication failed');
    }
  }

  function handle(
    method: string,
    path: string,
    request: IncomingMessage,
    body: Record<string, string>,
  ): Answer {
    const text = String(request.headers['x-vault-token'] ?? '');
    calls.push(`${method} ${path} ${text}`);
    if (state.isSealed) return failed(503, 'Vault is sealed');
    const replaced = state.instead?.(path) ?? null;
    if (replaced !== null) return replaced;
    if (request.headers['x-vault-namespace'] !== options.namespace)
      return failed(404, `no handler for route "${path}". route entry not found.`);
    if (path.endsWith('/login')) return login(path, body);
    const token = tokens.get(text);
    // The real server does not repeat the token; a proxy in front may.
    if (token === undefined || token.endsAt <= now())
      return failed(403, 'permission denied', `token ${text}`);
    if (path === 'auth/token/lookup-self') {
      return ok({ data: { ttl: seconds(token.endsAt), renewable: token.endsAt !== Infinity } });
    }
    if (path === 'auth/token/renew-self') {
      lengthen(token, tokenTtl);
      const duration = seconds(token.endsAt);
      return ok({ auth: { client_token: text, lease_duration: duration, renewable: true } });
    }
    if (path === 'sys/leases/renew') return renewLease(body);
    if (/^transit\/(?:en|de)crypt\/sidekey$/.test(path)) return transit(path, body);
    const role = roles[path];
    return role === undefined ? secretAt(path) : makeCredentials(path, role, token);
  }

  const upstream = await startUpstream((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const given = JSON.parse(Buffer.concat(pieces).toString() || '{}') as Record<string, string>;
      const path = decodeURI(request.url ?? '').replace(/^\/v1\//, '');
      const { status, body, headers } = handle(request.method ?? '', path, request, given);
      if (status === 0) return;
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
  });
  return Object.assign(state, {
    ...upstream,
    calls,
    rotate: () => void keys.push(randomBytes(32)),
    seal: (isSealed = true) => void (state.isSealed = isSealed),
    revokeTokens() {
      for (const token of tokens.values()) if (token !== forever) token.endsAt = 0;
    },
  });
}
