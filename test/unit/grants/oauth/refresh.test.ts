import { Response as UndiciResponse } from 'undici';
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import {
  refreshToken,
  type RefreshOutcome,
  type RefreshRequest,
} from '../../../../src/grants/oauth/refresh.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const client = { clientId: '2f1c-id', clientSecret: 'client secret/+é', auth: 'basic' } as const;
const request: RefreshRequest = {
  endpoint: 'https://acme.test/token',
  client,
  dialect: plainDialect,
  refreshToken: 'the-refresh-token',
  scopes: ['read', 'write'],
};
const tokens = { access_token: 'new-access', token_type: 'Bearer', expires_in: 3600 };

function ask(answer: Response | (() => Response | Promise<Response>), changes: Partial<RefreshRequest> = {}) {
  return refreshToken({ ...request, ...changes }, { fetch: fakeEndpoint(answer).fetch, now: () => now });
}

const reasonOf = (outcome: RefreshOutcome): string => {
  if (outcome.kind !== 'later') throw new Error(outcome.kind);
  return outcome.reason;
};

async function said(error_description: string): Promise<string> {
  const outcome = await ask(Response.json({ error: 'invalid_grant', error_description }, { status: 400 }));
  return 'description' in outcome ? outcome.description : '';
}

describe('the refresh request', () => {
  test('conforms to RFC 6749 §6, follows no redirect, and authenticates with Basic', async () => {
    const { fetch, asked } = fakeEndpoint(() => Response.json(tokens));
    await refreshToken(request, { fetch, now: () => now });
    expect(asked).toEqual([
      {
        url: 'https://acme.test/token',
        method: 'POST',
        redirect: 'manual',
        headers: expect.objectContaining({
          accept: 'application/json',
          authorization: `Basic ${btoa('2f1c-id:client+secret%2F%2B%C3%A9')}`,
          'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
        }),
        form: { grant_type: 'refresh_token', refresh_token: 'the-refresh-token' },
      },
    ]);
  });

  test('authenticates in the form, or not at all', async () => {
    const { fetch, asked } = fakeEndpoint(() => Response.json(tokens));
    await refreshToken({ ...request, client: { ...client, auth: 'post' } }, { fetch, now: () => now });
    await refreshToken({ ...request, client: { ...client, auth: 'none' } }, { fetch, now: () => now });
    expect(asked.map(({ form, headers }) => [form, headers['authorization']])).toEqual([
      [
        {
          grant_type: 'refresh_token',
          refresh_token: 'the-refresh-token',
          client_id: '2f1c-id',
          client_secret: 'client secret/+é',
        },
        undefined,
      ],
      [{ grant_type: 'refresh_token', refresh_token: 'the-refresh-token', client_id: '2f1c-id' }, undefined],
    ]);
  });

  test('names the granted scopes only when the provider requires it', async () => {
    const { fetch, asked } = fakeEndpoint(() => Response.json(tokens));
    const dialect = { ...plainDialect, sendScopeOnRefresh: true, scopeSeparator: ',' };
    await refreshToken({ ...request, dialect }, { fetch, now: () => now });
    await refreshToken({ ...request, dialect, scopes: [] }, { fetch, now: () => now });
    expect(asked.map(({ form }) => form['scope'])).toEqual(['read,write', undefined]);
  });

  test.each([
    'http://acme.test/token',
    'https://user:pass@acme.test/token',
    'acme.test/token',
    'file:///etc/passwd',
  ])('is not sent to %s', async (endpoint) => {
    const { fetch, asked } = fakeEndpoint(() => Response.json(tokens));
    expect(await refreshToken({ ...request, endpoint }, { fetch, now: () => now })).toMatchObject({
      kind: 'refused',
      error: 'endpoint_invalid',
    });
    expect(asked).toEqual([]);
  });
});

describe('a response with tokens', () => {
  test('keeps or rotates the refresh token', async () => {
    const refreshed = {
      kind: 'renewed',
      accessToken: 'new-access',
      refreshToken: null,
      expiresAt: now + 3_600_000,
      obtainedAt: now,
      scope: null,
    };
    expect(await ask(Response.json(tokens))).toEqual(refreshed);
    expect(await ask(Response.json({ ...tokens, refresh_token: 'next', scope: 'a b' }))).toEqual({
      ...refreshed,
      refreshToken: 'next',
      scope: 'a b',
    });
  });

  test('without offline_access in its scopes keeps it when it was granted', async () => {
    const scopes = ['read', 'offline_access'];
    expect(await ask(Response.json({ ...tokens, scope: 'read' }), { scopes })).toMatchObject({
      scope: 'read offline_access',
    });
    expect(await ask(Response.json({ ...tokens, scope: 'offline_access read' }), { scopes })).toMatchObject({
      scope: 'offline_access read',
    });
    expect(await ask(Response.json({ ...tokens, scope: 'read' }))).toMatchObject({ scope: 'read' });
    expect(await ask(Response.json(tokens), { scopes })).toMatchObject({ scope: null });
  });

  test('has its lifetime counted from the time of the request', async () => {
    let time = now;
    const { fetch } = fakeEndpoint(() => {
      time += 5_000;
      return Response.json(tokens);
    });
    expect(await refreshToken(request, { fetch, now: () => time })).toMatchObject({
      obtainedAt: now,
      expiresAt: now + 3_600_000,
    });
  });

  test.each([
    ['an id_token', { id_token: 'not.even.one' }],
    ['null members', { refresh_token: null, scope: null }],
    ['empty strings', { refresh_token: '', scope: '' }],
    ['a lifetime in a string', { expires_in: '3600' }],
    ['a token type in capitals', { token_type: 'BEARER' }],
    ['no token type', { token_type: undefined }],
    ['unknown members', { error: null, ext: { a: 1 } }],
  ])('is accepted despite %s', async (_, changes) => {
    expect(await ask(Response.json({ ...tokens, ...changes }))).toMatchObject({
      kind: 'renewed',
      accessToken: 'new-access',
      refreshToken: null,
      expiresAt: now + 3_600_000,
      scope: null,
    });
  });

  test.each([0, -1, null, 'soon', 1e15, {}])('with a lifetime of %j has no expiry', async (lifetime) => {
    expect(await ask(Response.json({ ...tokens, expires_in: lifetime }))).toMatchObject({ expiresAt: null });
  });

  test('with another status than 200, or another content type, is accepted', async () => {
    expect(await ask(Response.json(tokens, { status: 201 }))).toMatchObject({ kind: 'renewed' });
    expect(await ask(new Response(JSON.stringify(tokens)))).toMatchObject({ kind: 'renewed' });
  });

  test('is refused when the token type is not Bearer', async () => {
    for (const type of ['mac', 'DPoP']) {
      expect(await ask(Response.json({ ...tokens, token_type: type }))).toMatchObject({
        kind: 'refused',
        error: 'unsupported_token_type',
      });
    }
  });

  test.each([
    [{ access_token: 'a\r\nX: y' }, 'not a line of visible ASCII'],
    [{ access_token: 'é' }, 'not a line of visible ASCII'],
    [{ access_token: null }, 'no access token'],
    [{ access_token: { value: 'a' } }, 'no access token'],
    [{ token_type: 'mac' }, 'a token of the type mac'],
  ])('is refused with its refresh token when its access token cannot be used: %j', async (changes, why) => {
    expect(await ask(Response.json({ ...tokens, refresh_token: 'a\0', ...changes }))).toMatchObject({
      kind: 'refused',
      description: expect.stringContaining(why),
      unusable: { refreshToken: 'a\0' },
    });
  });

  test('may be a Response of undici', async () => {
    const outcome = await refreshToken(request, {
      fetch: (async () => UndiciResponse.json(tokens)) satisfies TokenFetch,
      now: () => now,
    });
    expect(outcome).toMatchObject({ kind: 'renewed' });
  });
});

describe('a refusal', () => {
  test.each([
    'invalid_grant',
    'bad_refresh_token',
    'BAD_REFRESH_TOKEN',
    'invalid_refresh_token',
    'interaction_required',
    'login_required',
    'consent_required',
  ])('%s means that the consent has ended', async (error) => {
    const body = { error, error_description: 'Grant request is invalid' };
    expect(await ask(Response.json(body, { status: 400 }))).toEqual({
      kind: 'refused',
      ends: 'grant',
      description: 'Grant request is invalid',
    });
  });

  test.each([
    'invalid_client',
    'unauthorized_client',
    'invalid_scope',
    'invalid_request',
    'unsupported_grant_type',
  ])('%s is a config error', async (error) => {
    expect(await ask(() => Response.json({ error }, { status: 401 }))).toEqual({
      kind: 'refused',
      error,
      description: '',
    });
  });

  test('is recognized even with a challenge, and with status 200', async () => {
    const challenge = { status: 401, headers: { 'www-authenticate': 'Basic realm="token"' } };
    expect(await ask(Response.json({ error: 'invalid_client' }, challenge))).toMatchObject({
      error: 'invalid_client',
    });
    expect(await ask(Response.json({ error: 'bad_refresh_token' }))).toMatchObject({
      kind: 'refused',
      ends: 'grant',
    });
  });

  test('includes a redirect to another origin, with its address', async () => {
    for (const status of [301, 302, 307, 308]) {
      const answer = new Response(null, { status, headers: { location: 'https://evil.test/' } });
      expect(await ask(answer)).toEqual({
        kind: 'refused',
        error: 'endpoint_moved',
        description: `the token endpoint answered with a redirect (HTTP ${status}) to https://evil.test/`,
        movedTo: 'https://evil.test/',
      });
    }
    expect(await ask(Response.error())).toMatchObject({ kind: 'refused', error: 'endpoint_moved' });
  });

  test('includes a blocked address, with the message of the address guard', async () => {
    const guard = new SidekeyError('address_blocked', '10.0.0.1 is a private address.');
    const fetch: TokenFetch = async () => {
      throw new TypeError('fetch failed', { cause: guard });
    };
    expect(await refreshToken(request, { fetch, now: () => now })).toEqual({
      kind: 'refused',
      error: 'address_blocked',
      description: '10.0.0.1 is a private address.',
      hint: guard.hint,
    });
  });
});

describe('a transient failure', () => {
  test.each([
    [() => new Response('oops', { status: 500 }), 'HTTP 500'],
    [() => Response.json({ error: 'invalid_grant' }, { status: 503 }), 'HTTP 503'],
    [() => new Response('', { status: 429 }), 'HTTP 429'],
    [() => new Response('<html>', { status: 200 }), 'without JSON'],
    [() => new Response('<html>', { status: 403 }), 'HTTP 403 without JSON'],
    [() => new Response('[]'), 'without JSON'],
    [() => new Response(null, { status: 204 }), 'without JSON'],
    [() => Response.json({ error: { code: 400 } }, { status: 400 }), 'without an OAuth error'],
    [() => Response.json({}), 'no access token'],
    [() => Response.json({ message: 'the-refresh-token?' }, { status: 400 }), 'OAuth error: [redacted]?'],
    [() => Response.json({ error: 'temporarily_unavailable' }, { status: 400 }), 'temporarily_unavailable'],
    [() => Response.json({ error: 'slow_down' }, { status: 400 }), 'slow_down'],
  ])('%s: %s', async (answer, reason) => {
    expect(reasonOf(await ask(answer))).toContain(reason);
  });

  test.each([
    ['7', 7_000],
    ['0', 0],
    [new Date(now + 9_000).toUTCString(), 9_000],
    [new Date(now - 9_000).toUTCString(), 0],
    ['999999', 3_600_000],
    ['soon', null],
  ])('has the delay of Retry-After: %s', async (header, retryAfterMs) => {
    const answer = new Response('', { status: 429, headers: { 'retry-after': header } });
    expect(await ask(answer)).toMatchObject({ kind: 'later', retryAfterMs });
  });

  test('is not a response over 1 MiB, which is not read to its end', async () => {
    let sent = 0;
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 8_192;
        controller.enqueue(new Uint8Array(8_192));
        if (sent > 9_000_000) controller.close();
      },
      cancel() {
        cancelled = true;
      },
    });
    expect(await ask(new Response(endless))).toMatchObject({
      kind: 'refused',
      error: 'answer_too_large',
      description: 'the answer of the token endpoint was larger than 1 MiB',
    });
    expect(cancelled).toBe(true);
    expect(sent).toBeLessThan(1_100_000);
  });

  test('is a truncated response', async () => {
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.error(Object.assign(new Error('the-refresh-token'), { code: 'UND_ERR_SOCKET' }));
      },
    });
    expect(reasonOf(await ask(new Response(broken)))).toBe('the connection failed (UND_ERR_SOCKET)');
  });

  test('is a network error, reported only by its code', async () => {
    const cause = Object.assign(new Error('connect to the-refresh-token'), { code: 'ECONNREFUSED' });
    const fetch: TokenFetch = async () => {
      throw new TypeError('fetch failed', { cause });
    };
    expect(reasonOf(await refreshToken(request, { fetch, now: () => now }))).toBe(
      'the connection failed (ECONNREFUSED)',
    );
  });

  test('is a time-out, even if fetch ignores the signal', async () => {
    for (const fetch of [
      (() => new Promise(() => undefined)) satisfies TokenFetch,
      (async () => new Response(new ReadableStream())) satisfies TokenFetch,
    ]) {
      const timeout = new AbortController();
      const outcome = refreshToken(request, { fetch, now: () => now, signal: timeout.signal });
      timeout.abort();
      expect(reasonOf(await outcome)).toBe('the token endpoint did not answer in time');
    }
  });
});

describe('the message of a provider', () => {
  test('is shortened, without control characters', async () => {
    expect(await said('a\u0000b\r\nc\u202Ed\u200Be  f')).toBe('a b c d e f');
    expect(await said('x'.repeat(5_000))).toBe(`${'x'.repeat(299)}…`);
  });

  test.each([
    'token the-refresh-token is gone',
    'token the-refresh-… is gone',
    'secret client secret/+é is wrong',
    'secret client%20secret%2F%2B%C3%A9 is wrong',
    'secret client+secret%2F%2B%C3%A9 is wrong',
    `secret ${btoa('client secret/+\u00c3\u00a9')} is wrong`,
  ])('contains no secret: %s', async (text) => {
    const kept = await said(text);
    expect(kept).toMatch(/^(token|secret) .*\[redacted\].* (is gone|is wrong)$/);
    expect(kept).not.toMatch(/refresh-|secret\W+secret|%2F/);
  });

  test('stays readable when the secret is a common word', async () => {
    const outcome = await ask(
      Response.json({ error: 'invalid_client', error_description: 'a redacted client' }),
      {
        client: { ...client, clientSecret: 'client' },
        refreshToken: 'a',
      },
    );
    expect(outcome).toMatchObject({
      error: 'invalid_client',
      description: '[redacted] red[redacted]cted [redacted]',
    });
    const itself = await ask(Response.json({ error: 'client' }), {
      client: { ...client, clientSecret: 'client' },
    });
    expect(itself).toMatchObject({ error: 'unnamed_error' });
  });

  test('is used as an error code only when it has the form of one', async () => {
    for (const error of ['the-refresh-token', 'two words', 'x'.repeat(65), '\u0000']) {
      expect(await ask(Response.json({ error }, { status: 400 }))).toMatchObject({ error: 'unnamed_error' });
    }
  });
});
