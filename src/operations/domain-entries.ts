import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { type DomainEdit, removeDomain, writeConfigAtomically } from '../config/edit.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import type { Changing } from './operation.ts';

interface Written extends Pick<Changing, 'audit' | 'env'> {
  readonly file: string;
  readonly previous: string;
  readonly text: string;
}

/**
 * Writes several changes of the allowed-domains map, all or none. The text must load. Records each entry in
 * the audit log first. Returns the new config.
 *
 * @throws SidekeyError `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
export async function writeEntries(
  { file, previous, text, env, audit }: Written,
  edits: readonly DomainEdit[],
  reason: string,
): Promise<Config> {
  const config = await parseConfig(text, file, { env });
  await edits.reduceRight<() => Promise<void>>(
    (next, { pattern }) =>
      () =>
        recordChange(audit, { event: 'domain.changed', host: pattern, reason }, next),
    () => writeConfigAtomically(file, text, { env, previous }),
  )();
  return config;
}

/** Removes entries from the map of the config file, all or none. @throws as `writeEntries` */
export async function dropDomains(
  { config: { file }, audit, env }: Pick<Changing, 'config' | 'audit' | 'env'>,
  patterns: readonly string[],
): Promise<void> {
  const previous = await readConfigText(file);
  let text = previous;
  const edits = patterns.map((pattern) => {
    const edit = removeDomain(text, pattern);
    ({ text } = edit);
    return edit;
  });
  await writeEntries({ file, previous, text, env, audit }, edits, 'removed');
}
