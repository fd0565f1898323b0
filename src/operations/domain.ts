import { z } from 'zod';
import type { Config } from '../config/config.ts';
import {
  allowDomain,
  type DomainEdit,
  putDomain,
  readDomain,
  removeDomain,
  setDomain,
} from '../config/edit.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import { displayName } from '../config/problem.ts';
import type { EntryMap } from '../config/yaml-splice.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { optional } from '../lib/text.ts';
import { type Domain, type DomainPattern, isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { domainAnswer, domainShape } from './domain-answer.ts';
import { decidedBy } from './connect/domains.ts';
import { writeEntries } from './domain-entries.ts';
import { content } from './config.ts';
import { type AudienceWarning, audienceWarnings } from './audience-warnings.ts';
import { findOffers } from './find.ts';
import { named, text } from './members.ts';
import { changing, type Changing, reading } from './operation.ts';

/** The allowed-domains map: the hosts that may be reached, and their grants. */

export const listDomains = reading({
  id: 'domain.list',
  summary: 'List the allowed-domains map, with its rules.',
  scope: 'access:read',
  input: z.strictObject({}),
  output: z.array(domainShape),
  run: async ({ config, store }) => ({ config, grants: await findOffers(store, config.domains) }),
  answer: ({ config, grants }, at) => config.domains.map((domain) => domainAnswer(domain, grants, at)),
});

export const getDomain = reading({
  id: 'domain.get',
  summary: 'Show the entry that covers a host, as an array of one.',
  scope: 'access:read',
  input: z.strictObject({ host: text }),
  output: z.array(domainShape),
  check: ({ host }) => void patternOf(host),
  async run({ config, store }, { host }) {
    const domain = domainOf(patternOf(host), config.domains);
    return { domain, grants: await findOffers(store, [domain]) };
  },
  answer: ({ domain, grants }, at) => [domainAnswer(domain, grants, at)],
});

/** @throws SidekeyError `input_invalid` */
function patternOf(host: string): DomainPattern {
  const pattern = parsePattern(host);
  if (isPattern(pattern)) return pattern;
  throw inputInvalid(`The host ${pattern.problem}.`, remedy('domain.find', { host: 'api.example.com' }));
}

/** Returns the entry itself, or the one that covers a host. @throws SidekeyError `not_found` */
function domainOf(wanted: DomainPattern, domains: readonly Domain[]): Domain {
  const covering = decidedBy(domains, wanted);
  if (covering !== undefined) return covering;
  throw new SidekeyError('not_found', `No entry of the map covers ${wanted.text}.`, {
    hint: remedy('domain.list'),
  });
}

export const previewDomain = reading({
  id: 'domain.preview',
  summary: 'Return the text of the config file after a change of the map; write nothing.',
  scope: 'config:read',
  input: z.strictObject({
    text: content.describe('Text of the config file.'),
    host: text,
    action: z.enum(['grant', 'tunnel', 'deny', 'remove', 'read']).describe('`read` changes nothing.'),
    grant: text.optional(),
    entry: optional(z.record(z.string(), z.unknown()), 'For `grant`: the whole entry (docs/rules.md).'),
  }),
  output: z.strictObject({
    text: z.string(),
    change: z.string(),
    entry: z.unknown().describe('The entry after the change; null: none.'),
    rules: z.array(z.string()).describe('Its rules as written, if they are a list in block style.'),
  }),
  async run(_parts, { text: before, host, action, grant = '', entry }) {
    const edits = {
      // A body is JSON.
      grant: () => (entry ? putDomain(before, host, entry as EntryMap) : allowDomain(before, host, grant)),
      tunnel: () => setDomain(before, host, 'tunnel'),
      deny: () => setDomain(before, host, 'deny'),
      remove: () => removeDomain(before, host),
      read: () => ({ text: before, change: 'unchanged' }),
    };
    const { change, text: after } = edits[action]();
    return { text: after, change, ...readDomain(after, host) };
  },
  answer: (edited) => edited,
});

const changedDomain = named('ChangedDomain', {
  domain: z.string(),
  change: z.enum(['added', 'replaced', 'removed', 'unchanged']),
  says: z.string(),
  config: z.string(),
  warnings: z.array(z.string()),
});

/** A change of the map that was written. */
export interface DomainChange {
  readonly change: z.input<typeof changedDomain>['change'];
  readonly pattern: string;
  /** Content of the entry after the edit. */
  readonly summary: string;
  /** Absolute path of the config file. */
  readonly file: string;
  readonly warnings: readonly AudienceWarning[];
}

const shared = {
  scope: 'config:write',
  output: changedDomain,
  answer: ({ change, pattern, summary, file, warnings }: DomainChange) => ({
    domain: pattern,
    change,
    says: summary,
    config: file,
    warnings: warnings.map(({ sentence }) => sentence),
  }),
} as const;

export const allowHost = changing({
  ...shared,
  id: 'domain.allow',
  summary: 'Add the credential of a grant to requests for a host.',
  input: z.strictObject({
    host: text,
    grant: text,
    allow_plain_http: z.boolean().optional(),
    eks_cluster: text.optional().describe('Name of the EKS cluster whose endpoint the host is.'),
  }),
  check: ({ host, grant }) => void allowDomain(anyConfig, host, grant),
  run: (parts, { host, grant, ...more }) =>
    changeMap(parts, {
      edit: (before) => allowDomain(before, host, grant, more),
      summary: `grant ${grant}${more.eks_cluster ? `, EKS cluster ${more.eks_cluster}` : ''}${more.allow_plain_http ? ', also over plain http' : ''}`,
      warnings: (config) => audienceWarnings(parts, config, host, grant),
    }),
});

export const tunnelHost = changing({
  ...shared,
  id: 'domain.tunnel',
  summary: 'Forward connections to a host unchanged, without a credential.',
  ...hostChange((before, host) => setDomain(before, host, 'tunnel'), 'tunnel'),
});

export const denyHost = changing({
  ...shared,
  id: 'domain.deny',
  summary: 'Refuse a host, also where a wider entry would allow it.',
  ...hostChange((before, host) => setDomain(before, host, 'deny'), 'deny'),
});

export const removeHost = changing({
  ...shared,
  id: 'domain.remove',
  summary: 'Remove an entry of the map from the config file.',
  ...hostChange(removeDomain, 'removed'),
  checkConfig: async ({ host }, { file }) =>
    void editOf(file, await readConfigText(file).catch(() => anyConfig), (before) =>
      removeDomain(before, host),
    ),
});

/** Returns the members of an operation that needs only a host. */
function hostChange(edit: (before: string, host: string) => DomainEdit, summary: string) {
  return {
    input: z.strictObject({ host: text }),
    check: ({ host }: { readonly host: string }) => void edit(anyConfig, host),
    run: (parts: Changing, { host }: { readonly host: string }) =>
      changeMap(parts, { edit: (before) => edit(before, host), summary }),
  };
}

/** Text of a config file, to refuse hosts and names that no file can have. */
const anyConfig = 'version: 1\n';

interface Wanted {
  readonly edit: (before: string) => DomainEdit;
  /** Content of the entry after the edit, for the audit log and for people. */
  readonly summary: string;
  /** Returns warnings for a person. */
  readonly warnings?: (config: Config) => Promise<readonly AudienceWarning[]>;
}

/** Edits the text of the file, to keep comments and order. The new text must load before it is written. */
async function changeMap(
  { config: { file }, audit, env }: Changing,
  { edit, summary, warnings }: Wanted,
): Promise<DomainChange> {
  const previous = await readConfigText(file);
  const before = await parseConfig(previous, file, { env });
  const edited = editOf(file, previous, edit);
  const { change, pattern, text: after } = edited;
  const config =
    change === 'unchanged'
      ? before
      : await writeEntries({ file, previous, text: after, env, audit }, [edited], summary);
  return { change, pattern, summary, file, warnings: (await warnings?.(config)) ?? [] };
}

/** @throws SidekeyError `not_found` for the removal of an entry that does not exist */
function editOf(file: string, before: string, edit: Wanted['edit']) {
  const { change, ...edited } = edit(before);
  if (change !== 'absent') return { change, ...edited };
  throw new SidekeyError('not_found', `${edited.pattern} is not in the map of ${displayName(file)}.`, {
    hint: remedy('domain.list'),
  });
}
