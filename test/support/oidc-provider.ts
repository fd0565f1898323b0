import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { Provider } from 'oidc-provider/lib/provider.js';
import { startUpstream } from './upstream.ts';

interface ServerOptions {
  /** The configuration of oidc-provider, beside what all servers of tests have. */
  readonly settings: { readonly features?: object } & Readonly<Record<string, unknown>>;
  /** Default: 127.0.0.1. */
  readonly address?: string;
  /** Answers a request itself, or has the server answer it. Default: the server answers all. */
  readonly serve?: (request: IncomingMessage, response: ServerResponse, pass: () => void) => void;
}

/** Starts an authorization server by others (oidc-provider) behind TLS; closed when the test ends. */
export async function startOidcProvider({
  settings,
  address,
  serve = (_request, _response, pass) => pass(),
}: ServerOptions) {
  const later = Promise.withResolvers<RequestListener>();
  const upstream = await startUpstream(
    (request, response) => void later.promise.then((answer) => answer(request, response)),
    undefined,
    address,
  );
  const provider = new Provider(upstream.url, {
    adapter: memory(),
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    findAccount: (_context: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    ...settings,
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: false },
      ...settings.features,
    },
  });
  let callback: ReturnType<typeof provider.callback> | undefined;
  later.resolve((request, response) =>
    serve(request, response, () => {
      // At the first request: middleware that comes later would not be in it.
      callback ??= provider.callback();
      void callback(request, response);
    }),
  );
  return { provider, upstream };
}

type Payload = Record<string, unknown>;

/** The store of the server (oidc-provider's `Adapter`), in memory. */
function memory(): (kind: string) => object {
  const stored = new Map<string, Payload>();
  return (kind) => {
    const by = (name: string, value: string) =>
      [...stored].find(([key, payload]) => key.startsWith(`${kind}/`) && payload[name] === value)?.[1];
    return {
      upsert: async (id: string, payload: Payload) => void stored.set(`${kind}/${id}`, payload),
      find: async (id: string) => stored.get(`${kind}/${id}`),
      findByUserCode: async (userCode: string) => by('userCode', userCode),
      findByUid: async (uid: string) => by('uid', uid),
      destroy: async (id: string) => void stored.delete(`${kind}/${id}`),
      consume: async (id: string) => void Object.assign(stored.get(`${kind}/${id}`) ?? {}, { consumed: 1 }),
      revokeByGrantId: async () => undefined,
    };
  };
}

/** A signing key of a server, as a JWK. */
function signingKey(): Readonly<Record<string, unknown>> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'robot-1' };
}
