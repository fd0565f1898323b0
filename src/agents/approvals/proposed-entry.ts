import type { AuditLog } from '../../domain/event.ts';
import { recordChange } from '../../audit/log.ts';
import { allowDomain, setDomain, writeConfigAtomically } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { unifiedDiff } from '../../lib/diff.ts';
import { createDomainMap } from '../../proxy/policy/domain-map.ts';
import type { ProposedChange } from '../../domain/proposal.ts';
import { assertUnlisted } from './proposals.ts';

/** The entry of the config file that a permanent approval adds. */

type ProposedDomainChange = Extract<ProposedChange, { readonly kind: 'domain' }>;

/** An edit of the config file that was not written yet. */
export type ProposedEntry = Awaited<ReturnType<typeof proposedEntry>>;

/**
 * Prepares the entry of a proposed domain; the new text is valid.
 *
 * @param file absolute path of the config file
 * @throws SidekeyError `domain_not_allowed` or `already_exists` if the map now has the host; `config_invalid`
 */
export async function proposedEntry(change: ProposedDomainChange, file: string, env: NodeJS.ProcessEnv) {
  const previous = await readConfigText(file);
  const { domains, proxy } = await parseConfig(previous, file, { env });
  assertUnlisted({ domains: createDomainMap(domains), unmatched: proxy.unmatchedHosts }, change);
  const { host, grant } = change;
  const edit = grant === null ? setDomain(previous, host, 'tunnel') : allowDomain(previous, host, grant);
  const config = await parseConfig(edit.text, file, { env });
  const summary = grant === null ? 'tunnel' : `grant ${grant}`;
  return {
    edit,
    /** The config after the edit. */
    config,
    /** The edit as a unified diff. */
    diff: unifiedDiff(previous, edit.text, displayName(file)),
    /** Content of the entry, for the audit. */
    summary,
    /**
     * Writes the file, audited first.
     * @throws SidekeyError as `writeConfigAtomically`; `audit_unavailable`
     */
    write: (audit: Pick<AuditLog, 'append' | 'note'>) =>
      recordChange(audit, { event: 'domain.changed', host: edit.pattern, reason: summary }, () =>
        writeConfigAtomically(file, edit.text, { env, previous }),
      ),
  };
}
