import { randomUUID } from 'node:crypto';
import type { Lease } from '../../domain/lease.ts';
import type { State } from '../../app/state.ts';
import { readEntries } from '../../grants/credential-input.ts';
import { keepGrant } from '../../grants/keep.ts';
import { removeGrantsOfEndedLeases } from '../../grants/lease-grants.ts';
import type { Context } from '../context.ts';
import { alreadyThere, prepare, type Prepared } from '../grant/import.ts';
import { readSecretFile } from '../terminal.ts';

/** A credential that only one lease may use. */
export interface OwnCredential extends Prepared {
  /** Id of its grant. */
  readonly id: string;
}

/**
 * Reads credentials of a lease's own. They are not verified: a session begins at once.
 *
 * @param file `-`: standard input; absent: there are none
 * @throws SidekeyError `input_invalid`, `provider_unknown`
 */
export async function readOwnCredentials(
  context: Context,
  leaseId: string,
  file: string | undefined,
): Promise<readonly OwnCredential[]> {
  if (file === undefined) return [];
  const { providers } = await context.readConfig();
  const text =
    file === '-' ? await context.readInput() : await readSecretFile('--credentials', file, context.output);
  return readEntries(text, { now: context.now }).map((entry, index) => {
    const provider = entry.provider ?? entry.name;
    const name = entry.name ?? `${provider}-${leaseId.slice(0, 8)}${index === 0 ? '' : `-${index + 1}`}`;
    return { ...prepare({ ...entry, provider }, name, {}, providers), id: randomUUID() };
  });
}

/**
 * Stores the credentials of a new lease. If one cannot be stored, the lease is revoked, and none remains.
 *
 * @throws SidekeyError `already_exists` for a name that is taken
 */
export async function storeOwnCredentials(
  state: State,
  lease: Pick<Lease, 'id'>,
  own: readonly OwnCredential[],
  at: number,
): Promise<void> {
  try {
    for (const { id, wanted, credential, audience } of own) {
      await keepGrant(
        state,
        { ...wanted, lease: lease.id },
        { credential, audience },
        {
          event: 'grant.added',
          reason: `for the lease ${lease.id}`,
          keepsOut: (existing) => alreadyThere(existing, wanted),
          now: () => at,
          newId: id,
        },
      );
    }
  } catch (error) {
    await state.store.leases.revoke({ id: lease.id }, at);
    throw error;
  } finally {
    await removeGrantsOfEndedLeases(state, at);
  }
}
