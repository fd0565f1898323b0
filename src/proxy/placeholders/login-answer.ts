import type { LoginClient } from '../../domain/provider.ts';
import { isObject, jsonObject, type JsonObject } from '../../grants/oauth/http.ts';
import { plainForm, type PlaceholderForm, readForm } from './codes.ts';

/** Makes a placeholder of the grant of a login. */
type Make = (form: PlaceholderForm) => string;

/** Members of RFC 6749 §5.1 and RFC 8693 §2.2.1 that are not secret, and a common additional one. */
const plainMembers = ['token_type', 'expires_in', 'scope', 'issued_token_type', 'refresh_token_expires_in'];

/**
 * Returns the answer of a token endpoint for a program, with placeholders as tokens. Members that are not
 * known to be free of secrets are left out.
 *
 * @param tokens the real tokens
 */
export function answerWithPlaceholders(
  answer: JsonObject,
  client: LoginClient,
  tokens: { readonly accessToken: string; readonly refreshToken: string | null },
  make: Make,
): JsonObject {
  const real = [tokens.accessToken, tokens.refreshToken ?? '', textOf(answer['id_token'])];
  const secrets = real.filter((token) => token !== '').map((token) => JSON.stringify(token).slice(1, -1));
  const members = Object.entries(answer).flatMap(([name, value]): [string, unknown][] => {
    if (name === 'access_token') return [[name, accessPlaceholder(tokens.accessToken, client, make)]];
    if (name === 'refresh_token') return [[name, refreshPlaceholder(client, make)]];
    if (name === 'id_token') {
      const form = jwtLike(textOf(value));
      return form === null ? [] : [[name, make(form)]];
    }
    if (!plainMembers.includes(name) && !client.answerFields.includes(name)) return [];
    const written = JSON.stringify(value);
    return secrets.some((secret) => written.includes(secret)) ? [] : [[name, value]];
  });
  return Object.fromEntries(members);
}

/** Returns the placeholder of an access token, in the form of the client or with the claims of the token. */
export function accessPlaceholder(token: string, { accessToken: template }: LoginClient, make: Make): string {
  return make((template === null ? null : readForm(template)) ?? jwtLike(token) ?? plainForm);
}

/** Returns the placeholder of a refresh token. */
export function refreshPlaceholder({ refreshToken: template }: LoginClient, make: Make): string {
  return make((template === null ? null : readForm(template)) ?? plainForm);
}

/** Returns the form of an unsigned JWT (RFC 7519) with the header and claims of a token; null: not a JWT. */
export function jwtLike(token: string): PlaceholderForm | null {
  const [header = '', claims = '', ...rest] = token.split('.');
  const isJwt = rest.length === 1 && [header, claims].every((part) => isObject(decoded(part)));
  return isJwt ? { ...plainForm, before: `${header}.${claims}.`, padding: '0'.repeat(24) } : null;
}

function decoded(segment: string): JsonObject | null {
  return /^[\w-]+$/.test(segment) ? jsonObject(Buffer.from(segment, 'base64url').toString('utf8')) : null;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
