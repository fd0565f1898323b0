import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it } from 'vitest';
import { type AgeKey, type AgeLock, openWithAge, sealWithAge } from '../../src/store/vault/age.ts';
import * as fc from '../support/fast-check.ts';
import { tempFolder } from '../support/temp-folder.ts';

const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);
const key: AgeKey = { identities: [identity] };
const ageMissing = hasAge() ? '' : ' (age is not installed: Debian package age)';

function hasAge(): boolean {
  try {
    execFileSync('age', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function sealed(text: Uint8Array, lock: AgeLock) {
  const { stream, key: own } = await sealWithAge(ReadableStream.from([text]), lock);
  return { bytes: Buffer.from(await new Response(stream).bytes()), own };
}

async function opened(bytes: Uint8Array, by: AgeKey): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of openWithAge(ReadableStream.from([bytes]), by, 'x.age')) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function refused(changed: Buffer): Promise<void> {
  const error: unknown = await opened(changed, key).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code: expect.stringMatching(/^(?:record_tampered|key_mismatch)$/) });
}

const text = Buffer.alloc(150_000, 'a backup of three chunks ');

describe('an age file', () => {
  it('opens with the identity of a recipient and with the identity of the writer', async () => {
    const { bytes, own } = await sealed(text, { recipients: [recipient] });
    expect((await opened(bytes, key)).equals(text)).toBe(true);
    expect((await opened(bytes, own)).equals(text)).toBe(true);
    const hybrid = await generateHybridIdentity();
    const after = await sealed(text, { recipients: [await identityToRecipient(hybrid)] });
    expect((await opened(after.bytes, { identities: [hybrid] })).equals(text)).toBe(true);
  });

  it.skipIf(ageMissing !== '')(`opens with the program age${ageMissing}`, async () => {
    const folder = await tempFolder();
    const { bytes } = await sealed(text, { recipients: [recipient] });
    await writeFile(join(folder, 'x.age'), bytes);
    await writeFile(join(folder, 'identity'), `${identity}\n`, { mode: 0o600 });
    const plain = execFileSync('age', ['-d', '-i', join(folder, 'identity'), join(folder, 'x.age')]);
    expect(plain.equals(text)).toBe(true);
  });

  it('does not open with another identity or a passphrase', async () => {
    const { bytes } = await sealed(text, { recipients: [recipient] });
    const other = { identities: [await generateX25519Identity()] };
    for (const wrong of [other, { passphrase: 'x' }])
      await expect(opened(bytes, wrong)).rejects.toMatchObject({ code: 'key_mismatch' });
    await expect(opened(bytes, { identities: ['nonsense'] })).rejects.toMatchObject({
      code: 'input_invalid',
    });
  });

  it('opens with the exact passphrase, and with no other', { timeout: 120_000 }, async () => {
    const { bytes, own } = await sealed(text, { passphrase: 'pass phrase ä' });
    expect((await opened(bytes, own)).equals(text)).toBe(true);
    await expect(opened(bytes, { passphrase: 'pass phrase a' })).rejects.toMatchObject({
      code: 'key_mismatch',
    });
  });

  it('is refused after any change of a byte and after any truncation', async () => {
    const { bytes } = await sealed(text, { recipients: [recipient] });
    const place = fc.oneof(fc.nat(bytes.length - 1), fc.nat(400));
    await fc.assert(
      fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = Buffer.from(bytes);
        changed[at]! ^= change;
        await refused(changed);
        await refused(bytes.subarray(0, at));
      }),
      { numRuns: 60 },
    );
  });
});
