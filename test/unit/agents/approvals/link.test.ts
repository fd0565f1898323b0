import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { createApprovalLinks, parseLinkPath } from '../../../../src/agents/approvals/announce.ts';
import { createVault } from '../../../../src/store/vault/vault.ts';
import { masterKey } from '../../../../src/store/vault/key-source.ts';

const linksOf = (key: Buffer) => createApprovalLinks(createVault(masterKey(key)));
const key = randomBytes(32);
const links = linksOf(key);
const question = { id: 'k7w2m9qd', expiresAt: 1_700_000_180_000 };
const path = links.pathFor(question);
const { id, isBody, signature } = parseLinkPath(path) ?? { id: '', isBody: true, signature: '' };

test('a link is valid for its approval in every process with the key', () => {
  expect(links.pathFor(question)).toBe(`/approve/k7w2m9qd/${signature}`);
  expect(signature).toMatch(/^[A-Za-z0-9_-]{51}$/);
  expect(linksOf(Buffer.from(key)).verify({ id, isBody, signature })).toEqual(question);
});

test('a link is invalid for another approval, and its expiry cannot be changed', () => {
  expect(links.verify({ id: 'k7w2m9qe', isBody, signature })).toBeNull();
  const later = links.pathFor({ ...question, expiresAt: question.expiresAt + 1 }).slice(-51);
  expect(links.verify({ id, isBody, signature: later.slice(0, 8) + signature.slice(8) })).toBeNull();
});

test('the link of a body cannot answer, and the link of an answer cannot read the body', () => {
  const body = parseLinkPath(links.pathFor(question, 'body'));
  expect(body).toMatchObject({ id, isBody: true });
  expect(links.verify({ id, isBody: true, signature: body?.signature ?? '' })).toEqual(question);
  expect(links.verify({ id, isBody: false, signature: body?.signature ?? '' })).toBeNull();
  expect(links.verify({ id, isBody: true, signature })).toBeNull();
});

test('a signature by another key is refused', () => {
  expect(linksOf(randomBytes(32)).verify({ id, isBody, signature })).toBeNull();
});

test('a signature that is truncated, extended or encoded otherwise is refused', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  // Two bits of the last character carry no data.
  const alike = alphabet[alphabet.indexOf(signature.at(-1) ?? '') ^ 1] ?? '';
  const other = signature.slice(0, -1) + alike;
  expect(Buffer.from(other.slice(8), 'base64url')).toEqual(Buffer.from(signature.slice(8), 'base64url'));
  for (const wrong of [other, signature.slice(0, -1), `${signature}A`, signature.toLowerCase()]) {
    expect(links.verify({ id, isBody, signature: wrong }), wrong).toBeNull();
  }
});

test.each([
  '/approve/k7w2m9qd',
  '/approve/k7w2m9qd/',
  `/approve/k7w2m9qd/${'a'.repeat(50)}`,
  `/approve/k7w2m9qd/${'a'.repeat(52)}`,
  `/approve/K7W2M9QD/${'a'.repeat(51)}`,
  `//approve/k7w2m9qd/${'a'.repeat(51)}`,
  `/approve/k7w2m9qd/${'a'.repeat(51)}/`,
  `/approve/k7w2m9qd/${'a'.repeat(48)}%61`,
])('%s is not a link', (path) => {
  expect(parseLinkPath(path)).toBeNull();
});
