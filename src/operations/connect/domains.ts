import { allowDomain, type DomainEdit } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import type { Grant } from '../../domain/grant.ts';
import { indexGrants } from '../../domain/grant-index.ts';
import type { Provider } from '../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, type Remedy, remedy } from '../../lib/hint.ts';
import { shellWord } from '../../lib/text.ts';
import { type Domain, type DomainPattern, isWithin } from '../../proxy/policy/domain-map.ts';
import { hostPattern } from '../credential-entry.ts';
import { writeEntries } from '../domain-entries.ts';
import { describeAction } from '../dry-run-texts.ts';
import { referencesOf } from '../lookup.ts';
import type { Changing } from '../operation.ts';
import type { ConnectOptions } from './request.ts';

/** Audience of a credential, and entries for the allowed-domains map. */
export interface DomainPlan {
  /** The audience to seal. */
  readonly audience: readonly string[];
  /** Hosts that the user adds now, and that neither the provider nor the existing grant has. */
  readonly widened: readonly string[];
  /** Hosts that the provider has and the existing grant lacks. */
  readonly grown: readonly string[];
  /** Hosts of the existing grant that neither the provider nor the user names now. */
  readonly kept: readonly string[];
  /** Canonical entries for the map. */
  readonly entries: readonly string[];
  /** True if the user named the entries. They then replace existing ones. */
  readonly named: boolean;
}

type WantedEntries = Pick<DomainPlan, 'entries' | 'named'>;

/**
 * Plans the audience and the entries. Default: those of the provider, with the hosts added to the existing
 * grant.
 *
 * @param before audience of the existing grant; null: the grant is new
 * @throws SidekeyError `input_invalid`: a text is not a host, or a host is outside of the audience and
 * `--widen` is missing
 */
export function planDomains(
  { allowedDomains, widen, domains, keepsAudience }: ConnectOptions,
  provider: Pick<Provider, 'name' | 'audience' | 'domains'>,
  before: readonly string[] | null,
): DomainPlan {
  if (keepsAudience === true && before !== null)
    return { audience: before, widened: [], grown: [], kept: [], entries: [], named: false };
  if (allowedDomains !== undefined && domains === false) {
    throw inputInvalid('--allowed-domains and --no-domains do not go together.', 'leave one of them out');
  }
  if (widen === true && allowedDomains === undefined) {
    throw inputInvalid('--widen needs --allowed-domains.', 'name the hosts: --allowed-domains HOST --widen');
  }
  const named = allowedDomains
    ?.flatMap((text) => text.split(','))
    .filter((text) => text !== '')
    .map((text) => patternOf(text).text);
  const known = [...new Set([...provider.audience, ...(before ?? [])])];
  // To the provider's other domains, the client sends its own credential.
  const widened = beyond([...known, ...provider.domains], named ?? []);
  if (widened.length > 0 && widen !== true) {
    throw inputInvalid(
      `${widened.join(', ')} is beyond what the provider ${provider.name} names: ${provider.audience.join(', ')}.`,
      'if its credential is intended for these hosts, add --widen',
    );
  }
  return {
    audience: [...new Set([...known, ...widened])],
    widened,
    grown: before === null ? [] : beyond(before, provider.audience),
    kept: beyond([...provider.audience, ...(named ?? [])], before ?? []),
    entries: domains === false ? [] : [...new Set(named ?? provider.domains)],
    named: named !== undefined,
  };
}

/** Returns the hosts that are not within an audience. */
function beyond(audience: readonly string[], hosts: readonly string[]): readonly string[] {
  return hosts.filter((text) => !isWithin(audience, patternOf(text)));
}

/** Changes of the map. */
export interface DomainChanges {
  readonly edits: readonly DomainEdit[];
  /** Unchanged existing entries that block requests with the grant. */
  readonly blocked: readonly { readonly pattern: string; readonly says: string }[];
  /** Hosts that the user named and that another entry decided about, with the action that undoes the edit. */
  readonly moved: readonly { readonly sentence: string; readonly undo: Remedy }[];
  /** The grant or the provider that the new entries name. */
  readonly reference: string;
  /** Some other active grants of the provider; first those of its name. */
  readonly others: readonly Pick<Grant, 'name'>[];
}

/**
 * Writes all entries to the map of the config file, or none. An entry that the user did not name never
 * overrides a decision about its hosts. For a second account it names the provider: the grant of that name
 * stays the default, and a request can choose the other.
 *
 * @throws SidekeyError `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
async function allowDomains(
  { config: { file }, store, grants, audit, env }: Changing,
  grant: Grant,
  { entries, named }: WantedEntries,
): Promise<DomainChanges> {
  const others = [
    ...(await store.grants.find({ name: grant.provider, limit: 100 })),
    ...(await store.grants.matching({ provider: grant.provider, state: 'active' }, 2)),
  ].filter(({ id, provider, state }) => id !== grant.id && provider === grant.provider && state === 'active');
  const reference = named || others.length === 0 ? grant.name : grant.provider;
  if (entries.length === 0) return { edits: [], blocked: [], moved: [], reference, others };
  const previous = await readConfigText(file);
  const { domains } = await parseConfig(previous, file, { env });
  const edits: DomainEdit[] = [];
  const blocked: { pattern: string; says: string }[] = [];
  const moved: DomainChanges['moved'][number][] = [];
  let text = previous;
  for (const entry of entries) {
    const there = decidedBy(domains, patternOf(entry));
    if (named || there === undefined) {
      const edit = allowDomain(text, entry, reference);
      if (edit.change === 'unchanged') continue;
      ({ text } = edit);
      edits.push(edit);
      if (there !== undefined && (edit.change === 'replaced' || !uses(there, reference)))
        moved.push(moveOf(there, entry, reference));
    } else if (!(await isOffered(grant, there, grants))) {
      const by = there.pattern.text === entry ? '' : ` (by ${there.pattern.text})`;
      const verb = there.action.kind === 'grant' ? 'already uses the' : 'is already set to';
      blocked.push({ pattern: entry, says: `${verb} ${describeAction(there)}${by}` });
    }
  }
  if (edits.length > 0) await writeEntries({ file, previous, text, env, audit }, edits, `grant ${reference}`);
  return { edits, blocked, moved, reference, others };
}

/**
 * Writes entries as `allowDomains` does. Warns of hosts that other entries decide about, and of a failure,
 * which leaves the map unchanged.
 */
export async function allowOrWarn(
  state: Changing,
  grant: Grant,
  wanted: WantedEntries,
  warn: (sentence: string, hint: Hint) => void,
): Promise<Omit<DomainChanges, 'blocked' | 'moved'>> {
  const { name } = grant;
  const changes = await allowDomains(state, grant, wanted).catch((error: unknown): DomainChanges => {
    if (!(error instanceof SidekeyError)) throw error;
    const [first = 'HOST'] = wanted.entries;
    warn(`The allowed-domains map is as it was: ${error.message}`, allowCommand(first, name));
    return { edits: [], blocked: [], moved: [], reference: name, others: [] };
  });
  const { blocked, moved, ...changed } = changes;
  for (const { sentence, undo } of moved) warn(sentence, hintOf`if that is not meant: ${undo}`);
  for (const { pattern, says } of blocked)
    warn(`${pattern} ${says}; not changed.`, allowCommand(pattern, name));
  return changed;
}

/** Reports whether an entry offers a grant, which depends only on the grants of its user. */
async function isOffered(
  grant: Grant,
  domain: Domain,
  grants: Pick<Changing['grants'], 'find'>,
): Promise<boolean> {
  for (const reference of referencesOf(domain)) {
    const some = await grants.find(reference, { users: [grant.user], ids: [] });
    if (indexGrants(some).isOffered(grant, reference)) return true;
  }
  return false;
}

function uses({ action }: Domain, grant: string): boolean {
  return action.kind === 'grant' && action.grant === grant;
}

/** Describes an edit that takes hosts from an existing entry: the same one, or a wider one that stays. */
function moveOf(there: Domain, entry: string, reference: string): DomainChanges['moved'][number] {
  const { action, pattern } = there;
  const by = pattern.text === entry ? '' : ` (by ${pattern.text})`;
  const verb = { grant: 'used the', tunnel: 'was set to', deny: 'was' }[action.kind];
  return {
    sentence: `${entry} ${verb} ${describeAction(there)}${by}, and now uses the grant ${reference}.`,
    undo: pattern.text === entry ? entryRemedy(there) : remedy('domain.remove', { host: entry }),
  };
}

/** Returns the action that writes an entry. */
function entryRemedy({ action, as, pattern: { text: host } }: Domain): Remedy {
  if (action.kind !== 'grant') return remedy(`domain.${action.kind}`, { host });
  const { grant, allowPlainHttp } = action;
  const more = { allow_plain_http: allowPlainHttp || undefined, eks_cluster: as?.cluster };
  return remedy('domain.allow', { host, grant, ...more });
}

/** Returns the narrowest existing entry that covers the hosts of a pattern. */
export function decidedBy(domains: readonly Domain[], wanted: DomainPattern): Domain | undefined {
  return domains
    .filter(({ pattern }) => pattern.text === wanted.text || isWithin([pattern.text], wanted))
    .toSorted(
      ({ pattern: a }, { pattern: b }) =>
        Number(a.wildcard) - Number(b.wildcard) || b.text.length - a.text.length,
    )
    .at(0);
}

function patternOf(text: string): DomainPattern {
  return hostPattern('--allowed-domains', text);
}

/** Returns the command that adds an entry to the map. */
export function allowCommand(pattern: string, grant: string): string {
  return `sidekey domain allow ${shellWord(pattern)} --grant ${grant}`;
}
