import { chmod, copyFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openAuthority } from '../../../src/ca/authority.ts';
import { followAuthority } from '../../../src/ca/existing-authority.ts';
import { errorPhrase } from '../../../src/lib/errors.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { manualTime, settle } from '../lib/manual-time.ts';
import { vaultForTest } from '../store/vault/vault-for-test.ts';

/** Files of a CA that a proxy follows, and those of another CA with the same master key. */
async function followed() {
  const time = manualTime(Date.now());
  const { now, timers } = time;
  const advance = (ms: number) => time.advance(ms);
  const waiting = () => time.waiting();
  const sealing = vaultForTest();
  const vault = { ...sealing, refreshed: sealing.refresh, refresh: () => vault.refreshed() };
  const open = async () => {
    const directory = await tempFolder();
    return { directory, authority: await openAuthority({ directory, vault, permittedNames: [], now }) };
  };
  const [first, second] = [await open(), await open()];
  const lines: string[] = [];
  const log = {
    error() {},
    debug() {},
    warn: ({ err }: { err?: unknown }) => void lines.push(errorPhrase(err)),
    info: (_: object, message: string) => void lines.push(message),
  };
  const { directory } = first;
  const config = { ca: { directory, permittedNames: [] } };
  const options = { config, vault: vault as never, now, timers, log: log as never };
  const { current, close } = await followAuthority(first.authority, options);
  onTestFinished(close);
  const files = ['ca.crt', 'ca.key'];
  const replace = async (names = files) => {
    for (const name of names) {
      await copyFile(join(second.directory, name), join(directory, `${name}.new`));
      await rename(join(directory, `${name}.new`), join(directory, name));
    }
  };
  const signer = () => (current() === first.authority ? 'first' : current().fingerprint);
  return {
    vault,
    lines,
    replace,
    signer,
    close,
    advance,
    waiting,
    directory,
    second: second.authority.fingerprint,
    /** Moves the clock to the next looks at the files, and waits until each has ended. */
    look: async (times = 1) => {
      for (let time = 0; time < times; time += 1) {
        await advance(1_000);
        while (waiting() === 0) await settle();
      }
    },
  };
}

test('replaced files of the CA are followed', async () => {
  const { lines, look, replace, second, signer } = await followed();
  await look();
  expect([signer(), lines]).toEqual(['first', []]);
  await replace();
  await look();
  expect([signer(), lines]).toEqual([second, ['the CA was replaced']]);
});

test('files that could not be read once are followed later, without another change', async () => {
  const { vault, lines, look, replace, second, signer } = await followed();
  vault.refreshed = () => Promise.reject(new Error());
  await replace();
  await look(3);
  expect(signer()).toBe('first');
  // One line for the same failure.
  expect(lines).toEqual([expect.stringContaining('Error')]);
  vault.refreshed = () => Promise.resolve();
  await look();
  expect([signer(), lines.at(-1)]).toEqual([second, 'the CA was replaced']);
});

test('files that are replaced one after the other are followed once both are there', async () => {
  const { lines, look, replace, second, signer } = await followed();
  await replace(['ca.crt']);
  await look(2);
  expect([signer(), lines]).toEqual(['first', [expect.stringMatching(/ is not the certificate of /)]]);
  await replace(['ca.key']);
  await look();
  expect([signer(), lines.at(-1)]).toEqual([second, 'the CA was replaced']);
});

test.skipIf(process.platform === 'win32')(
  'a replaced key that others may read is refused until its permissions are right',
  async () => {
    const { directory, lines, look, replace, second, signer } = await followed();
    await replace();
    await chmod(join(directory, 'ca.key'), 0o644);
    await look(2);
    expect([signer(), lines]).toEqual(['first', [expect.stringMatching(/ is open to other users\./)]]);
    await chmod(join(directory, 'ca.key'), 0o600);
    await look();
    expect([signer(), lines.at(-1)]).toEqual([second, 'the CA was replaced']);
    // The key in use.
    await chmod(join(directory, 'ca.key'), 0o644);
    await look(2);
    expect(lines.slice(2)).toEqual([expect.stringMatching(/ is open to other users\./)]);
  },
);

test('missing files are reported once, and again after they were there', async () => {
  const { directory, lines, look, replace, signer } = await followed();
  for (const reports of [1, 3]) {
    for (const name of ['ca.crt', 'ca.key']) await rm(join(directory, name));
    await look(2);
    expect(lines).toHaveLength(reports);
    await replace();
    await look();
  }
  expect(lines.filter((line) => line === 'the CA was replaced')).toHaveLength(1);
  expect(signer()).not.toBe('first');
});

test('a slow read delays the next one, and ends without effect once following has stopped', async () => {
  const { vault, lines, advance, replace, signer, close, waiting } = await followed();
  const [started, slow] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let reads = 0;
  vault.refreshed = () => {
    reads += 1;
    started.resolve();
    return slow.promise;
  };
  await replace();
  await advance(1_000);
  await started.promise;
  await advance(5_000);
  expect([reads, waiting()]).toEqual([1, 0]);
  close();
  slow.resolve();
  await advance(5_000);
  expect([reads, signer(), lines, waiting()]).toEqual([1, 'first', [], 0]);
});
