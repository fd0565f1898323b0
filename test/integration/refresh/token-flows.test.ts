import { describe, expect, test } from 'vitest';
import { startHelpdeskProxy, newTicketRequest, ticketsRequest } from '../../support/helpdesk.ts';
import { problemOf } from '../../support/raw-client.ts';

const ids = ({ body }: { readonly body: string }) =>
  (JSON.parse(body) as { tickets: { id: number }[] }).tickets.map(({ id }) => id);

describe('a token', () => {
  test('that is valid is sent unchanged', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    const agent = await client();
    agent.send(ticketsRequest(authority));
    const answer = await agent.response();
    expect(answer.status).toBe(200);
    expect(ids(answer)).toEqual([1, 2, 4, 8]);
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(0);
  });

  test('that is due for refresh is sent, and refreshed in the background', async () => {
    const { helpdesk, authority, client, sidekey, tokens } = await startHelpdeskProxy({ expiresIn: 30 });
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 200 });
    await sidekey.audited((line) => line.event === 'grant.refreshed');
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 200 });
    expect(new Set(tokens).size).toBe(2);
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
  });

  test('that has expired is refreshed first, once for concurrent requests', async () => {
    const { helpdesk, authority, client, tokens } = await startHelpdeskProxy({ expiresIn: -1 });
    helpdesk.expireAllAccessTokens();
    const agents = await Promise.all(Array.from({ length: 12 }, () => client()));
    for (const agent of agents) agent.send(ticketsRequest(authority));
    for (const agent of agents) expect(await agent.response()).toMatchObject({ status: 200 });
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(new Set(tokens).size).toBe(1);
  });

  test('that has expired is refreshed once by two proxies with one store', async () => {
    const setup = await startHelpdeskProxy({ expiresIn: -1 });
    setup.helpdesk.expireAllAccessTokens();
    const other = await setup.second();
    const agents = await Promise.all(
      Array.from({ length: 8 }, (_, i) => setup.client(i % 2 === 0 ? setup.sidekey : other)),
    );
    for (const agent of agents) agent.send(ticketsRequest(setup.authority));
    for (const agent of agents) expect(await agent.response()).toMatchObject({ status: 200 });
    expect(setup.helpdesk.tokenRequestCount('refresh_token')).toBe(1);
  });

  test('is used until it expires while the token endpoint is down', async () => {
    const { helpdesk, authority, client, sidekey } = await startHelpdeskProxy({ expiresIn: 30 });
    helpdesk.failTokenEndpoint(() => ({ status: 503, body: 'down' }));
    const agent = await client();
    for (let i = 0; i < 3; i += 1) {
      agent.send(ticketsRequest(authority));
      expect(await agent.response()).toMatchObject({ status: 200 });
    }
    await sidekey.audited((line) => line.event === 'grant.refresh_failed');
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 200 });
  });

  test('that cannot be refreshed in time causes a refusal, and a later attempt may succeed', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({
      expiresIn: -1,
      limits: { refresh_wait: '100ms', refresh_timeout: '50ms' },
    });
    helpdesk.failTokenEndpoint(() => 'hang');
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 502, reason: 'refresh_failed' });
  });

  test('with a withdrawn consent causes a refusal with the command for a new consent', async () => {
    const { helpdesk, authority, client, sidekey, tokens } = await startHelpdeskProxy({ expiresIn: -1 });
    helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    const agent = await client();
    for (let i = 0; i < 2; i += 1) {
      agent.send(ticketsRequest(authority));
      const answer = await agent.response();
      expect(answer).toMatchObject({ status: 424, reason: 'reauth_required' });
      expect(problemOf(answer).hint).toContain('sidekey grant import acme');
    }
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(tokens).toEqual([]);
    await sidekey.audited((line) => line.event === 'grant.reauth_required');
  });
});

describe('a 401 from the upstream', () => {
  test('causes one refresh and one replay', async () => {
    const { helpdesk, authority, client, tokens, sidekey } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 200 });
    expect(tokens).toHaveLength(2);
    expect(new Set(tokens).size).toBe(2);
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    const lines = await sidekey.audit();
    const accesses = lines.filter(({ event }) => event === 'access');
    expect(new Set(accesses.map(({ credential }) => credential)).size).toBe(2);
    expect(new Set(accesses.map(({ exchange }) => exchange)).size).toBe(1);
  });

  test('for a small POST causes a replay with its body', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(newTicketRequest(authority));
    const answer = await agent.response();
    expect(answer.status).toBe(201);
    expect(JSON.parse(answer.body)).toMatchObject({ title: 'Broken chair' });
  });

  test('for a POST too long to buffer is forwarded, and the next request has the new token', async () => {
    const { helpdesk, authority, client, sidekey, tokens } = await startHelpdeskProxy({
      expiresIn: 3_600,
      limits: { replay_bytes: '1KiB' },
    });
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(newTicketRequest(authority, 2_000));
    expect(await agent.response()).toMatchObject({ status: 401 });
    expect(tokens).toHaveLength(1);
    await sidekey.audited((line) => line.event === 'grant.refreshed');
    agent.send(newTicketRequest(authority, 2_000));
    expect(await agent.response()).toMatchObject({ status: 201 });
  });

  test('that persists after a refresh is forwarded unchanged', async () => {
    const { helpdesk, authority, client, tokens } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.failTokenEndpoint(() => ({ status: 503, body: 'down' }));
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(ticketsRequest(authority));
    const answer = await agent.response();
    expect(answer).toMatchObject({ status: 401 });
    expect(answer.headers['www-authenticate']).toContain('Bearer');
    expect(answer.body).toContain('invalid_token');
    expect(tokens).toHaveLength(1);
  });

  test('for a grant without consent becomes a refusal with the reason', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 424, reason: 'reauth_required' });
  });
});
