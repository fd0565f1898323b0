/** Assertions as authorization grants (RFC 7523 §2.1): a JWT of our own is exchanged for an access token. */
import { randomUUID } from 'node:crypto';
import type { SigningKey } from '../grants/credential.ts';
import type { Dialect } from '../grants/dialect.ts';
import { signJwt } from './signing-key.ts';
import { askTokenEndpoint, type TokenAnswer, type TokenClient, type TokenIo } from './token-endpoint.ts';

/** One assertion, and where it goes. */
export interface JwtBearerRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: none is named; the assertion says who asks. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly key: SigningKey;
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
  /** As it is sent; null: none is named. */
  readonly scope: string | null;
  /** Sent as they are. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** RFC 7523 §2.1. */
const jwtBearerGrantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/**
 * How long an assertion is good for, in seconds. It is used at once; Google takes an hour at the most, Salesforce three
 * minutes.
 */
const lifetimeS = 180;

/**
 * Signs an assertion and asks for a token. The scope stands in the assertion too: Google and DocuSign read it there, and
 * RFC 7521 §4.1 has it as a parameter. Never rejects for what a provider or a network may do; a key that cannot sign is
 * the answer `key_invalid`.
 */
export async function requestJwtBearer(request: JwtBearerRequest, io: TokenIo): Promise<TokenAnswer> {
  const { endpoint, client, dialect, scope, parameters } = request;
  const assertion = await signAssertion(request, io.now());
  if (assertion === null) {
    return {
      kind: 'error',
      error: 'key_invalid',
      description: `the private key does not sign with ${request.key.algorithm}`,
    };
  }
  return askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: jwtBearerGrantType,
      parameters: { ...parameters, ...(scope === null ? {} : { scope }), assertion },
      secrets: [assertion],
    },
    io,
  );
}

/** RFC 7523 §3: the claims that are required, `iat`, and a `jti` so that no two assertions are the same. */
async function signAssertion(request: JwtBearerRequest, now: number): Promise<string | null> {
  const { key, issuer, subject, audience, scope } = request;
  const issuedAt = Math.floor(now / 1000);
  try {
    return await signJwt(key, {
      iss: issuer,
      sub: subject,
      aud: audience,
      iat: issuedAt,
      exp: issuedAt + lifetimeS,
      jti: randomUUID(),
      ...(scope === null ? {} : { scope }),
    });
  } catch {
    // What the key says of itself in a message must not get out.
    return null;
  }
}
