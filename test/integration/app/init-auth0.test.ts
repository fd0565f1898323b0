/**
 * `sidekey init auth0` in a terminal, at a tenant of the test that a parent proxy makes reachable at its port
 * 443.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startAuth0 } from '../../support/auth0-server.ts';
import { home, program } from '../../support/command-line.ts';
import { startCompanyProxy } from '../../support/company-proxy.ts';
import { visit } from '../../support/connect-home.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

/** A home whose parent proxy leads each host to this port. */
async function homeBefore(port: number) {
  const company = await startCompanyProxy({ place: () => ({ host: '127.0.0.1', port }) });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      proxy: { url: `http://127.0.0.1:${company.port}`, remote_dns: true },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const command = [process.execPath, program, 'init', 'auth0', '--config', at.configFile];
  return { at, run: () => runInTerminal(command, { cwd: at.folder, env: { BROWSER: 'true' } }) };
}

test.skipIf(!hasPseudoTerminal)(
  'init auth0 in a terminal (script of util-linux) names the required settings, writes the provider, and logs in once',
  { timeout: 60_000 },
  async () => {
    const auth0 = await startAuth0();
    const { at, run } = await homeBefore(Number(new URL(auth0.url).port));
    const { until, type, screen, ended } = run();
    await until((text) => text.includes('Domain of the tenant'));
    expect(screen()).toMatch(
      /http:\/\/127\.0\.0\.1:8765\/callback[^]+Token Vault[^]+Multi-Resource Refresh Token/,
    );
    type(`https://${upstreamHost}/\r`);
    await until((text) => text.includes('Client ID of the application: '));
    type(`${auth0.client.clientId}\r`);
    await until((text) => text.includes('Client secret at Auth0'));
    type(`${auth0.client.clientSecret}\r`);
    const address = /https:\/\/\S+&\S+\r\n/;
    await until((text) => address.test(text));
    const asked = new URL((address.exec(screen())?.[0] ?? '').trim());
    const { location } = await auth0.browse(`${auth0.url}${asked.pathname}${asked.search}`);
    await visit(location ?? '');
    expect((await ended).exit).toBe(0);
    expect(screen()).toContain('sidekey connect google --via auth0');
    expect(screen()).not.toContain(auth0.client.clientSecret);
    const config = await readFile(at.configFile, 'utf8');
    expect(config).toContain(`domain: ${upstreamHost}`);
    expect(config).toContain(`client_id: ${auth0.client.clientId}`);
    expect(await at.json(['grant', 'show', 'auth0'])).toMatchObject({
      state: 'active',
      refreshable: true,
      account: 'alice@acme.test',
    });

    const again = run();
    expect((await again.ended).exit).toBe(0);
    expect(again.screen()).not.toContain('Domain of the tenant');
  },
);

test.skipIf(!hasPseudoTerminal)(
  'init auth0 in a terminal (script of util-linux) writes nothing for a host that is not an Auth0 tenant',
  { timeout: 60_000 },
  async () => {
    const issuer = `https://${upstreamHost}/`;
    const other = await startUpstream((_request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}token`, resource: issuer }));
    });
    const { at, run } = await homeBefore(Number(new URL(other.url).port));
    const before = await readFile(at.configFile, 'utf8');
    const { until, type, screen, ended } = run();
    await until((text) => text.includes('Domain of the tenant'));
    type(`${upstreamHost}\r`);
    expect((await ended).exit).toBe(2);
    expect(screen()).toContain(`${upstreamHost} is not an Auth0 tenant.`);
    expect(await readFile(at.configFile, 'utf8')).toBe(before);
  },
);

test('init auth0 without a terminal prints the command with its options', async () => {
  const at = await home();
  const { exit, stderr } = await at.run(['init', 'auth0']);
  expect([exit, stderr]).toEqual([2, expect.stringContaining('sidekey connect auth0 --set domain=DOMAIN')]);
});
