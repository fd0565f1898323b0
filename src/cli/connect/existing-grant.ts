import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import type { State } from '../../state.ts';
import { findExact } from '../grant/keep-grant.ts';
import { titleOf } from '../grant/words.ts';

/**
 * The grant that is connected again; null: there is none of that name yet.
 *
 * @throws SidekeyError `already_exists` where it is of another provider
 */
export async function existingGrant(
  { grants }: Pick<State, 'grants'>,
  wanted: Pick<Grant, 'name' | 'user' | 'provider'>,
): Promise<OpenedGrant | null> {
  const found = await findExact(grants, wanted);
  if (found === null) return null;
  const refusal = refuseOtherProvider(found, wanted.provider);
  if (refusal !== null) throw refusal;
  return grants.read(found.id);
}

/** A grant of one provider does not turn into one of another by a consent. */
export function refuseOtherProvider(existing: Grant, provider: string): SidekeyError | null {
  if (existing.provider === provider) return null;
  return new SidekeyError(
    'already_exists',
    `There is a grant ${titleOf(existing)} already, of the provider ${existing.provider}.`,
    { hint: 'call this one by another name: --name NAME' },
  );
}
