/**
 * Tokens of a GitHub App's installation. No OAuth: a JWT of the app gets a token of an hour.
 *
 * https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app
 */
import type { SigningKey } from '../../domain/credential.ts';
import { isFieldValue } from '../../proxy/policy/text.ts';
import { askEndpoint, type EndpointAnswer, jsonObject, later, type TokenIo } from './http.ts';
import { describe } from './description.ts';
import type { RefreshOutcome } from './refresh.ts';
import { signJwt } from './signing-key.ts';

export interface InstallationRequest {
  /**
   * HTTPS URL of the installations: `https://api.github.com/app/installations`, or
   * `https://HOST/api/v3/app/installations` of a GitHub server.
   */
  readonly endpoint: string;
  readonly key: SigningKey;
  /** Client ID or numeric ID of the app. */
  readonly appId: string;
  readonly installationId: string;
}

/** GitHub limits `exp` to 10 minutes ahead, and advises an `iat` 60 s back to allow for clock drift. */
const backdatedS = 60;
const lifetimeS = 600;

/**
 * Requests a token. Never rejects because of GitHub or the network. If the installation was removed, returns
 * a refusal that ends the grant: the app must be installed again.
 */
export async function requestInstallationToken(
  request: InstallationRequest,
  io: TokenIo,
): Promise<RefreshOutcome> {
  const obtainedAt = io.now();
  const appToken = await signAppToken(request, obtainedAt);
  if (appToken === null) {
    return {
      kind: 'refused',
      error: 'key_invalid',
      description: `the private key does not sign with ${request.key.algorithm}`,
    };
  }
  let remaining: string | null = null;
  const answer = await askEndpoint(
    {
      name: 'the token endpoint',
      url: `${request.endpoint.replace(/\/$/, '')}/${encodeURIComponent(request.installationId)}/access_tokens`,
      method: 'POST',
      headers: {
        accept: 'application/vnd.github+json',
        authorization: `Bearer ${appToken}`,
        'x-github-api-version': '2022-11-28',
      },
      body: null,
    },
    {
      ...io,
      fetch: async (url, init) => {
        const response = await io.fetch(url, init);
        remaining = response.headers.get('x-ratelimit-remaining');
        return response;
      },
    },
  );
  switch (answer.kind) {
    case 'answer':
      return outcomeOf(answer, { appToken, obtainedAt, isLimited: remaining === '0' });
    case 'error':
      return { ...answer, kind: 'refused' };
    case 'later':
      return answer;
  }
}

async function signAppToken({ key, appId }: InstallationRequest, now: number): Promise<string | null> {
  const issuedAt = Math.floor(now / 1000) - backdatedS;
  try {
    return await signJwt(key, { iss: appId, iat: issuedAt, exp: issuedAt + lifetimeS });
  } catch {
    // Error messages may quote the key.
    return null;
  }
}

function outcomeOf(
  { status, text, retryAfterMs }: EndpointAnswer,
  asked: { readonly appToken: string; readonly obtainedAt: number; readonly isLimited: boolean },
): RefreshOutcome {
  const body = jsonObject(text) ?? {};
  if (status >= 200 && status < 300) {
    const { token, expires_at: expires } = body;
    if (typeof token !== 'string' || !isFieldValue(token))
      return later('the token endpoint sent an answer without a token', retryAfterMs);
    const expiresAt = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
    return {
      kind: 'renewed',
      accessToken: token,
      refreshToken: null,
      expiresAt: Number.isNaN(expiresAt) ? null : expiresAt,
      obtainedAt: asked.obtainedAt,
      scope: null,
    };
  }
  // Rate limits are 429, or 403 with one of these. Other 403 have neither.
  if (status === 403 && (retryAfterMs !== null || asked.isLimited))
    return later('GitHub limits how often it is asked', retryAfterMs);
  const message = body['message'];
  const description = typeof message === 'string' ? describe(message, [asked.appToken]) : '';
  if (status === 404) return { kind: 'refused', ends: 'grant', description };
  return { kind: 'refused', error: `http_${status}`, description };
}
