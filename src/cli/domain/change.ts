import { audited } from '../../audit/audited.ts';
import type { Config } from '../../config/config.ts';
import { allowDomain, removeDomain, setDomain, type DomainEdit } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { writeConfigAtomically } from '../../config/write-config.ts';
import { SidekeyError } from '../../errors.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { isPattern, parsePattern } from '../../policy/pattern.ts';
import type { State } from '../../state.ts';
import type { Context } from '../context.ts';
import { isWithin } from '../../policy/audience.ts';
import { standingFor } from '../grant/offered.ts';
import { titleOf } from '../grant/words.ts';

/** `sidekey domain allow` */
export async function allow(
  context: Context,
  host: string,
  { grant, insecure = false }: { readonly grant: string; readonly insecure?: boolean },
): Promise<void> {
  await change(context, {
    edit: (text) => allowDomain(text, host, grant, { insecure }),
    summary: `grant ${grant}${insecure ? ', also over plain http' : ''}`,
    warnings: (state, config) => warningsFor(state, config, host, grant),
  });
  if (insecure) {
    context.output.say('Note: over plain http everybody on the way can read the credential.');
  }
}

/** `sidekey domain tunnel` */
export async function tunnel(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => setDomain(text, host, 'tunnel'), summary: 'tunnel' });
}

/** `sidekey domain deny` */
export async function deny(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => setDomain(text, host, 'deny'), summary: 'deny' });
}

/** `sidekey domain remove` */
export async function remove(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => removeDomain(text, host), summary: 'removed' });
}

interface Change {
  readonly edit: (text: string) => DomainEdit;
  /** What the entry says then: for the audit and for people. */
  readonly summary: string;
  /** What a person should know of it. */
  readonly warnings?: (state: State, config: Config) => Promise<readonly Warning[]>;
}

interface Warning {
  readonly sentence: string;
  readonly hint: string;
}

/** Edits the text of the file, so that comments and order stay; the new text must load before anything is written. */
async function change({ env, output, ...context }: Context, wanted: Change): Promise<void> {
  const file = await context.configFile();
  const previous = await readConfigText(file);
  await parseConfig(previous, file, { env });
  const edited = wanted.edit(previous);
  const name = displayName(file, process.cwd());
  if (edited.change === 'absent') {
    throw new SidekeyError('not_found', `${edited.pattern} is not in the map of ${name}.`, {
      hint: 'sidekey domain list',
    });
  }
  const config = await parseConfig(edited.text, file, { env });
  const warnings = await context.withState(async (state) => {
    if (edited.change !== 'unchanged') {
      const event = { event: 'domain.changed', host: edited.pattern, reason: wanted.summary } as const;
      await audited(state.audit, event, () => writeConfigAtomically(file, edited.text, { env, previous }));
    }
    return (await wanted.warnings?.(state, config)) ?? [];
  });
  output.result(
    {
      domain: edited.pattern,
      change: edited.change,
      says: wanted.summary,
      config: file,
      warnings: warnings.map(({ sentence }) => sentence),
    },
    sentenceFor(edited, wanted.summary, name),
  );
  for (const { sentence, hint } of warnings) output.say(`Note: ${sentence}\n  → ${hint}`);
}

function sentenceFor({ change, pattern }: DomainEdit, summary: string, file: string): string {
  switch (change) {
    case 'added':
      return `Added ${pattern} to ${file}: ${summary}.`;
    case 'replaced':
      return `Changed ${pattern} in ${file}: ${summary}.`;
    case 'removed':
      return `Removed ${pattern} from ${file}.`;
    case 'unchanged':
    case 'absent':
      return `${pattern} is in ${file} like that already: ${summary}.`;
  }
}

async function warningsFor(
  { grants }: State,
  { providers }: Config,
  host: string,
  reference: string,
): Promise<readonly Warning[]> {
  const pattern = parsePattern(host);
  const offered = standingFor(reference, await grants.list());
  if (offered.length === 0) {
    return [
      {
        sentence: `There is no grant ${reference} yet: requests to ${host} are refused until there is one.`,
        hint: `sidekey connect PROVIDER --name ${reference}`,
      },
    ];
  }
  const warnings: Warning[] = [];
  for (const grant of offered) {
    const opened = await grants.read(grant.id);
    if (opened === null || !isPattern(pattern)) continue;
    const places = providers.get(grant.provider)?.inject ?? [];
    // There it is not sent at all.
    const own = places.flatMap(({ hosts, as }) => (as.kind === 'own' ? (hosts ?? []) : []));
    if (isWithin([...opened.sealed.audience, ...own], pattern)) continue;
    warnings.push({
      sentence: `The credential of ${titleOf(grant)} may be sent to ${opened.sealed.audience.join(', ')} alone; what goes elsewhere is refused (policy_violation).`,
      hint: replaceCommand(grant, [...opened.sealed.audience, pattern.text]),
    });
  }
  return warnings;
}
