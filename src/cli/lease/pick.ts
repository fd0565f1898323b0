import { SidekeyError } from '../../errors.ts';
import type { Lease } from '../../grants/lease.ts';

/** As much of an id as names a lease at the least. */
const shortest = 4;

/**
 * The lease of this id, or of an id that begins so.
 * @throws SidekeyError `not_found`, `input_invalid` where several do
 */
export function pickLease<L extends Lease>(leases: readonly L[], id: string): L {
  const isPart = /^[0-9a-f-]+$/.test(id) && id.length >= shortest;
  const found = isPart ? leases.filter((lease) => lease.id.startsWith(id)) : [];
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  if (more.length > 0) {
    throw new SidekeyError('input_invalid', `Several leases have an id that begins with ${id}.`, {
      hint: 'write more of it: sidekey lease list --all --json',
    });
  }
  // What is no id may be a token in the wrong place.
  throw new SidekeyError('not_found', `There is no lease ${isPart ? id : 'of that id'}.`, {
    hint: 'sidekey lease list --all',
  });
}
