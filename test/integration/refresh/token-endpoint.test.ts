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
import { placeholderCodes } from '../../../src/app/state.ts';
import { anyone, plainForm } from '../../../src/placeholders/codes.ts';
import { helpdeskHouse, type HelpdeskHouse, ticketsRequest } from '../../support/helpdesk.ts';
import { problemOf, type RawResponse } from '../../support/raw-client.ts';

interface Desk extends HelpdeskHouse {
  readonly placeholder: string;
  readonly post: (body: string, ...fields: readonly string[]) => Promise<RawResponse>;
  /** For a library of OAuth, which is a program in the agent here. */
  readonly through: (
    url: string,
    init: { readonly body?: unknown; readonly headers?: unknown },
  ) => Promise<Response>;
}

async function desk(expiresIn: number): Promise<Desk> {
  const house = await helpdeskHouse({ expiresIn });
  const placeholder = placeholderCodes(house.sidekey.proxy.state.vault).make(
    plainForm,
    anyone,
    house.grant.id,
  );
  const post: Desk['post'] = async (body, ...fields) => {
    const client = await house.client();
    const head = [
      `POST /token HTTP/1.1`,
      `Host: ${house.authority}`,
      `Content-Length: ${body.length}`,
      ...fields,
    ];
    client.send(`${head.join('\r\n')}\r\n\r\n${body}`);
    return client.response();
  };
  return {
    ...house,
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
  test('gets its placeholder, which opens the API, while the provider sees one refresh', async () => {
    const house = await desk(-1);
    house.helpdesk.expireAllAccessTokens();
    const as = { issuer: house.helpdesk.issuer, token_endpoint: `${house.helpdesk.issuer}/token` };
    const request = await refreshTokenGrantRequest(
      as,
      { client_id: 'any' },
      ClientSecretPost('any'),
      house.placeholder,
      {
        [customFetch]: house.through,
      },
    );
    const tokens = await processRefreshTokenResponse(as, { client_id: 'any' }, request);
    expect(tokens).toMatchObject({
      access_token: house.placeholder,
      refresh_token: house.placeholder,
      token_type: 'bearer',
      scope: expect.stringContaining('read:tickets'),
    });
    expect(tokens.expires_in).toBeGreaterThan(0);
    expect(house.helpdesk.tokenRequestCount('refresh_token')).toBe(1);

    const agent = await house.client();
    agent.send(
      ticketsRequest(house.authority).replace(
        '\r\n\r\n',
        `\r\nAuthorization: Bearer ${tokens.access_token}\r\n\r\n`,
      ),
    );
    expect(await agent.response()).toMatchObject({ status: 200 });
    // What the provider answered is in the grant, and the token is not asked for twice.
    expect(house.helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(house.tokens).toHaveLength(1);
  });

  test('is on record, with the grant and without a secret', async () => {
    const house = await desk(3_600);
    const answer = await house.post(refresh(house.placeholder), form);
    expect(answer.headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/json' });
    expect(await house.sidekey.audited(({ event }) => event === 'token.answered')).toMatchObject({
      grant: house.grant.id,
      method: 'POST',
      path: '/token',
      outcome: 'ok',
    });
    const token = house.helpdesk.tokenRequestCount('refresh_token');
    expect(token).toBe(0);
    expect(JSON.stringify(await house.sidekey.audit())).not.toContain(house.placeholder);
    expect(house.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
  });

  test('as a client with a secret shows it there, in the form or in Basic', async () => {
    const house = await desk(3_600);
    const as = { issuer: house.helpdesk.issuer, token_endpoint: `${house.helpdesk.issuer}/token` };
    for (const auth of [ClientSecretPost(house.placeholder), ClientSecretBasic(house.placeholder)]) {
      const request = await clientCredentialsGrantRequest(
        as,
        { client_id: 'any' },
        auth,
        {},
        { [customFetch]: house.through },
      );
      const tokens = await processClientCredentialsResponse(as, { client_id: 'any' }, request);
      expect(tokens.access_token).toBe(house.placeholder);
      expect(tokens.refresh_token).toBeUndefined();
    }
  });

  test('in JSON is understood, too', async () => {
    const house = await desk(3_600);
    const body = JSON.stringify({ grant_type: 'refresh_token', refresh_token: house.placeholder });
    const answer = await house.post(body, 'Content-Type: application/json');
    expect(JSON.parse(answer.body)).toMatchObject({ access_token: house.placeholder });
  });

  test('hears why there is no token, as for any request', async () => {
    const house = await desk(-1);
    house.helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    const answer = await house.post(refresh(house.placeholder), form);
    expect(answer).toMatchObject({ status: 424, reason: 'reauth_required' });
    expect(problemOf(answer).hint).toContain('sidekey grant add acme');
  });

  test.each(['authorization_code', 'password', ''])(
    'with the grant type %j is refused: no placeholder stands for that',
    async (type) => {
      const house = await desk(3_600);
      const answer = await house.post(`grant_type=${type}&client_secret=${house.placeholder}`, form);
      expect(answer.reason).toBe('placeholder_misused');
      expect(house.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
    },
  );

  test.each(['null', '5', '[]', '{"toString":null,"valueOf":null}'])(
    'with the grant type %s in JSON is refused, and no failure',
    async (type) => {
      const house = await desk(3_600);
      const body = `{"grant_type":${type},"refresh_token":"${house.placeholder}"}`;
      expect(await house.post(body, 'Content-Type: application/json')).toMatchObject({
        status: 403,
        reason: 'placeholder_misused',
      });
    },
  );

  test('cannot hide its placeholder behind what is read of it', async () => {
    const house = await desk(3_600);
    const answer = await house.post(`pad=${'x'.repeat(100_000)}&${refresh(house.placeholder)}`, form);
    expect(answer.reason).toBe('body_too_large');
    expect(house.received.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
  });

  test.each(['//token', '/Token', '/%74oken', '/token/', '/x/../token', '/token;v=1?a=b'])(
    'at %s is at the token endpoint, whatever the server takes that for',
    async (path) => {
      const house = await desk(3_600);
      const client = await house.client();
      const body = refresh(house.placeholder);
      client.send(
        `POST ${path} HTTP/1.1\r\nHost: ${house.authority}\r\n${form}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      expect(JSON.parse((await client.response()).body)).toMatchObject({ access_token: house.placeholder });
      expect(house.received).toEqual([]);
    },
  );

  test('with a token of its own, or the placeholder of somebody else, is not answered', async () => {
    const house = await desk(3_600);
    await house.post(refresh('its-own-token'), form);
    expect(house.received.filter(({ url }) => url.startsWith('/token'))).toHaveLength(1);
    const codes = placeholderCodes(house.sidekey.proxy.state.vault);
    const foreign = codes.make(plainForm, 'lease 1', house.grant.id);
    expect(await house.post(refresh(foreign), form)).toMatchObject({
      status: 403,
      reason: 'placeholder_misused',
    });
    expect(house.received.filter(({ url }) => url.startsWith('/token'))).toHaveLength(1);
  });
});
