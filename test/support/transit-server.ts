import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startUpstream, type Upstream } from './upstream.ts';

/** A transit engine of the documented API of HashiCorp Vault and OpenBao, over TLS. */
export interface TransitServer extends Upstream {
  /** Calls as `PATH TOKEN`. */
  readonly calls: readonly string[];
  /** Makes new ciphertexts of the next version; those of the versions before stay readable. */
  rotate(): void;
  /** Answers all calls like a sealed service. */
  seal(): void;
}

interface Login {
  readonly role: string;
  readonly secret: string;
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Starts the engine with the transit key `sidekey`. Accepts this token, and those of the logins. */
export async function startTransitServer(token: string, logins: Readonly<Record<string, Login>> = {}) {
  const keys = [randomBytes(32)];
  const tokens = new Set([token]);
  const calls: string[] = [];
  let isSealed = false;

  function handle(
    path: string,
    request: IncomingMessage,
    body: Record<string, string>,
    response: ServerResponse,
  ) {
    const given = String(request.headers['x-vault-token'] ?? '');
    calls.push(`${path} ${given}`);
    if (isSealed) return answer(response, 503, { errors: ['Vault is sealed'] });
    const [, method = ''] = /^\/v1\/auth\/(\w+)\/login$/.exec(path) ?? [];
    if (method !== '') {
      const login = logins[method];
      const [role, secret] =
        method === 'approle' ? [body['role_id'], body['secret_id']] : [body['role'], body['jwt']];
      if (login === undefined || role !== login.role || secret !== login.secret)
        return answer(response, 400, { errors: ['invalid role or secret ID'] });
      const made = randomBytes(12).toString('base64url');
      tokens.add(made);
      return answer(response, 200, { auth: { client_token: made, lease_duration: 60 } });
    }
    if (!tokens.has(given)) return answer(response, 403, { errors: ['permission denied'] });
    if (path === '/v1/transit/encrypt/sidekey') {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', keys.at(-1)!, iv);
      const text = Buffer.concat([
        iv,
        cipher.update(body['plaintext'] ?? '', 'base64'),
        cipher.final(),
        cipher.getAuthTag(),
      ]);
      return answer(response, 200, {
        data: { ciphertext: `vault:v${keys.length}:${text.toString('base64')}` },
      });
    }
    if (path === '/v1/transit/decrypt/sidekey') {
      const [, version = '', text = ''] = /^vault:v(\d+):(.*)$/.exec(body['ciphertext'] ?? '') ?? [];
      const bytes = Buffer.from(text, 'base64');
      const key = keys[Number(version) - 1];
      if (key === undefined) return answer(response, 400, { errors: ['invalid ciphertext: no prefix'] });
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12));
      decipher.setAuthTag(bytes.subarray(-16));
      try {
        const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
        return answer(response, 200, { data: { plaintext: plain.toString('base64') } });
      } catch {
        return answer(response, 400, { errors: ['cipher: message authentication failed'] });
      }
    }
    return answer(response, 404, { errors: [] });
  }

  const upstream = await startUpstream((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () =>
      handle(request.url ?? '', request, JSON.parse(Buffer.concat(pieces).toString() || '{}'), response),
    );
  });
  return {
    ...upstream,
    calls,
    rotate: () => void keys.push(randomBytes(32)),
    seal: () => void (isSealed = true),
  } satisfies TransitServer;
}
