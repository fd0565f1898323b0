import { createSign, KeyObject } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import { startUpstream, type Upstream } from './upstream.ts';

/** A key of an issuer. */
export interface IssuerKey {
  readonly kid: string;
  readonly jwk: JWK;
  /** Signs claims; `header` overrides the usual one. */
  sign(claims: object, header?: object): Promise<string>;
  /** Returns the RS256 signature of any text. */
  signText(text: string): string;
}

/** Makes a key pair. */
export async function issuerKey(kid: string, alg = 'ES256'): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return {
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' },
    sign: (claims, header = {}) =>
      new SignJWT(claims as JWTPayload)
        .setProtectedHeader({ alg, kid, typ: 'JWT', ...header })
        .sign(privateKey),
    signText: (text) => createSign('sha256').update(text).sign(KeyObject.from(privateKey), 'base64url'),
  };
}

/** Claims of a job of GitHub Actions, in the order and the form of the real ones. */
export function gitHubClaims(issuer: string, audience: string, seconds: number): JWTPayload {
  return {
    jti: '8a9b7c6d-0000-4000-8000-000000000000',
    sub: 'repo:acme/app:ref:refs/heads/main',
    aud: audience,
    ref: 'refs/heads/main',
    sha: '0123456789abcdef0123456789abcdef01234567',
    repository: 'acme/app',
    repository_owner: 'acme',
    actor_id: '12',
    repository_visibility: 'private',
    repository_id: '74',
    repository_owner_id: '65',
    run_id: '27',
    run_number: '10',
    run_attempt: '2',
    runner_environment: 'github-hosted',
    actor: 'octocat',
    workflow: 'agents',
    head_ref: '',
    base_ref: '',
    event_name: 'push',
    ref_protected: 'true',
    ref_type: 'branch',
    job_workflow_ref: 'acme/app/.github/workflows/agents.yml@refs/heads/main',
    iss: issuer,
    nbf: seconds - 600,
    exp: seconds + 300,
    iat: seconds,
  };
}

/** Claims of a projected token of a service account of Kubernetes. */
export function kubernetesClaims(issuer: string, audience: string, seconds: number): JWTPayload {
  return {
    aud: [audience],
    exp: seconds + 3_600,
    iat: seconds,
    iss: issuer,
    jti: 'ea28ed49-2e11-4280-9ec5-bc3d1d84661a',
    'kubernetes.io': {
      namespace: 'ci',
      node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
      pod: { name: 'runner-7d', uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
      serviceaccount: { name: 'runner', uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
    },
    nbf: seconds,
    sub: 'system:serviceaccount:ci:runner',
  };
}

/** Claims of a JWT-SVID of SPIRE, which has no `iss` by default. */
export function spiffeClaims(audience: string, seconds: number): JWTPayload {
  return {
    aud: [audience],
    exp: seconds + 300,
    iat: seconds,
    sub: 'spiffe://example.org/ns/ci/sa/runner',
  };
}

/** A real server of discovery documents and key sets, over TLS. */
export interface TokenIssuer {
  /** `https://api.acme.test:PORT` */
  readonly url: string;
  readonly upstream: Upstream;
  /** Paths of the requests so far. */
  readonly requests: readonly string[];
  /** Keys of the key set; may be replaced. */
  keys: readonly JWK[];
  /** Answers instead of the documents; null: the documents. */
  failing: { readonly status: number; readonly body: string; readonly location?: string } | null;
  /** `Authorization` that the key set requires; null: none. */
  authorization: string | null;
}

/** Starts an issuer; closed when the test ends. */
export async function startIssuer(keys: readonly IssuerKey[]): Promise<TokenIssuer> {
  const requests: string[] = [];
  const upstream = await startUpstream((request, response) => {
    const path = request.url ?? '';
    requests.push(path);
    const { failing } = issuer;
    response.setHeader('content-type', 'application/json');
    if (failing !== null) {
      if (failing.location !== undefined) response.setHeader('location', failing.location);
      response.statusCode = failing.status;
      response.end(failing.body);
    } else if (path === '/.well-known/openid-configuration') {
      response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }));
    } else if (issuer.authorization !== null && request.headers.authorization !== issuer.authorization) {
      response.statusCode = 403;
      response.end('{}');
    } else response.end(JSON.stringify({ keys: issuer.keys }));
  });
  const issuer: TokenIssuer = {
    url: upstream.url,
    upstream,
    requests,
    keys: keys.map(({ jwk }) => jwk),
    failing: null,
    authorization: null,
  };
  return issuer;
}
