import type { Grant } from '../../src/domain/grant.ts';
import { grantOf } from '../../src/store/grants.ts';
import type { Store } from '../../src/store/store.ts';

/** Returns all grants, ordered by name, then user. */
export async function allGrants({ grants }: Pick<Store, 'grants'>): Promise<readonly Grant[]> {
  return (await grants.find({})).map(grantOf);
}
