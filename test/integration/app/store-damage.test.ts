import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { enlarge, garble } from '../../support/large-store.ts';

describe('a damaged page in the file of a store that is too large to be read whole at the start', () => {
  test.each([1, 2])('ends a proxy with %i processes, and no later command uses the file', async (workers) => {
    const at = await home({ workers });
    await at.grant('work', { type: 'api_key', value: 'key-0123456789' });
    const file = at.at('data', 'sidekey.db');
    await enlarge(file, Date.now);
    const sound = await at.start();
    expect(await sound.stop()).toMatchObject({ exit: 0 });
    await garble(file);
    const { ended } = await at.start();
    const { exit, stderr } = await ended;
    expect(exit).toBe(1);
    expect(stderr).toContain('sidekey.db is damaged: its pages do not fit together');
    expect(await at.run(['grant', 'list'])).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining('is damaged') as string,
    });
  });
});
