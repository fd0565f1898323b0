import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openKeyFile, plainKey } from '../../../../src/store/vault/key-file.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const createKeyFile = (path: string) => openKeyFile(path, plainKey).create!();
const readKeyFile = (path: string) => openKeyFile(path, plainKey).read();

describe('the key file', () => {
  it('has a header, and 32 random bytes', async () => {
    const path = join(await tempFolder(), 'master.key');
    const key = await createKeyFile(path);
    const lines = (await readFile(path, 'utf8')).split('\n');
    expect(lines[0]).toMatch(/^# Sidekey master key\./);
    expect(lines.at(-2)).toBe(key.export().toString('base64url'));
    expect(key.export()).toHaveLength(32);
  });

  it('reads back as the key it was created with', async () => {
    const path = join(await tempFolder(), 'master.key');
    const key = await createKeyFile(path);
    expect((await readKeyFile(path))?.equals(key)).toBe(true);
  });

  it('is null when the file is missing', async () => {
    expect(await readKeyFile(join(await tempFolder(), 'master.key'))).toBeNull();
  });

  it('is created once by concurrent processes', async () => {
    const folder = await tempFolder();
    const path = join(folder, 'deep', 'down', 'master.key');
    const keys = await Promise.all(Array.from({ length: 20 }, () => createKeyFile(path)));
    expect(new Set(keys.map((key) => key.export().toString('hex'))).size).toBe(1);
    expect(await readdir(join(folder, 'deep', 'down'))).toEqual(['master.key']);
  });

  it('is never overwritten, regardless of its content', async () => {
    const folder = await tempFolder();
    for (const content of ['', 'garbage', `# a comment only\n`]) {
      const path = join(folder, `key-${content.length}`);
      await writeFile(path, content, { mode: 0o600 });
      await expect(createKeyFile(path)).rejects.toMatchObject({ code: 'key_invalid' });
      expect(await readFile(path, 'utf8')).toBe(content);
    }
    expect(await readdir(folder)).toHaveLength(3);
  });

  it('is refused without its content in the message when it contains anything but one key', async () => {
    const folder = await tempFolder();
    const text = randomBytes(32).toString('base64url');
    const contents = [
      '',
      '\n\n',
      text.slice(0, 42),
      `${text}A`,
      `${text}\n${text}`,
      `key: ${text}`,
      `${text.slice(0, 42)}!`,
      // 43 characters; the last one has bits beyond 32 bytes.
      `${'B'.repeat(42)}B`,
      'A'.repeat(43),
      `${'# padding\n'.repeat(1000)}${text}`,
      `${text}\n${'# padding\n'.repeat(1000)}`,
      Buffer.from([0xff, 0xfe, 0, 1, 2]),
    ];
    for (const [index, content] of contents.entries()) {
      const path = join(folder, `key-${index}`);
      await writeFile(path, content, { mode: 0o600 });
      const error = await readKeyFile(path).catch((thrown: unknown) => thrown);
      expect([index, error]).toEqual([index, expect.objectContaining({ code: 'key_invalid' })]);
      expect(String(error)).not.toContain(text.slice(0, 8));
    }
    // A mode or an owner is not the cause.
    await expect(readKeyFile(join(folder, 'key-0'))).rejects.toMatchObject({
      hint: expect.stringMatching(/^restore .+ from your backup, or set "key"/),
    });
  });

  it('may have comments, blank lines and CRLF around its key', async () => {
    const path = join(await tempFolder(), 'master.key');
    const bytes = randomBytes(32);
    await writeFile(path, `# mine\r\n\r\n  ${bytes.toString('base64url')}  \r\n# end\r\n`, { mode: 0o600 });
    expect((await readKeyFile(path))?.export().equals(bytes)).toBe(true);
  });

  it('may be a symlink', async () => {
    const folder = await tempFolder();
    const key = await createKeyFile(join(folder, 'real.key'));
    await symlink(join(folder, 'real.key'), join(folder, 'master.key'));
    expect((await readKeyFile(join(folder, 'master.key')))?.equals(key)).toBe(true);
  });

  it('is refused when it is a folder', async () => {
    const path = join(await tempFolder(), 'master.key');
    await mkdir(path);
    await expect(readKeyFile(path)).rejects.toMatchObject({ code: 'key_invalid' });
  });

  it('is reported when it cannot be created', async () => {
    const folder = await tempFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(createKeyFile(join(folder, 'file', 'master.key'))).rejects.toMatchObject({
      code: 'file_unwritable',
      hint: expect.stringContaining(join(folder, 'file')),
    });
    expect((await stat(join(folder, 'file'))).size).toBe(0);
  });
});
