import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { exchangeToken, type TokenExchangeRequest } from '../../../../src/grants/oauth/assertions.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const type = (name: string) => `urn:ietf:params:oauth:token-type:${name}`;
const request: TokenExchangeRequest = {
  endpoint: 'https://acme.test/token',
  client: { clientId: 'sidekey', clientSecret: null, auth: 'none' },
  dialect: plainDialect,
  subjectToken: 'the-subject-token',
  subjectTokenType: type('jwt'),
  actorToken: null,
  actorTokenType: null,
  requestedTokenType: null,
  scope: null,
  parameters: {},
};
const good = { access_token: 'token', issued_token_type: type('access_token'), token_type: 'Bearer' };

async function ask(changes: Partial<TokenExchangeRequest> = {}, answer: object = good, status = 200) {
  const { fetch, asked } = fakeEndpoint(() => Response.json(answer, { status }));
  const outcome = await exchangeToken({ ...request, ...changes }, { fetch, now: () => now });
  return { outcome, form: asked[0]?.form };
}

describe('the token exchange request', () => {
  test('conforms to RFC 8693 §2.1 with the required parameters', async () => {
    const { outcome, form } = await ask();
    expect(outcome).toMatchObject({ kind: 'tokens', accessToken: 'token' });
    expect(form).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      client_id: 'sidekey',
      subject_token: 'the-subject-token',
      subject_token_type: type('jwt'),
    });
  });

  test('conforms to RFC 8693 §2.1 with all parameters', async () => {
    const { form } = await ask({
      actorToken: 'the-actor-token',
      actorTokenType: type('access_token'),
      requestedTokenType: type('access_token'),
      scope: 'read',
      parameters: { audience: 'api', resource: 'https://api.acme.test' },
    });
    expect(form).toMatchObject({
      actor_token: 'the-actor-token',
      actor_token_type: type('access_token'),
      requested_token_type: type('access_token'),
      scope: 'read',
      audience: 'api',
      resource: 'https://api.acme.test',
    });
  });

  test('has no actor token type without an actor token (RFC 8693 §2.1)', async () => {
    expect((await ask({ actorTokenType: type('jwt') })).form).not.toHaveProperty('actor_token_type');
  });
});

describe('the token exchange response', () => {
  test.each(['refresh_token', 'id_token', 'saml2'])(
    'is refused with the issued token type %s',
    async (name) => {
      const answer = { ...good, issued_token_type: type(name) };
      expect((await ask({}, answer)).outcome).toMatchObject({
        kind: 'error',
        error: 'unsupported_token_type',
      });
    },
  );

  test('is accepted with the requested type, or without a type', async () => {
    const issued = { ...good, issued_token_type: type('id_token') };
    expect((await ask({ requestedTokenType: type('id_token') }, issued)).outcome.kind).toBe('tokens');
    expect((await ask({}, { access_token: 'token' })).outcome.kind).toBe('tokens');
  });

  test('is refused when the token is not an access token (RFC 8693 §2.2.1: N_A)', async () => {
    expect((await ask({}, { ...good, token_type: 'N_A' })).outcome).toMatchObject({
      error: 'unsupported_token_type',
    });
  });

  test('that repeats a token is reported without it', async () => {
    const error_description = 'the-subject-token and the-actor-token are unacceptable';
    const { outcome } = await ask(
      { actorToken: 'the-actor-token', actorTokenType: type('jwt') },
      { error: 'invalid_request', error_description },
      400,
    );
    expect(outcome).toMatchObject({ kind: 'error', error: 'invalid_request' });
    expect(JSON.stringify(outcome)).not.toMatch(/subject-token|actor-token/);
  });
});
