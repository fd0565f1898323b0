/** Attempts of a confined command, in each mode that this machine supports. */
import { describe, expect, test } from 'vitest';
import type { Attempt } from '../support/confinement/attempt.ts';
import { attempts } from '../support/confinement/attempts.ts';
import { attack, makeWorld, type Mode, modes } from '../support/confinement/world.ts';

const isRefused = ({ passes }: Attempt, mode: Mode) => mode === 'both' || passes?.[mode] === undefined;
const succeedsUnconfined = ({ unconfined }: Attempt) =>
  unconfined === 'succeeds' || (unconfined === 'as root' && process.getuid?.() === 0);

describe.each(Object.keys(modes) as Mode[])('a command confined by %s', (mode) => {
  test.skipIf(modes[mode] === null)(
    'fails in every attempt, except those with a documented reason',
    async () => {
      const { results } = await attack(await makeWorld(), modes[mode]);
      expect(results['reach the proxy']).toBe('done');
      const tried = attempts.filter(({ harmless }) => mode === 'landlock' || harmless === undefined);
      const succeeded = tried.filter(({ name }) => results[name] === null);
      const expected = tried.filter((attempt) => !isRefused(attempt, mode));
      expect(succeeded.map(({ name }) => name)).toEqual(expected.map(({ name }) => name));
      expect(attempts.filter(({ name }) => results[name] === 'late')).toEqual([]);
    },
  );
});

test('the same attempts succeed without confinement', async () => {
  const { results } = await attack(await makeWorld(), null);
  const failed = attempts.filter((attempt) => succeedsUnconfined(attempt) && results[attempt.name] !== null);
  expect(failed.map(({ name }) => `${name}: ${results[name]}`)).toEqual([]);
});
