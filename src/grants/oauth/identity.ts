import { randomUUID } from 'node:crypto';
import type { OAuth2Credential } from '../../domain/credential.ts';
import { isScalar } from '../../lib/json.ts';
import { createNonces, nonceIn, proofKey, signProof, targetUri } from '../../proxy/schemes/dpop-proof.ts';
import { describe } from './description.ts';
import { askEndpoint, jsonObject, type JsonObject, jwtPart, memberAt, type TokenIo } from './http.ts';

/** Claims of an account, or the reason for their absence as the end of a sentence. */
export type IdentityAnswer = { readonly status?: number } & (
  | { readonly kind: 'known'; readonly claims: Identity }
  | { readonly kind: 'unknown'; readonly reason: string }
);

/**
 * Requests the account of an access token from a userinfo endpoint (Core §5.3). Never rejects.
 * @param subject `sub` of the ID token, which the response must repeat (Core §5.3.2); undefined: none
 */
export async function askUserinfo(
  endpoint: string,
  { accessToken, dpop }: Pick<OAuth2Credential, 'accessToken' | 'dpop'>,
  subject: string | undefined,
  io: TokenIo & { readonly userAgent?: string | null },
): Promise<IdentityAnswer> {
  const token = accessToken ?? '';
  const key = dpop?.isBound === true ? proofKey(dpop.key) : null;
  const { origin, pathname } = new URL(endpoint);
  const nonces = createNonces();
  const ask = () => {
    const proof = key && {
      dpop: signProof(key, {
        id: randomUUID(),
        method: 'GET',
        uri: targetUri(origin, pathname),
        now: io.now(),
        accessToken: token,
        nonce: nonces.of(origin),
      }),
    };
    const authorization = `${key === null ? 'Bearer' : 'DPoP'} ${token}`;
    const named = io.userAgent == null ? {} : { 'user-agent': io.userAgent };
    const headers = { accept: 'application/json', authorization, ...named, ...proof };
    return askEndpoint(
      { name: 'the userinfo endpoint', url: endpoint, method: 'GET', headers, body: null },
      io,
    );
  };
  let answer = await ask();
  const nonce = answer.kind === 'answer' ? nonceIn([answer.nonce].filter((it) => it !== undefined)) : null;
  if (answer.kind === 'answer' && answer.status === 401 && key !== null && nonce !== null) {
    nonces.remember(origin, nonce);
    answer = await ask();
  }
  if (answer.kind === 'error') return { kind: 'unknown', reason: answer.description };
  if (answer.kind === 'later') return { kind: 'unknown', reason: answer.reason };
  const { status } = answer;
  const unknown = (what: string) =>
    ({ kind: 'unknown', status, reason: `the userinfo endpoint answered ${what}` }) as const;
  if (status !== 200) return unknown(`with HTTP ${status}`);
  const body = jsonObject(answer.text);
  if (body === null) return unknown('with a text that is no JSON object');
  if (subject !== undefined && body['sub'] !== subject)
    return unknown('for another subject than that of the ID token');
  return { kind: 'known', status, claims: claimsIn(body, [token]) };
}

/** Claims of an account (OpenID Connect Core §5.1). No claim is a secret or grants a right. */
export type Identity = Readonly<Record<string, string>>;

const claims = ['email', 'name', 'preferred_username', 'picture', 'sub'];

/** Returns the known claims of an object. `secrets`: texts that no claim may contain. */
export function claimsIn(object: JsonObject, secrets: readonly string[]): Identity {
  const { picture, ...found } = readDetails(object, claims, secrets);
  // A truncated URL is a different URL.
  const isAddress = picture === object['picture'] && URL.parse(picture ?? '')?.protocol === 'https:';
  return picture === undefined || !isAddress ? found : { ...found, picture };
}

/** Reads an ID token. TLS of the endpoint proves the issuer (OpenID Connect Core §3.1.3.7, 6). */
export function identityIn(
  idToken: unknown,
  secrets: readonly string[],
): { readonly identity?: Identity; readonly idToken?: string } {
  if (typeof idToken !== 'string') return {};
  return { idToken, identity: claimsIn(jwtPart(idToken, 1) ?? {}, secrets) };
}

/** Returns the members that name the account, except those that contain a secret. */
export function readDetails(
  body: JsonObject,
  paths: readonly string[],
  secrets: readonly string[],
): Readonly<Record<string, string>> {
  const details: Record<string, string> = {};
  for (const path of paths) {
    const value = memberAt(body, path);
    const detail = isScalar(value) ? plainDetail(String(value), secrets) : null;
    if (detail !== null) details[path] = detail;
  }
  return details;
}

/** Returns a detail, shortened and cleaned; null: empty, or contains a secret. */
export function plainDetail(value: string, secrets: readonly string[]): string | null {
  if (secrets.some((secret) => secret !== '' && value.includes(secret))) return null;
  const detail = describe(value, []);
  return detail === '' ? null : detail;
}
