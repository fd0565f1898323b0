import { randomBytes } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import {
  enrolmentOf,
  isProofOf,
  joinProof,
  newEnrolmentToken,
  newNodeKey,
  openForNode,
  readNodeKey,
  sealForNode,
  writeNodeKey,
} from '../../../../src/store/vault/node-key.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const nodeOf = (token = newEnrolmentToken()) => {
  const { id, secret } = enrolmentOf(token);
  return newNodeKey({ name: 'b', secret, enrolment: id });
};
const master = masterKey(randomBytes(32));
const tampered = expect.objectContaining({ code: 'record_tampered' });

describe('a master key that is sealed for a node', () => {
  it('opens with the key of the node', () => {
    const node = nodeOf();
    expect(openForNode(node, sealForNode(master, node)).equals(master)).toBe(true);
  });

  it('does not open with another private key, or under another name', () => {
    const node = nodeOf();
    const sealed = sealForNode(master, node);
    const { privateKey, publicKey } = nodeOf();
    expect(() => openForNode({ ...node, privateKey, publicKey }, sealed)).toThrow(tampered);
    expect(() => openForNode({ ...node, name: 'c' }, sealed)).toThrow(tampered);
    expect(() => openForNode(node, sealed.subarray(0, 40))).toThrow(tampered);
  });

  it('is refused by the node if the sender knows only its public key', () => {
    const node = nodeOf();
    const attacker = sealForNode(masterKey(randomBytes(32)), { ...node, secret: nodeOf().secret });
    expect(() => openForNode(node, attacker)).toThrow(tampered);
  });

  it('is not sealed to a public key that results in the same secret for every private key', () => {
    const publicKey = Buffer.alloc(32).toString('base64url');
    expect(() => sealForNode(master, { ...nodeOf(), publicKey })).toThrow();
  });
});

describe('a proof of an enrolment token', () => {
  it('is valid for one name and one public key only', () => {
    const node = nodeOf();
    const proof = joinProof(node);
    expect(isProofOf(node, proof)).toBe(true);
    expect(isProofOf({ ...node, name: 'c' }, proof)).toBe(false);
    expect(isProofOf({ ...node, publicKey: nodeOf().publicKey }, proof)).toBe(false);
    expect(isProofOf({ ...node, secret: nodeOf().secret }, proof)).toBe(false);
    expect(isProofOf(node, '')).toBe(false);
  });
});

describe('an enrolment token', () => {
  it('is refused without being repeated if it has another form', () => {
    const token = newEnrolmentToken();
    for (const text of ['', token.slice(1), `${token}a`, `${token.slice(0, -1)}!`])
      expect(() => enrolmentOf(text)).toThrow(/^This is no enrolment token: one begins with sn_\.$/);
  });
});

describe('the file of a node key', () => {
  it('is private, and contains the written key', async () => {
    const path = join(await tempFolder(), 'node.key');
    expect(await readNodeKey(path)).toBeNull();
    const node = nodeOf();
    await writeNodeKey(path, node);
    expect(await readNodeKey(path)).toEqual(node);
    // Windows has no such modes.
    if (process.platform === 'win32') return;
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await chmod(path, 0o644);
    await expect(readNodeKey(path)).rejects.toMatchObject({ code: 'permissions_unsafe' });
  });

  it('is refused without being repeated if it was changed', async () => {
    const path = join(await tempFolder(), 'node.key');
    const node = nodeOf();
    await writeNodeKey(path, node);
    await writeFile(path, (await readFile(path, 'utf8')).replace('"privateKey"', 'privateKey'));
    const error = (await readNodeKey(path).catch((reason: unknown) => reason)) as Error;
    expect(error).toMatchObject({ code: 'key_invalid' });
    expect(`${error.message} ${String(error.cause)}`).not.toContain(node.privateKey.slice(0, 8));
  });
});
