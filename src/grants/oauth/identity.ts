import { randomUUID } from 'node:crypto';
import type { OAuth2Credential } from '../../domain/credential.ts';
import { createNonces, nonceIn, proofKey, signProof, targetUri } from '../../proxy/schemes/dpop-proof.ts';
import { claimsIn, type Identity } from './answer.ts';
import { askEndpoint, jsonObject, type TokenIo } from './http.ts';

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
