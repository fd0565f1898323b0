import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createApprovalLinks } from '../../../../src/agents/approvals/announce.ts';
import { approvalPages } from '../../../../src/cli/approve/pages.ts';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import { createVault } from '../../../../src/store/vault/vault.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { question } from '../../../support/question.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const vault = createVault(masterKey(randomBytes(32)));
const links = createApprovalLinks(vault);
const asked = question({ bodyBytes: 7, who: { grantId: 'g-1' } });

/** Starts a server that answers `to: bob` with this seal, and returns what the command reads from it. */
async function readFrom(seal: string, expected = links.pathFor(asked, 'body')) {
  const server = createServer((request, response) => {
    if (request.url === expected) response.setHeader('sidekey-seal', seal).end('to: bob');
    else response.writeHead(404).end();
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return approvalPages(
    { listen: { host: '127.0.0.1', port }, url: null, tls: null, metrics: 'key', returnUrls: [], oidc: null },
    vault,
  )?.bodyOf(asked);
}

test('a body is read from the page server of this installation', async () => {
  expect(await readFrom(links.sealOf(asked, 'to: bob'))).toBe('to: bob');
});

test('a body without the seal of this installation is rejected', async () => {
  const other = createApprovalLinks(createVault(masterKey(randomBytes(32))));
  expect(await readFrom('')).toBeNull();
  expect(await readFrom(other.sealOf(asked, 'to: bob'))).toBeNull();
  expect(await readFrom(links.sealOf(asked, 'to: alice'))).toBeNull();
});

test('a request without a body, or whose proxy does not respond, has no body', async () => {
  const pages = approvalPages(
    {
      listen: { host: '127.0.0.1', port: 1 },
      url: null,
      tls: null,
      metrics: 'key',
      returnUrls: [],
      oidc: null,
    },
    vault,
  );
  expect(await pages?.bodyOf(asked)).toBeNull();
  expect(await pages?.bodyOf({ ...asked, bodyBytes: 0 })).toBeNull();
});

test('a body is read over TLS only from a server with the configured certificate', async () => {
  const authority = makeTestAuthority('admin');
  const own = authority.issue(['sidekey.example.com']);
  const folder = await tempFolder();
  const server = createTlsServer(own, (_request, response) => {
    response.setHeader('sidekey-seal', links.sealOf(asked, 'to: bob')).end('to: bob');
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const read = async (name: string, cert: string) => {
    const key = join(folder, 'key.pem');
    const tls = { cert: join(folder, name), key, clientCa: null, setting: 'admin.tls' as const };
    await writeFile(tls.cert, cert);
    const listen = { host: '127.0.0.1', port };
    return approvalPages(
      { listen, url: null, tls, metrics: 'key', returnUrls: [], oidc: null },
      vault,
    )?.bodyOf(asked);
  };
  expect(await read('own.pem', own.cert)).toBe('to: bob');
  expect(await read('other.pem', makeTestAuthority('other').issue(['sidekey.example.com']).cert)).toBeNull();
});

test('no page server is found without admin.listen, or when the system chooses the port at start', () => {
  expect(
    approvalPages({ listen: null, url: null, tls: null, metrics: 'key', returnUrls: [], oidc: null }, vault),
  ).toBeNull();
  expect(
    approvalPages(
      {
        listen: { host: '127.0.0.1', port: 0 },
        url: null,
        tls: null,
        metrics: 'key',
        returnUrls: [],
        oidc: null,
      },
      vault,
    ),
  ).toBeNull();
});
