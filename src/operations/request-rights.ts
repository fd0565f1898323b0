import { recordChange } from '../audit/log.ts';
import { tailAudit } from '../audit/query.ts';
import type { Config } from '../config/config.ts';
import type { AuditLine } from '../domain/event.ts';
import type { Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { makeLease } from './make-lease.ts';
import type { Opened } from './operation.ts';

/** Rights of one request of an agent, and what the audit log says of it. */

const purpose = 'sidekey fetch';

/**
 * Creates a lease for one command, for all grants that an agent reaches. Uses the default lifetime, in case
 * the command cannot revoke it.
 *
 * @throws as `makeLease`
 */
export async function leaseForRequest(opened: Opened, agent: string, now: () => number) {
  const { audit, store } = opened;
  const order = { agent, grants: null, purpose, ttlMs: null, idleMs: null, maxUses: null };
  const { lease, secret } = await makeLease(opened, order, now());
  const event = { event: 'lease.revoked', agent, lease: lease.id, reason: purpose } as const;
  return {
    /** `name:token`, for `Proxy-Authorization`. */
    secret: `${agent}:${secret}`,
    async revoke(): Promise<void> {
      await recordChange(audit, event, () => store.leases.revoke({ id: lease.id }, now()));
    },
  };
}

/** @throws SidekeyError `agent_auth_required` */
export function assertMayAsk({ proxy }: Config, agent: string | null): void {
  if (agent !== null || proxy.authentication !== 'required') return;
  throw new SidekeyError('agent_auth_required', 'This config requires an agent.', {
    hint: remedy('fetch', { url: null, agent: null }),
  });
}

/** Audit record of an exchange. */
export interface Recorded {
  /** ID shared by all events of the exchange. */
  readonly exchange: string;
  /** Grant of the credential; null: no credential was added. */
  readonly grant: Pick<Grant, 'name' | 'user' | 'provider'> | null;
  readonly agent: string | null;
  readonly lease: string | null;
  /** The approval of the exchange; null: none was needed. */
  readonly approval: string | null;
}

/** Lines to search, because other processes write to the same file. */
const maxLines = 2_000;

/**
 * Returns the last allowed exchange of a client; null: none in the log.
 *
 * @param client its address and port, unique during its connection
 */
export async function recordedBy(
  client: string,
  { config: { audit }, store }: Pick<Opened, 'config' | 'store'>,
): Promise<Recorded | null> {
  let access: AuditLine | null = null;
  for await (const line of tailAudit({ file: audit.file, lines: maxLines })) {
    if (line.client === client && line.event === 'access') access = line;
  }
  if (access === null) return null;
  const { exchange = '', agent = null, lease = null, approval = null, grant: grantId } = access;
  const grant = grantId == null ? null : await store.grants.get(grantId);
  return {
    exchange,
    grant: grant === null ? null : { name: grant.name, user: grant.user, provider: grant.provider },
    agent,
    lease,
    approval,
  };
}
