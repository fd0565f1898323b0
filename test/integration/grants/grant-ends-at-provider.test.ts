/**
 * `grant revoke` and `grant remove`: the provider is told where it can be, and the end here waits for nobody.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { requestTokens } from '../../../examples/helpdesk/authorization-code.ts';
import type { ReceivedRequest } from '../../../examples/helpdesk/helpdesk.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { openState } from '../../../src/app/state.ts';
import { acmeHome, secret, type AcmeHome } from '../../support/connect-home.ts';
import { home, type Home } from '../../support/command-line.ts';
import { homeForProvider } from '../../support/provider-home.ts';
import { requestBody } from '../../support/request-body.ts';
import { startUpstream } from '../../support/upstream.ts';
import { allGrants } from '../../support/all-grants.ts';

async function connected(): Promise<AcmeHome> {
  const at = await acmeHome();
  const command = at.begin(['connect', 'acme', '--paste', '--port', '0']);
  const callback = await at.consent(await command.consentUrl());
  command.stdin.write(`${callback.href}\n`);
  expect((await command.done).exit).toBe(0);
  return at;
}

/** The paths that the provider is asked for from now on. */
function asked(at: AcmeHome): string[] {
  const paths: string[] = [];
  at.helpdesk.requests.on('request', ({ url }: ReceivedRequest) => paths.push(url));
  return paths;
}

/** Connected, and the provider says where it is told of an end. */
async function withEndpoint(more: object = {}): Promise<AcmeHome> {
  const at = await connected();
  const config = parse(await readFile(at.configFile, 'utf8')) as { providers: { acme: object } };
  const revocation = { revocation_endpoint: `${at.helpdesk.issuer}/revoke` };
  config.providers.acme = { ...config.providers.acme, ...revocation, ...more };
  await writeFile(at.configFile, stringify(config));
  return at;
}

async function events(at: Home): Promise<string[]> {
  const text = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { event: string }).event);
}

describe.each(['revoke', 'remove'])('grant %s', (command) => {
  test('revokes the grant at the provider, which then refuses the refresh token', async () => {
    const at = await withEndpoint();
    const seen = asked(at);
    const ran = await at.run(['grant', command, 'acme']);
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('here and at the provider: its credential is no longer valid.'),
    });
    expect(seen).toEqual(['/revoke']);
    expect(await events(at)).toContain(command === 'revoke' ? 'grant.revoked' : 'grant.removed');
  });

  test('deletes or revokes the grant locally if the provider is unreachable, and exits with 5', async () => {
    const at = await withEndpoint();
    await at.helpdesk.close();
    const ran = await at.run(['grant', command, 'acme']);
    expect(ran).toMatchObject({
      exit: 5,
      stderr: expect.stringMatching(/Acme Helpdesk was not told: .*may still be valid there/),
    });
    const left = await at.json(['grant', 'list']);
    expect(left).toEqual(command === 'revoke' ? [expect.objectContaining({ state: 'revoked' })] : []);
  });

  test('ends nothing if the client secret for the revocation cannot be read, until it can or with --local', async () => {
    const at = await withEndpoint({ client_secret: 'env:ACME_UNSET' });
    const seen = asked(at);
    expect(await at.run(['grant', command, 'acme'])).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(
        /Acme Helpdesk cannot be told, so nothing has ended: .*env:ACME_UNSET is not set[^]*with --local/,
      ),
    });
    expect(await at.json(['grant', 'list'])).toMatchObject([{ name: 'acme', state: 'active' }]);
    expect([seen, await events(at)]).toEqual([[], expect.not.arrayContaining(['grant.revoked'])]);
    const withVariable = { env: { ACME_UNSET: secret } };
    expect(await at.run(['grant', command, 'acme'], withVariable)).toMatchObject({ exit: 0 });
    expect(seen).toEqual(['/revoke']);
  });

  test('does not call the provider with --local', async () => {
    const at = await withEndpoint();
    const seen = asked(at);
    expect(await at.run(['grant', command, 'acme', '--local'])).toMatchObject({ exit: 0 });
    expect(seen).toEqual([]);
  });

  test('prints where a person can revoke a key that has no revocation endpoint', async () => {
    const at = await home();
    await at.grant('openai', { type: 'api_key', value: 'sk-1' }, ['--provider', 'openai']);
    expect(await at.run(['grant', command, 'openai'])).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining('where others may know it (https://platform.openai.com/'),
    });
  });
});

test('remove says that the definition of the last grant of a provider stays, and how to delete it', async () => {
  const at = await withEndpoint();
  await at.grant('second', { access_token: 'a' }, ['--provider', 'acme']);
  const stays = 'providers.acme stays in the config file';
  expect((await at.run(['grant', 'remove', 'second', '--local'])).stderr).not.toContain(stays);
  const { stderr } = await at.run(['grant', 'remove', 'acme', '--local']);
  expect(stderr).toContain(`${stays}. To delete it: sidekey config edit\n`);
});

test('invalidates a copied token at the provider', async () => {
  const at = await withEndpoint();
  const { helpdesk } = at;
  const connection = {
    issuer: helpdesk.issuer,
    ca: helpdesk.caCertificate,
    connectTo: { host: helpdesk.host, port: helpdesk.port },
  };
  const client = { clientId: helpdesk.clientId, clientSecret: secret };
  const copy = await copiedRefreshToken(at);
  await at.run(['grant', 'revoke', 'acme']);
  await expect(
    requestTokens(connection, client, { grant_type: 'refresh_token', refresh_token: copy }),
  ).rejects.toMatchObject({ code: 'invalid_grant' });
});

async function copiedRefreshToken(at: AcmeHome): Promise<string> {
  const quiet = { error() {}, warn() {}, info() {}, debug() {} };
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log: quiet, now: Date.now });
  const [grant] = await allGrants(state.store);
  const opened = await state.grants.read(grant?.id ?? '');
  await state.close();
  const credential = opened?.sealed.credential;
  return credential?.type === 'oauth2' ? (credential.refreshToken ?? '') : '';
}

test('a grant of a different server is not revoked at the provider', async () => {
  const at = await withEndpoint();
  const seen = asked(at);
  await at.grant('other', {
    type: 'oauth2',
    access_token: 'a',
    refresh_token: 'r',
    client_id: 'c',
    token_endpoint: 'https://other.example.com/token',
  });
  expect(await at.run(['grant', 'revoke', 'other'])).toMatchObject({ exit: 0 });
  expect(seen).toEqual([]);
});

test('a revocation waits for a late refresh, and revokes the tokens that it gets', async () => {
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const { promise: sent, resolve: noteSent } = Promise.withResolvers<void>();
  const revoked: (string | null)[] = [];
  const upstream = await startUpstream((request, response) => {
    void requestBody(request).then(async (body) => {
      if (request.url === '/revoke') revoked.push(new URLSearchParams(body).get('token'));
      else {
        noteSent();
        await answered;
      }
      response.setHeader('content-type', 'application/json');
      response.end('{"access_token":"access-2","refresh_token":"refresh-2"}');
    });
  });
  const { url } = upstream;
  const at = await homeForProvider(url, { client_id: 'desk', revocation_endpoint: `${url}/revoke` });
  const config = parse(await readFile(at.configFile, 'utf8')) as object;
  const limits = { refresh_timeout: '1500ms', refresh_wait: '50ms' };
  await writeFile(at.configFile, stringify({ ...config, limits }));
  const credential = { type: 'oauth2', access_token: 'access-1', refresh_token: 'refresh-1' };
  await at.grant('desk', credential, ['--provider', 'desk']);
  const revoking = sent.then(() => at.run(['grant', 'revoke', 'desk']));
  const refreshing = at.run(['grant', 'refresh', 'desk', '--force']);
  const late = vi.waitFor(async () => expect(await events(at)).toContain('grant.refresh_failed'), 20_000);
  await Promise.race([revoking, late]);
  answer();
  expect(await revoking).toMatchObject({ exit: 0 });
  await refreshing;
  expect(revoked).toContain('refresh-2');
});
