/** How Sidekey says who it is at a provider's endpoints (RFC 6749 §2.3, RFC 7523 §2.2). */
import { randomUUID } from 'node:crypto';
import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../errors.ts';
import type { ClientAuth } from '../grants/provider.ts';
import { readSigningKey, signJwt } from './signing-key.ts';

/** Who Sidekey is. */
export interface TokenClient {
  readonly clientId: string;
  /** Null: a public client. For `private_key_jwt` the private key: PEM, or a JWK as JSON. */
  readonly clientSecret: string | null;
  readonly auth: ClientAuth;
}

/** What it is for. */
export interface Authentication {
  /** The endpoint that is asked: an assertion is bound to it, so that it is of no use at any other. */
  readonly audience: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** What the provider calls `client_id`. Default: that. */
  readonly clientIdParameter?: string;
}

const assertionLifeS = 60;

/**
 * What adds the client's authentication to a request. Null: no client is named. A secret that is there goes out as
 * `auth` says; a client without one is a public client.
 *
 * The function rejects with SidekeyError `secret_missing` or `input_invalid` where there is no private key that can
 * sign.
 */
export function authenticate(client: TokenClient | null, authentication: Authentication): oauth.ClientAuth {
  if (client === null) return () => undefined;
  const add = methodOf(client, authentication);
  const parameter = authentication.clientIdParameter ?? 'client_id';
  return async (as, metadata, body, headers) => {
    await add(as, metadata, body, headers);
    const id = body.get('client_id');
    if (id === null || parameter === 'client_id') return;
    body.delete('client_id');
    body.set(parameter, id);
  };
}

function methodOf({ clientSecret, auth }: TokenClient, authentication: Authentication): oauth.ClientAuth {
  if (auth === 'private_key_jwt') return privateKeyJwt(clientSecret, authentication);
  if (clientSecret === null || auth === 'none') return oauth.None();
  if (auth === 'post') return oauth.ClientSecretPost(clientSecret);
  return (_as, { client_id: id }, _body, headers) => {
    headers.set('authorization', basicAuthorization(id, clientSecret));
  };
}

/**
 * RFC 6749 §2.3.1 with the encoding of its appendix B, as forms have it: `-`, `.`, `_` and `*` stay as they are, so
 * that servers which forget to decode still recognize a client id that is a UUID.
 */
export function basicAuthorization(clientId: string, clientSecret: string): string {
  const pair = [clientId, clientSecret]
    .map((text) => new URLSearchParams([['', text]]).toString().slice(1))
    .join(':');
  return `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`;
}

function privateKeyJwt(privateKey: string | null, { audience, now }: Authentication): oauth.ClientAuth {
  return async (_as, { client_id: id }, body) => {
    if (privateKey === null) {
      throw new SidekeyError(
        'secret_missing',
        'The client signs its requests, and there is no private key.',
        {
          hint: 'let client_secret refer to the private key: PEM, or a JWK as JSON',
        },
      );
    }
    const issuedAt = Math.floor(now() / 1000);
    const assertion = await signJwt(readSigningKey(privateKey), {
      iss: id,
      sub: id,
      aud: audience,
      iat: issuedAt,
      exp: issuedAt + assertionLifeS,
      jti: randomUUID(),
    });
    body.set('client_id', id);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', assertion);
  };
}
