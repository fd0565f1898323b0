/** Real clients that receive a credential in an answer, and use what they received. */
import { exchangeAuthorization, registerClient } from '@modelcontextprotocol/sdk/client/auth.js';
import { expect, test } from 'vitest';
import { seenBy, startMinting } from '../../support/minting.ts';

const clientSecret = 'Client-Secret-0123456789-abcdefghijkl';
const registration = 'Registration-Token-0123456789-abcdef';

test.each([
  ['client_secret_basic', ['header']],
  ['client_secret_post', ['header', 'body']],
])(
  'the MCP SDK registers a client and authenticates by %s with a placeholder',
  async (method, placeholders) => {
    const { sidekey, api, asked } = await startMinting(
      [
        {
          name: 'client',
          path: '/register',
          member: ['client_secret', 'registration_access_token'],
          expires_member: 'client_secret_expires_at',
          as: 'placeholder',
          keep: ['client_id', 'redirect_uris', 'token_endpoint_auth_method', 'registration_client_uri'],
          max_ttl: '20d',
        },
        { name: 'login', path: '/token', member: ['access_token', 'refresh_token'], keep: ['token_type'] },
      ],
      (request, response) => {
        if (request.url === '/register') response.writeHead(201).end(JSON.stringify(registered));
        else if (request.url === '/token')
          response.end(
            JSON.stringify({
              access_token: 'Access-Token-0123456789-abcdef',
              token_type: 'Bearer',
              expires_in: 60,
            }),
          );
        else response.end('{}');
      },
      { provider: { placeholders } },
    );
    const origin = `https://${api.authority}`;
    const registered = {
      client_id: 'client-7',
      client_secret: clientSecret,
      client_secret_expires_at: 0,
      registration_access_token: registration,
      registration_client_uri: `${origin}/register/client-7`,
      redirect_uris: ['http://127.0.0.1:1/callback'],
      token_endpoint_auth_method: method,
    };
    let received = '';
    const fetchFn = async (url: string | URL, init: RequestInit = {}) => {
      const seen = await seenBy(sidekey.url, String(url), {
        method: init.method ?? 'GET',
        headers: Object.fromEntries(new Headers(init.headers)),
        ...(init.body instanceof URLSearchParams || typeof init.body === 'string'
          ? { body: init.body.toString() }
          : {}),
      });
      received += seen.all;
      return new Response(seen.body, { status: seen.status });
    };
    const metadata = {
      issuer: origin,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
      registration_endpoint: `${origin}/register`,
      response_types_supported: ['code'],
      token_endpoint_auth_methods_supported: [method],
    };
    const clientInformation = await registerClient(origin, {
      metadata,
      clientMetadata: { redirect_uris: registered.redirect_uris },
      fetchFn,
    });
    expect(clientInformation).toMatchObject({ client_id: 'client-7', client_secret_expires_at: 0 });
    const tokens = await exchangeAuthorization(origin, {
      metadata,
      clientInformation,
      authorizationCode: 'code',
      codeVerifier: 'verifier',
      redirectUri: 'http://127.0.0.1:1/callback',
      fetchFn,
    });
    const basic = `Basic ${Buffer.from(`client-7:${clientSecret}`).toString('base64')}`;
    const { target, headers, body } = asked.at(-1)!;
    const isPosted = method === 'client_secret_post';
    expect(target).toBe('/token');
    expect(headers.authorization).toBe(isPosted ? undefined : basic);
    expect(new URLSearchParams(body).get('client_secret')).toBe(isPosted ? clientSecret : null);
    await fetchFn(`${origin}/mcp`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    expect(asked.at(-1)!.headers.authorization).toBe('Bearer Access-Token-0123456789-abcdef');
    for (const secret of [clientSecret, registration, 'Access-Token-0123456789-abcdef'])
      expect(received).not.toContain(secret);
  },
);
