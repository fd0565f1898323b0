/**
 * An API says itself which server its tokens come from, and whoever runs it may name a server that is not
 * theirs: the company's own, say, whose tokens then are sent to the API (RFC 9728 §7.4). Only a person can
 * tell whether the two belong together; so they are named, and the server is told what the token is for (RFC
 * 8707).
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { acmeHome } from '../support/connect-home.ts';
import { startUpstream, upstreamCa } from '../support/upstream.ts';

async function homeWithApi() {
  const at = await acmeHome({
    config: {
      upstream: {
        ca: ['helpdesk-ca.pem', 'upstream-ca.pem'],
        resolve: { 'helpdesk.acme.test': '127.0.0.1', 'api.acme.test': '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  await writeFile(join(at.folder, 'config', 'upstream-ca.pem'), upstreamCa);
  return at;
}

test('the consent shows both hosts if the tokens are from another host than the API', async () => {
  const api = await startUpstream((request, response) => {
    const isMetadata = request.url === '/.well-known/oauth-protected-resource';
    response.writeHead(isMetadata ? 200 : 404, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        resource: api.url,
        authorization_servers: [at.helpdesk.issuer],
        scopes_supported: ['read:tickets'],
      }),
    );
  });
  const at = await homeWithApi();
  const command = at.begin(['connect', api.url, '--discover', '--name', 'desk', '--paste']);
  const said = await command.said(/\/authorize\?\S+\s/);
  const [consent = ''] = /https:\/\/\S+\/authorize\?\S+/.exec(said) ?? [];
  command.stdin.end();
  expect(said).toContain(
    `Its tokens come from ${at.authority}, and are sent to ${api.authority}: continue only if they belong together.`,
  );
  expect(new URL(consent).searchParams.get('resource')).toBe(api.url);
  await command.done;
});

test('the consent shows no warning if both hosts are the same', async () => {
  const at = await acmeHome();
  const command = at.begin(['connect', at.helpdesk.issuer, '--discover', '--name', 'desk', '--paste']);
  const said = await command.said(/\/authorize\?\S+\s/);
  command.stdin.end();
  expect(said).not.toContain('belong together');
  await command.done;
});

test('the consent shows both hosts if a code of another host is sent to the API', async () => {
  const at = await homeWithApi();
  const { issuer } = at.helpdesk;
  const api = await startUpstream((request, response) => {
    const isMetadata = request.url === '/.well-known/oauth-authorization-server';
    response.writeHead(isMetadata ? 200 : 404, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        issuer: api.url,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${api.url}/token`,
        code_challenge_methods_supported: ['S256'],
      }),
    );
  });
  const command = at.begin(['connect', api.url, '--name', 'desk', '--client-id', 'app', '--paste']);
  const said = await command.said(/\/authorize\?\S+\s/);
  command.stdin.end();
  expect(said).toContain(
    `Its tokens come from ${api.authority}, after a login at ${at.authority}, and are sent to ${api.authority}`,
  );
  await command.done;
});
