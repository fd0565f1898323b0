import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { newMasterKey } from '../../../../src/store/vault/key-source.ts';
import { openSecretService } from '../../../../src/store/vault/secret-service.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

/** A program in the place of `secret-tool` that keeps one entry in a file. */
const program = `#!/bin/sh
case "$1" in
  lookup) /bin/cat "$ENTRY" 2>/dev/null || exit 1 ;;
  store) /bin/cat >"$ENTRY" ;;
esac
`;

it('a keyring keeps the key that another process created after the first read', async () => {
  const folder = await tempFolder();
  await writeFile(join(folder, 'secret-tool'), program, { mode: 0o700 });
  const env = { PATH: folder, ENTRY: join(folder, 'entry') };
  const open = () => openSecretService({ account: 'a', platform: 'linux', env });
  const [first, second] = [open(), open()];
  expect(await first.read()).toBeNull();
  const made = await second.create!();
  expect((await first.create!()).equals(made)).toBe(true);
  expect((await first.read())?.equals(made)).toBe(true);
  const next = newMasterKey();
  await first.replace!(next);
  expect((await second.read())?.equals(next)).toBe(true);
});
