import { describe, expect, test } from 'vitest';
import { startHelpdeskProxy, newTicketRequest, ticketsRequest } from '../../support/helpdesk.ts';
import { problemOf } from '../../support/raw-client.ts';

const ids = ({ body }: { readonly body: string }) =>
  (JSON.parse(body) as { tickets: { id: number }[] }).tickets.map(({ id }) => id);

describe('a token', () => {
  test('that is fresh is sent as it is', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    const agent = await client();
    agent.send(ticketsRequest(authority));
    const answer = await agent.response();
    expect(answer.status).toBe(200);
    expect(ids(answer)).toEqual([1, 2, 4, 8]);
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(0);
  });

  test('that is due is sent, and refreshed meanwhile', async () => {
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

  test('that has ended is refreshed first, once for all who ask', async () => {
    const { helpdesk, authority, client, tokens } = await startHelpdeskProxy({ expiresIn: -1 });
    helpdesk.expireAllAccessTokens();
    const agents = await Promise.all(Array.from({ length: 12 }, () => client()));
    for (const agent of agents) agent.send(ticketsRequest(authority));
    for (const agent of agents) expect(await agent.response()).toMatchObject({ status: 200 });
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(new Set(tokens).size).toBe(1);
  });

  test('that has ended is refreshed once, by two proxies on one store', async () => {
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

  test('is sent on while the token endpoint is down, as long as it lasts', async () => {
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

  test('that cannot be refreshed in time is a refusal, and the next try may succeed', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({
      expiresIn: -1,
      limits: { refresh_wait: '100ms', refresh_timeout: '50ms' },
    });
    helpdesk.failTokenEndpoint(() => 'hang');
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 502, reason: 'refresh_failed' });
  });

  test('whose consent is gone is a refusal that says how to give it again', async () => {
    const { helpdesk, authority, client, sidekey, tokens } = await startHelpdeskProxy({ expiresIn: -1 });
    helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    const agent = await client();
    for (let i = 0; i < 2; i += 1) {
      agent.send(ticketsRequest(authority));
      const answer = await agent.response();
      expect(answer).toMatchObject({ status: 424, reason: 'reauth_required' });
      expect(problemOf(answer).hint).toContain('sidekey grant add acme');
    }
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(tokens).toEqual([]);
    await sidekey.audited((line) => line.event === 'grant.reauth_required');
  });
});

describe('a 401 of the upstream', () => {
  test('has the token refreshed once, and the request sent once more', async () => {
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

  test('to a small POST has it sent once more, with its body', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(newTicketRequest(authority));
    const answer = await agent.response();
    expect(answer.status).toBe(201);
    expect(JSON.parse(answer.body)).toMatchObject({ title: 'Broken chair' });
  });

  test('to a POST that is too long to be kept passes, and the next request has the better token', async () => {
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

  test('that no new token helps passes as it is, and costs one refresh', async () => {
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

  test('to a grant whose consent is gone is a refusal that says so', async () => {
    const { helpdesk, authority, client } = await startHelpdeskProxy({ expiresIn: 3_600 });
    helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    helpdesk.revokeAllAccessTokens();
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 424, reason: 'reauth_required' });
  });
});
