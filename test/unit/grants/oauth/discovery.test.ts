import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { discover, discoverIssuer, discoverServer } from '../../../../src/grants/oauth/discovery.ts';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';

type Answer = { readonly status: number; readonly body?: string; readonly type?: string } | Error;

/** A server with a response for each URL; other URLs get 404 with a page. */
function server(answers: Readonly<Record<string, Answer | object>>): { fetch: TokenFetch; asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    fetch: async (url, init) => {
      expect(init.redirect).toBe('manual');
      asked.push(url);
      const answer = answers[url] ?? { status: 404, body: '<p>not found</p>', type: 'text/html' };
      if (answer instanceof Error) throw answer;
      const {
        status = 200,
        body = JSON.stringify(answer),
        type = 'application/json',
      } = 'status' in answer ? (answer as { status: number; body?: string; type?: string }) : {};
      return {
        status,
        headers: new Headers({ 'content-type': type }),
        body: (async function* () {
          yield Buffer.from(body);
        })(),
      };
    },
  };
}

const api = 'https://api.company.test';
const login = 'https://login.company.test';
const metadata = {
  issuer: login,
  authorization_endpoint: `${login}/authorize`,
  token_endpoint: `${login}/token`,
  revocation_endpoint: `${login}/revoke`,
  registration_endpoint: `${login}/register`,
  device_authorization_endpoint: `${login}/device`,
  scopes_supported: ['openid', 'read', 'write'],
  authorization_response_iss_parameter_supported: true,
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['none', 'client_secret_basic'],
};
const resource = { resource: `${api}/`, authorization_servers: [login], scopes_supported: ['read'] };

describe('discovery', () => {
  test('of an API finds the authorization server of the API', async () => {
    const { fetch } = server({
      [`${api}/.well-known/oauth-protected-resource`]: resource,
      [`${login}/.well-known/oauth-authorization-server`]: metadata,
    });
    expect(await discover(api, { fetch })).toEqual({
      issuer: login,
      authorizationEndpoint: `${login}/authorize`,
      tokenEndpoint: `${login}/token`,
      deviceAuthorizationEndpoint: `${login}/device`,
      revocationEndpoint: `${login}/revoke`,
      userinfoEndpoint: null,
      registrationEndpoint: `${login}/register`,
      scopes: ['read'],
      knownScopes: ['read'],
      asksConsent: false,
      authMethods: ['none', 'client_secret_basic'],
      namesIssuer: true,
      resource: `${api}/`,
    });
  });

  test('of an OpenID provider reads its configuration', async () => {
    const { fetch, asked } = server({ [`${login}/.well-known/openid-configuration`]: metadata });
    expect(await discover(login, { fetch })).toMatchObject({
      namesIssuer: true,
      issuer: login,
      resource: null,
      scopes: [],
    });
    expect(asked).toContain(`${login}/.well-known/oauth-authorization-server`);
  });
});

async function failure(
  address: string,
  answers: Readonly<Record<string, Answer | object>>,
): Promise<SidekeyError> {
  const error: unknown = await discover(address, server(answers)).catch((it: unknown) => it);
  if (!(error instanceof SidekeyError)) throw new Error('it did not fail', { cause: error });
  return error;
}

describe('discovery refuses', () => {
  test.each(['http://api.company.test', 'api.company.test', 'https://a:b@api.company.test', 'https://x/#y'])(
    'an address that is not a plain https URL: %s',
    async (address) => {
      expect(await failure(address, {})).toMatchObject({ code: 'input_invalid' });
    },
  );

  test('an address that may not be dialed, with that reason', async () => {
    const blocked = new SidekeyError('address_blocked', 'Blocked.');
    const where = `${login}/.well-known/oauth-protected-resource`;
    expect(await failure(login, { [where]: new TypeError('fetch failed', { cause: blocked }) })).toBe(
      blocked,
    );
    expect(await failure(login, { [where]: new TypeError('fetch failed') })).toMatchObject({
      code: 'upstream_unreachable',
    });
  });
});

const serverAt = (issuer: string, authorize: string) => ({
  issuer,
  authorization_endpoint: authorize,
  token_endpoint: `${issuer}/token`,
});

describe('the server of an authorization endpoint', () => {
  const oidc = '.well-known/openid-configuration';
  const oauth2 = '.well-known/oauth-authorization-server';
  test.each([
    ['at the origin', `${login}/authorize`, `${login}/${oauth2}`, login],
    ['at the origin, by OpenID Connect', `${login}/authorize`, `${login}/${oidc}`, login],
    [
      'of a realm of Keycloak',
      `${login}/realms/acme/protocol/openid-connect/auth`,
      `${login}/realms/acme/${oidc}`,
      `${login}/realms/acme`,
    ],
    [
      'of an Okta server',
      `${login}/oauth2/aus1/v1/authorize`,
      `${login}/oauth2/aus1/${oidc}`,
      `${login}/oauth2/aus1`,
    ],
    ['with a path between', `${login}/t/authorize`, `${login}/${oauth2}/t`, `${login}/t`],
  ])('is found %s', async (_name, authorize, place, issuer) => {
    const { fetch } = server({ [place]: serverAt(issuer, authorize) });
    const found = await discoverServer(authorize, null, { fetch });
    expect(found).toMatchObject({ issuer, tokenEndpoint: `${issuer}/token` });
  });

  test.each([
    ['of another issuer', serverAt('https://evil.test', `${login}/authorize`)],
    ['with another authorization endpoint', serverAt(login, `${login}/signin`)],
    ['without an authorization endpoint', { issuer: login, token_endpoint: `${login}/token` }],
  ])('is not a document %s', async (_name, document) => {
    const { fetch } = server({ [`${login}/${oauth2}`]: document, [`${login}/${oidc}`]: document });
    await expect(discoverServer(`${login}/authorize`, null, { fetch })).rejects.toMatchObject({
      code: 'not_found',
      hint: expect.stringContaining('--token-url'),
    });
  });

  test('is named if it has another authorization endpoint', async () => {
    const { fetch } = server({ [`${login}/${oauth2}`]: serverAt(login, `${login}/authorize`) });
    await expect(discoverServer(`${login}/authorise`, null, { fetch })).rejects.toMatchObject({
      hint: expect.stringContaining(`its login page is ${login}/authorize: correct --auth-url`),
    });
  });

  test('is asked for at no more than six places', async () => {
    const { fetch, asked } = server({});
    await expect(discoverServer(`${login}/${'a/'.repeat(50)}`, null, { fetch })).rejects.toThrow(
      SidekeyError,
    );
    expect(asked).toHaveLength(12);
  });
});

test('an issuer is found again at each place where connect finds it, with methods as text', async () => {
  const issuer = `${login}/tenant`;
  const document = { ...metadata, issuer, token_endpoint_auth_methods_supported: 'none private_key_jwt' };
  for (const place of [
    `${login}/.well-known/openid-configuration/tenant`,
    `${issuer}/.well-known/oauth-authorization-server`,
  ]) {
    const { fetch } = server({ [place]: document });
    expect(await discoverIssuer(issuer, { fetch })).toMatchObject({
      issuer,
      registrationEndpoint: `${login}/register`,
      authMethods: ['none', 'private_key_jwt'],
    });
  }
  expect(await discoverIssuer(issuer, server({}))).toBeNull();
});
