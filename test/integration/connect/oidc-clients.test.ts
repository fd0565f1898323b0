/** Clients that Sidekey registers at an authorization server by others (oidc-provider). */
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../support/free-port.ts';
import { home, type Home } from '../../support/command-line.ts';
import { begin } from '../../support/connect-home.ts';
import { startOidcProvider } from '../../support/oidc-provider.ts';
import { openAtUpstream } from '../../support/registering-server.ts';
import { startService } from '../../support/service.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';

const initialAccessToken = 'the-initial-access-token';

/** Starts the server, which signs everybody in, and gives every consent. */
async function startServer(features: object, read?: (address: string) => Promise<Response>) {
  const { provider, upstream } = await startOidcProvider({
    settings: {
      features,
      scopes: ['openid', 'offline_access'],
      clientAuthMethods: ['none', 'client_secret_basic'],
      issueRefreshToken: async () => true,
      pkce: { required: () => true },
      ttl: {
        AccessToken: 300,
        Grant: 3_600,
        IdToken: 300,
        Interaction: 600,
        Session: 3_600,
        RefreshToken: 3_600,
      },
      ...(read === undefined ? {} : { fetch: read }),
    },
    serve(request, response, pass) {
      if (request.url?.startsWith('/interaction/') === true) void answer(request, response);
      else pass();
    },
  });
  async function answer(...message: [IncomingMessage, ServerResponse]): Promise<void> {
    const { prompt, session, params } = await provider.interactionDetails(...message);
    if (prompt.name === 'login')
      return provider.interactionFinished(...message, { login: { accountId: 'alice' } });
    const grant = new provider.Grant({
      accountId: session?.accountId ?? 'alice',
      clientId: params['client_id'] ?? '',
    });
    grant.addOIDCScope(params['scope'] ?? 'openid');
    return provider.interactionFinished(...message, { consent: { grantId: await grant.save() } });
  }
  return { provider, issuer: upstream.url };
}

async function start(features: object, admin?: object, read?: Parameters<typeof startServer>[1]) {
  const server = await startServer(features, read);
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    ...(admin === undefined ? {} : { admin }),
  });
  await writeFile(join(at.folder, 'config', 'upstream-ca.pem'), upstreamCa);
  return { ...server, at };
}

async function connect(at: Home, args: readonly string[]) {
  const env = { INITIAL: initialAccessToken };
  const command = begin(['connect', ...args, '--paste', '--config', at.configFile], at.folder, { env });
  const seen = await Promise.race([command.said(/\/auth\?\S+\s/), command.done.then(() => null)]).catch(
    () => null,
  );
  const [url] = /https:\/\/\S+\/auth\?\S+/.exec(seen ?? '') ?? [];
  if (url !== undefined) command.stdin.write(`${(await openAtUpstream(url)).href}\n`);
  return command.done;
}

async function clientIdIn(at: Home): Promise<string> {
  const config = parse(await readFile(at.configFile, 'utf8')) as {
    providers: Record<string, { client_id: string }>;
  };
  return config.providers['desk']?.client_id ?? '';
}

const discovering = ['--discover', '--name', 'desk', '--scope', 'openid'];

test('a registration that the server deleted is replaced, with an initial access token each time', async () => {
  const { provider, issuer, at } = await start({ registration: { enabled: true, initialAccessToken } });
  const refused = await connect(at, [issuer, ...discovering]);
  expect(refused.exit).not.toBe(0);
  expect(refused.stderr).toContain('--registration-token env:NAME');

  const token = ['--registration-token', 'env:INITIAL'];
  const ran = await connect(at, [issuer, ...discovering, ...token]);
  expect(ran.exit, ran.stderr).toBe(0);
  const first = await clientIdIn(at);
  expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });

  await provider.Client.adapter.destroy(first);
  expect((await at.run(['grant', 'refresh', 'desk', '--force'])).stderr).toContain(
    'sidekey connect desk --replace',
  );
  const again = await connect(at, ['desk', '--replace', ...token]);
  expect(again.exit, again.stderr).toBe(0);
  expect(await clientIdIn(at)).not.toBe(first);
  expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
});

test('a client ID metadata document that the admin listener serves is accepted', async () => {
  const port = await freePort();
  const admin = { listen: `127.0.0.1:${port}`, url: 'https://sidekey.acme.test' };
  await startService({ config: { admin } });
  const address = `${admin.url}/oauth/client-metadata.json`;
  // As a reverse proxy with TLS forwards it.
  const read = (asked: string) => fetch(asked.replace(admin.url, `http://127.0.0.1:${port}`));
  const answer = await read(address);
  expect(answer.headers.get('content-type')).toContain('application/json');
  expect(await answer.json()).toEqual({
    client_id: address,
    client_name: 'Sidekey',
    application_type: 'native',
    redirect_uris: [
      'http://127.0.0.1/callback',
      'http://127.0.0.1:8765/callback',
      'http://[::1]/callback',
      'http://[::1]:8765/callback',
      'http://localhost/callback',
      'http://localhost:8765/callback',
      `${admin.url}/connect/callback`,
    ],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  });

  const clientIdMetadataDocument = { enabled: true, ack: 'draft-02' };
  const { issuer, at } = await start({ clientIdMetadataDocument }, { ...admin, listen: '127.0.0.1:0' }, read);
  const ran = await connect(at, [issuer, ...discovering]);
  expect(ran.exit, ran.stderr).toBe(0);
  expect(await clientIdIn(at)).toBe(address);
  // Any port of the loopback address (RFC 8252 §7.3).
  const other = await connect(at, ['desk', '--replace', '--port', '18765']);
  expect(other.exit, other.stderr).toBe(0);
  expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
});

test('an admin listener without TLS serves no client ID metadata document', async () => {
  const { url } = await startService();
  expect((await fetch(`${url}/oauth/client-metadata.json`)).status).toBe(404);
});
