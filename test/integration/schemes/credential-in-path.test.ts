/** Credentials outside header fields: in a path like Telegram's, or in a query; and the audit record. */
import { describe, expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

async function carried(inject: object, target: string) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.url ?? '');
    response.end('ok');
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme: { audience: [upstream.authority], inject } } },
  });
  await sidekey.grant([upstream.authority], { credential: { type: 'api_key', value: '123:bot-Secret' } });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET ${target} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const answer = await client.response();
  await sidekey.audited(({ event }) => event === 'outcome' || event === 'denied');
  const audit = await sidekey.audit();
  return { seen, answer, audit: JSON.stringify(audit), paths: audit.flatMap(({ path }) => path ?? []) };
}

describe('a credential in the path', () => {
  test('reaches the upstream, but not the audit log', async () => {
    const { seen, answer, audit, paths } = await carried({ path: ['/bot'] }, '/bot999:placeholder/getMe?a=1');
    expect(answer.status).toBe(200);
    expect(seen).toEqual(['/bot123:bot-Secret/getMe?a=1']);
    expect(paths).toEqual(['/bot/getMe', '/bot/getMe']);
    expect(audit).not.toMatch(/Secret|placeholder/);
  });

  test('is required: a path without a place for the credential is refused', async () => {
    const { seen, answer } = await carried({ path: ['/bot'] }, '/getMe');
    expect(answer.status).toBe(403);
    expect(answer.headers['sidekey-error']).toBe('policy_violation');
    expect(seen).toEqual([]);
  });
});

test('a credential in the query reaches the upstream, but not the audit log', async () => {
  const { seen, audit } = await carried({ query: 'key' }, '/v1/models?key=placeholder&b=2');
  expect(seen).toEqual(['/v1/models?key=123%3Abot-Secret&b=2']);
  expect(audit).not.toMatch(/Secret|placeholder/);
});
