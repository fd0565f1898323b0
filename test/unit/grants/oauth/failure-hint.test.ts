import { describe, expect, it } from 'vitest';
import {
  authorizationUrl,
  exchangeCode,
  parseCallback,
} from '../../../../src/grants/oauth/authorization-code.ts';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import { refreshToken } from '../../../../src/grants/oauth/refresh.ts';
import { whatToCheck } from '../../../../src/grants/messages.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { hintText } from '../../../../src/lib/hint.ts';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { acme } from '../processes.ts';
import { failureCases } from './failure-hint-cases.ts';

const redirectUri = 'http://127.0.0.1:8378/callback';
const request = {
  kind: 'refresh_token' as const,
  endpoint: 'https://acme.test/token',
  client: { clientId: 'sidekey', clientSecret: 'a-secret-of-the-client', auth: 'post' as const },
  dialect: plainDialect,
  refreshToken: 'the-refresh-token',
  scopes: [],
};

/** Returns the hint of a consent whose code is exchanged at this endpoint. */
async function hintOfConsent(fetch: TokenFetch): Promise<string> {
  const begun = await authorizationUrl({ provider: acme, redirectUri, scopes: [] });
  const callback = parseCallback(`${redirectUri}?code=the-code&state=${begun.state}`);
  const exchange = { ...begun, provider: acme, callback, redirectUri, fetch, now: Date.now };
  const failure: unknown = await exchangeCode(exchange).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SidekeyError);
  return hintText((failure as SidekeyError).hint);
}

describe('the hint of a failed token request is one for its cause', () => {
  it.each(failureCases)('$cause', async ({ answer, consent, refresh }) => {
    const fetch: TokenFetch = async () => answer();
    const shown = await hintOfConsent(fetch);
    expect(shown).toMatch(consent);
    expect(shown).toMatch(/; then begin again$/);
    const outcome = await refreshToken(request, { fetch, now: Date.now });
    expect(outcome.kind).toBe(refresh === undefined ? 'later' : 'refused');
    if (outcome.kind === 'refused') expect(hintText(whatToCheck(request, 'acme', outcome))).toMatch(refresh!);
  });

  it.each(['address_blocked', 'upstream_tls', 'upstream_unreachable'] as const)(
    'keeps that of a connection that failed with %s',
    async (code) => {
      const cause = new SidekeyError(code, 'No connection.', { hint: 'do what helps' });
      const shown = await hintOfConsent(() => Promise.reject(new TypeError('fetch failed', { cause })));
      expect(shown).toMatch(/^do what helps; /);
    },
  );
});
