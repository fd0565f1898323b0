import type { AuditLine } from '../../audit/event.ts';
import { tailAudit } from '../../audit/query.ts';
import type { Grant } from '../../grants/grant.ts';

/** What the audit file says of an exchange, for whoever made it. */
export interface Recorded {
  /** What joins its events. */
  readonly exchange: string;
  /** Whose credential went along; null: none did. */
  readonly grant: Pick<Grant, 'name' | 'user' | 'provider'> | null;
  readonly agent: string | null;
  readonly lease: string | null;
  /** The question to a person that stands behind it; null: nobody was asked. */
  readonly approval: string | null;
}

/** So far back it is looked for: other processes write into the same file. */
const mostLines = 2_000;

/**
 * The exchange that was let through last for a client; null: the file says nothing of one.
 *
 * @param client its address and port, which are its own for as long as its connection lasts
 */
export async function recordedBy(
  client: string,
  { file, grants }: { readonly file: string; readonly grants: readonly Grant[] },
): Promise<Recorded | null> {
  let found: AuditLine | null = null;
  for await (const line of tailAudit({ file, lines: mostLines })) {
    if (line.client === client && line.event === 'access') found = line;
  }
  if (found === null) return null;
  const { exchange = '', agent = null, lease = null, approval = null } = found;
  const grant = grants.find(({ id }) => id === found?.grant) ?? null;
  return {
    exchange,
    grant: grant === null ? null : { name: grant.name, user: grant.user, provider: grant.provider },
    agent,
    lease,
    approval,
  };
}
