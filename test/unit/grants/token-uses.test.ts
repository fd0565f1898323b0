import { expect, test } from 'vitest';
import { tokenUseNotes } from '../../../src/grants/token-uses.ts';

test('the notes forget grants beyond 10,000, so that those of ended leases do not fill the memory', () => {
  const written: string[] = [];
  const note = async ({ grantId }: { readonly grantId: string }) => void written.push(grantId);
  const tokenUses = {
    note,
    list: async () => [],
    ofLeases: async () => [],
    retry: async () => {},
    remove: async () => {},
  };
  const onEvent = tokenUseNotes(
    { tokenUses },
    () => 1_000_000,
    () => ({ leases: { revokesTokens: true } }),
  );
  const use = (grant: string) => onEvent({ event: 'access', grant, credential: 'c' });
  for (let grant = 0; grant < 10_001; grant += 1) use(String(grant));
  use('10000');
  use('0');
  expect(written).toHaveLength(10_002);
  expect(written.at(-1)).toBe('0');
});
