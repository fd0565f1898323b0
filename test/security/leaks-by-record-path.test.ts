/**
 * A client whose credential stands in the path may still send its own, and the audit file is kept for long:
 * what stands in that place is not written down, also where the request is refused before Sidekey's own
 * credential is at hand.
 */
import { expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey, type TestSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

async function refused(request: string, prepare: (at: TestSidekey, host: string) => Promise<unknown>) {
  const upstream = await startUpstream((_request, response) => response.end());
  const provider = { audience: [upstream.authority], inject: { path: ['/file/bot', '/bot'] } };
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme: provider } },
  });
  await prepare(sidekey, upstream.authority);
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const { headers } = await client.response();
  const { path } = await sidekey.audited(({ event, method }) => event === 'denied' && method !== 'CONNECT');
  return { code: headers['sidekey-error'], path, audit: JSON.stringify(await sidekey.audit()) };
}

test.each<[string, string, string, (at: TestSidekey, host: string) => Promise<unknown>]>([
  [
    'the grant has ended',
    'GET /bot999:own-secret/getMe',
    'grant_revoked',
    async (at, host) => at.proxy.state.grants.setState(await at.grant([host]), 'revoked', 'it was revoked'),
  ],
  [
    'more than one grant fits',
    'GET /file/bot999:own-secret/getMe',
    'grant_ambiguous',
    async (at, host) => [await at.grant([host], { name: 'one' }), await at.grant([host], { name: 'two' })],
  ],
  ['there is no grant yet', 'GET /bot999:own-secret/getMe', 'grant_missing', async () => undefined],
  [
    'the method shows requests',
    'TRACE /bot999:own-secret/getMe',
    'policy_violation',
    (at, host) => at.grant([host]),
  ],
])('the audit path has no credential if %s', async (_why, request, code, prepare) => {
  const seen = await refused(request, prepare);
  expect(seen.code).toBe(code);
  expect(seen.audit).not.toContain('own-secret');
  expect(seen.path).toMatch(/^\/(file\/)?bot\/getMe$/);
});
