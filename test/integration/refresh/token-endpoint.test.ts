/** A program in the agent refreshes its token by itself: it shows its placeholder, and gets it back. */
import {
  clientCredentialsGrantRequest,
  ClientSecretBasic,
  ClientSecretPost,
  customFetch,
  processClientCredentialsResponse,
  processRefreshTokenResponse,
  refreshTokenGrantRequest,
} from 'oauth4webapi';
import { describe, expect, test } from 'vitest';
import { anyone, placeholderCodes, plainForm } from '../../../src/proxy/placeholders/codes.ts';
import { startHelpdeskProxy, type HelpdeskProxy, ticketsRequest } from '../../support/helpdesk.ts';
import { problemOf, type RawResponse } from '../../support/raw-client.ts';

interface Desk extends HelpdeskProxy {
  readonly placeholder: string;
  readonly post: (body: string, ...fields: readonly string[]) => Promise<RawResponse>;
  /** `fetch` for an OAuth library, which runs in the agent here. */
  readonly through: (
    url: string,
    init: { readonly body?: unknown; readonly headers?: unknown },
  ) => Promise<Response>;
}

async function desk(expiresIn: number): Promise<Desk> {
  const setup = await startHelpdeskProxy({ expiresIn });
  const placeholder = placeholderCodes(setup.sidekey.proxy.state.vault).make(
    plainForm,
    anyone,
    setup.grant.id,
  );
  const post: Desk['post'] = async (body, ...fields) => {
    const client = await setup.client();
    const head = [
      `POST /token HTTP/1.1`,
      `Host: ${setup.authority}`,
      `Content-Length: ${body.length}`,
      ...fields,
    ];
    client.send(`${head.join('\r\n')}\r\n\r\n${body}`);
    return client.response();
  };
  return {
    ...setup,
    placeholder,
    post,
    async through(_url, { body, headers }) {
      const fields = [...new Headers(headers as Record<string, string>)].map(
        ([name, value]) => `${name}: ${value}`,
      );
      const answer = await post(String(body), ...fields);
      return new Response(answer.body, {
        status: answer.status,
        headers: answer.headers as Record<string, string>,
      });
    },
  };
}

const form = 'Content-Type: application/x-www-form-urlencoded';
const refresh = (token: string) =>
  `grant_type=refresh_token&refresh_token=${token}&client_id=x&client_secret=y`;

describe('a program that refreshes its token by itself', () => {
  test('gets its placeholder, which works at the API, while the provider receives a single refresh', async () => {
    const setup = await desk(-1);
    setup.helpdesk.expireAllAccessTokens();
    const as = { issuer: setup.helpdesk.issuer, token_endpoint: `${setup.helpdesk.issuer}/token` };
    const request = await refreshTokenGrantRequest(
      as,
      { client_id: 'any' },
      ClientSecretPost('any'),
      setup.placeholder,
      {
        [customFetch]: setup.through,
      },
    );
    const tokens = await processRefreshTokenResponse(as, { client_id: 'any' }, request);
    expect(tokens).toMatchObject({
      access_token: setup.placeholder,
      refresh_token: setup.placeholder,
      token_type: 'bearer',
      scope: expect.stringContaining('read:tickets'),
    });
    expect(tokens.expires_in).toBeGreaterThan(0);
    expect(setup.helpdesk.tokenRequestCount('refresh_token')).toBe(1);

    const agent = await setup.client();
    agent.send(
      ticketsRequest(setup.authority).replace(
        '\r\n\r\n',
        `\r\nAuthorization: Bearer ${tokens.access_token}\r\n\r\n`,
      ),
    );
    expect(await agent.response()).toMatchObject({ status: 200 });
    // The grant has the response of the provider, and no second token is requested.
    expect(setup.helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(setup.tokens).toHaveLength(1);
  });

  test('is recorded in the audit log with the grant and without a secret', async () => {
    const setup = await desk(3_600);
    const answer = await setup.post(refresh(setup.placeholder), form);
    expect(answer.headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/json' });
    expect(await setup.sidekey.audited(({ event }) => event === 'token.answered')).toMatchObject({
      grant: setup.grant.id,
      method: 'POST',
      path: '/token',
      outcome: 'ok',
    });
    const token = setup.helpdesk.tokenRequestCount('refresh_token');
    expect(token).toBe(0);
    expect(JSON.stringify(await setup.sidekey.audit())).not.toContain(setup.placeholder);
    expect(setup.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
  });

  test('that is a confidential client sends its secret in the form or in Basic', async () => {
    const setup = await desk(3_600);
    const as = { issuer: setup.helpdesk.issuer, token_endpoint: `${setup.helpdesk.issuer}/token` };
    for (const auth of [ClientSecretPost(setup.placeholder), ClientSecretBasic(setup.placeholder)]) {
      const request = await clientCredentialsGrantRequest(
        as,
        { client_id: 'any' },
        auth,
        {},
        { [customFetch]: setup.through },
      );
      const tokens = await processClientCredentialsResponse(as, { client_id: 'any' }, request);
      expect(tokens.access_token).toBe(setup.placeholder);
      expect(tokens.refresh_token).toBeUndefined();
    }
  });

  test('can send the request as JSON', async () => {
    const setup = await desk(3_600);
    const body = JSON.stringify({ grant_type: 'refresh_token', refresh_token: setup.placeholder });
    const answer = await setup.post(body, 'Content-Type: application/json');
    expect(JSON.parse(answer.body)).toMatchObject({ access_token: setup.placeholder });
  });

  test('gets the reason for a missing token, as for any request', async () => {
    const setup = await desk(-1);
    setup.helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    const answer = await setup.post(refresh(setup.placeholder), form);
    expect(answer).toMatchObject({ status: 424, reason: 'reauth_required' });
    expect(problemOf(answer).hint).toContain('sidekey grant import acme');
  });

  test.each(['authorization_code', 'password', ''])(
    'with the grant type %j is refused, because no placeholder represents such a grant',
    async (type) => {
      const setup = await desk(3_600);
      const answer = await setup.post(`grant_type=${type}&client_secret=${setup.placeholder}`, form);
      expect(answer.reason).toBe('placeholder_misused');
      expect(setup.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
    },
  );

  test.each(['null', '5', '[]', '{"toString":null,"valueOf":null}'])(
    'with the grant type %s in JSON is refused instead of causing an internal error',
    async (type) => {
      const setup = await desk(3_600);
      const body = `{"grant_type":${type},"refresh_token":"${setup.placeholder}"}`;
      expect(await setup.post(body, 'Content-Type: application/json')).toMatchObject({
        status: 403,
        reason: 'placeholder_misused',
      });
    },
  );

  test('cannot hide its placeholder beyond the part of the body that is parsed', async () => {
    const setup = await desk(3_600);
    const answer = await setup.post(`pad=${'x'.repeat(100_000)}&${refresh(setup.placeholder)}`, form);
    expect(answer.reason).toBe('body_too_large');
    expect(setup.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
  });

  test.each(['//token', '/Token', '/%74oken', '/token/', '/x/../token', '/token;v=1?a=b'])(
    'at %s is recognized at the token endpoint, however the server interprets the path',
    async (path) => {
      const setup = await desk(3_600);
      const client = await setup.client();
      const body = refresh(setup.placeholder);
      client.send(
        `POST ${path} HTTP/1.1\r\nHost: ${setup.authority}\r\n${form}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      expect(JSON.parse((await client.response()).body)).toMatchObject({ access_token: setup.placeholder });
      expect(setup.received).toEqual([]);
    },
  );

  test('with its own token or a placeholder of another agent gets no token', async () => {
    const setup = await desk(3_600);
    await setup.post(refresh('its-own-token'), form);
    expect(setup.received.filter(({ url }) => url.startsWith('/token'))).toHaveLength(1);
    const codes = placeholderCodes(setup.sidekey.proxy.state.vault);
    const foreign = codes.make(plainForm, 'lease 1', setup.grant.id);
    expect(await setup.post(refresh(foreign), form)).toMatchObject({
      status: 403,
      reason: 'placeholder_misused',
    });
    expect(setup.received.filter(({ url }) => url.startsWith('/token'))).toHaveLength(1);
  });
});
