import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createApprovalLinks } from '../../../../src/approvals/webhook.ts';
import { approvalPages } from '../../../../src/cli/approve/pages.ts';
import { masterKey } from '../../../../src/vault/key-source.ts';
import { createVault } from '../../../../src/vault/vault.ts';
import { question } from '../../../support/question.ts';

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
  return approvalPages({ listen: { host: '127.0.0.1', port }, url: null, returnUrls: [] }, vault)?.bodyOf(
    asked,
  );
}

test('a body is read from the page server of this installation', async () => {
  expect(await readFrom(links.sealOf(asked, 'to: bob'))).toBe('to: bob');
});

test('a body is not believed without the seal of this installation', async () => {
  const other = createApprovalLinks(createVault(masterKey(randomBytes(32))));
  expect(await readFrom('')).toBeNull();
  expect(await readFrom(other.sealOf(asked, 'to: bob'))).toBeNull();
  expect(await readFrom(links.sealOf(asked, 'to: alice'))).toBeNull();
});

test('a request without a body, and one whose proxy does not answer, have no body', async () => {
  const pages = approvalPages({ listen: { host: '127.0.0.1', port: 1 }, url: null, returnUrls: [] }, vault);
  expect(await pages?.bodyOf(asked)).toBeNull();
  expect(await pages?.bodyOf({ ...asked, bodyBytes: 0 })).toBeNull();
});

test('no pages are known without admin.listen, or with a port that is chosen at start', () => {
  expect(approvalPages({ listen: null, url: null, returnUrls: [] }, vault)).toBeNull();
  expect(
    approvalPages({ listen: { host: '127.0.0.1', port: 0 }, url: null, returnUrls: [] }, vault),
  ).toBeNull();
});
