import { isNoted } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import type { ConnectRequest } from './flow.ts';

/**
 * Connects a grant: the audit file has it before anything is asked of the provider or of a person, and where it fails, why.
 *
 * @throws SidekeyError `audit_unavailable`; what `connect` throws
 */
export async function noting<T>(
  { state, provider, user }: Pick<ConnectRequest, 'state' | 'provider' | 'user'>,
  existing: OpenedGrant | null,
  connect: () => Promise<T>,
): Promise<T> {
  const event = { grant: existing?.grant.id, user, provider: provider.name } as const;
  await state.audit.append({ ...event, event: 'grant.connecting' });
  try {
    return await connect();
  } catch (error) {
    if (!isNoted(error)) {
      const code = error instanceof SidekeyError ? error.code : 'internal';
      state.audit.note({ ...event, event: 'grant.connected', outcome: 'failed', code });
    }
    throw error;
  }
}
