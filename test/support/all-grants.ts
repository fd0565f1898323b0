import type { Grant } from '../../src/domain/grant.ts';
import type { Registry } from '../../src/grants/registry.ts';

/** Returns all grants, ordered by name, then user. */
export async function allGrants(registry: Pick<Registry, 'pages'>): Promise<readonly Grant[]> {
  const grants: Grant[] = [];
  for await (const page of registry.pages()) grants.push(...page);
  return grants;
}
