import type { Config } from '../../config/config.ts';
import type { Grant } from '../../grants/grant.ts';
import { openView } from '../../view.ts';
import { titleOf } from '../grant/words.ts';

/**
 * The grants, to say which one an id is. Best effort: the audit can be read where the store cannot, and by people who
 * are not let near it.
 */
export async function readGrants(config: Config, now: () => number): Promise<readonly Grant[]> {
  try {
    const view = await openView(config, { now });
    try {
      return await view.grants();
    } finally {
      await view.close();
    }
  } catch {
    return [];
  }
}

/** What people call the grant of an id; the beginning of the id where it is gone. */
export function grantNames(grants: readonly Grant[]): (id: string) => string {
  const names = new Map(grants.map((grant) => [grant.id, titleOf(grant)]));
  return (id) => names.get(id) ?? `${id.slice(0, 8)}…`;
}
