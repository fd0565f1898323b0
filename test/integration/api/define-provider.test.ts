/** Providers that the dashboard adds to the config file: their settings, and services by their address. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { configuredProvider } from '../../../src/operations/connect/provider-settings.ts';
import type { Opened } from '../../../src/operations/operation.ts';
import { startConnecting } from '../../support/connect-session.ts';
import { startRegisteringServer } from '../../support/registering-server.ts';
import { startService } from '../../support/service.ts';

interface Written {
  readonly providers?: Readonly<Record<string, object>>;
}

describe('a provider', () => {
  test('gets its settings, and then takes a key', async () => {
    const { call } = await startService();
    const settings = { subdomain: 'acme' };
    const { status, body } = await call('PATCH /v2/providers/zendesk', { body: { settings } });
    expect([status, body.settings, body.open_settings]).toEqual([200, settings, []]);
    const credential = { email: 'alice@acme.test', token: 'key' };
    const added = await call('POST /v2/grants', {
      body: { provider: 'zendesk', credential, verify: false, domains: true },
    });
    expect(added.body).toMatchObject({ audience: ['acme.zendesk.com'], domains: ['acme.zendesk.com'] });
  });

  test('refuses a setting that it does not have, and the config file stays', async () => {
    const { call, sidekey } = await startService();
    const before = await readFile(sidekey.configFile, 'utf8');
    for (const settings of [{ client_secret: 'x' }, { subdomain: 'a/b' }])
      expect((await call('PATCH /v2/providers/zendesk', { body: { settings } })).status).toBe(400);
    expect(await readFile(sidekey.configFile, 'utf8')).toBe(before);
  });
});

test('a change of a provider that is not made at the machine sets no key of the machine', async () => {
  const { sidekey } = await startService();
  const before = await readFile(sidekey.configFile, 'utf8');
  const parts = {
    config: async () => sidekey.proxy.config(),
    env: {},
    withState: (use: (state: Opened) => Promise<void>) => use(sidekey.proxy.state),
    output: { say() {} },
  };
  const set = { clientId: 'x', clientSecret: 'command:echo secret' };
  await expect(configuredProvider(parts, 'github', set)).rejects.toMatchObject({ code: 'config_protected' });
  expect(await readFile(sidekey.configFile, 'utf8')).toBe(before);
});

describe('a service by its address', () => {
  test('is found, registers a client, and is connected by a consent', async () => {
    const at = await startConnecting();
    const { status, body } = await at.call('POST /v2/providers', {
      body: { address: at.helpdesk.issuer, name: 'desk' },
    });
    expect([status, body.name, body.has_client_secret]).toEqual([201, 'desk', false]);
    const session = await at.session({ provider: 'desk' });
    const browser = at.browser();
    await browser.open(await browser.consent(session.connect_url));
    const { body: end } = await at.call(`GET /v2/connect-sessions/${session.id}`);
    expect(end).toMatchObject({ status: 'connected', provider: 'desk' });
  });

  test('that registers only clients with a secret is not written to the config file', async () => {
    const server = await startRegisteringServer({
      metadata: { token_endpoint_auth_methods_supported: ['client_secret_basic'] },
    });
    const { call, sidekey } = await startService();
    const refused = await call('POST /v2/providers', { body: { address: server.issuer, name: 'desk' } });
    expect(refused.body).toMatchObject({ detail: expect.stringContaining('only clients with a secret') });
    const { providers } = parse(await readFile(sidekey.configFile, 'utf8')) as Written;
    expect(providers).toBeUndefined();
  });
});
