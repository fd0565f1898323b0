import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { expiryOf, grantJson, scopesOf, stateNow } from './words.ts';

/** `sidekey grant list` */
export async function listGrants({ withView, output, now }: Context): Promise<void> {
  const grants = await withView((view) => view.grants());
  const at = now();
  const rows = grants.map((grant) => [
    grant.name,
    grant.provider,
    grant.user,
    stateNow(grant, at),
    scopesOf(grant),
    expiryOf(grant, at),
  ]);
  output.result(
    grants.map((grant) => grantJson(grant, at)),
    grants.length === 0
      ? 'There are no grants yet.'
      : table(['NAME', 'PROVIDER', 'USER', 'STATE', 'SCOPES', 'EXPIRES'], rows),
  );
  if (grants.length === 0) output.say('  → sidekey grant add NAME --provider PROVIDER < token.json');
}
