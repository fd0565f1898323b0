import { type Context, withUpstreamClient } from '../context.ts';
import { askUpstreams, lookAtClock, lookAtPermissions, upstreamsFound, withProbeFixture } from './checks.ts';
import { probeClients, type Probed } from './probe.ts';
import { columns, type Display, wrapMessage } from '../display.ts';
import { broken, type Finding, type Need } from '../../operations/finding.ts';
import { findAll } from '../status/status.ts';
import { clients } from '../../clients/programs.ts';
import type { Config } from '../../config/config.ts';
import { exitCode } from '../../lib/failures.ts';
import { caughtFailure, SidekeyError } from '../../lib/errors.ts';
import { didYouMean, orMeant } from '../../lib/text.ts';

export interface DoctorOptions {
  readonly only?: readonly string[];
  readonly offline?: boolean;
}

/** `sidekey doctor`: exit code 1 if there are problems. */
export async function doctor(context: Context, options: DoctorOptions): Promise<number> {
  const { output } = context;
  const only = options.only === undefined ? null : knownClients(options.only);
  const config = await context.readConfig().catch(() => null);
  const what = only === null ? 'Checking the setup and the installed programs' : 'Testing the programs';
  const [findings, { probed, notes: ofFiles }] = await output.during(what, () =>
    Promise.all([only === null ? checkSetup(context, options) : [], probe(context, config, only)]),
  );
  const notes: Need[] = [
    ...ofFiles.map((sentence) => ({ sentence, hint: null })),
    ...probed.flatMap((each) => noteOn(each) ?? []),
  ];
  const needs = [
    ...findings.flatMap(({ name, needs: each }) =>
      each.map((need) => ({ about: name.toLowerCase(), ...need })),
    ),
    ...probed.flatMap((each) => {
      const need = adviceFor(each);
      return need === null ? [] : [{ about: each.client.name, ...need }];
    }),
  ];
  const ok = needs.length === 0;
  output.result(
    {
      ok,
      checks: Object.fromEntries(
        findings.map(({ name, ok: isOk, facts }) => [name.toLowerCase(), { ok: isOk, ...facts }]),
      ),
      clients: probed.map(({ client, library, verdict, said }) => ({
        name: client.name,
        library,
        verdict: verdict ?? 'absent',
        said,
      })),
      notes,
      needs,
    },
    describe(output.display, findings, probed, { notes, needs }),
  );
  return ok ? exitCode.ok : exitCode.failure;
}

/** Checks the setup. A stopped proxy is no problem, because `run` starts its own. */
async function checkSetup(context: Context, { offline }: DoctorOptions): Promise<readonly Finding[]> {
  const { env, now } = context;
  const found = (await findAll(context)).map(silentIsFine);
  let config: Config;
  try {
    config = await context.readConfig();
  } catch {
    // The findings include the config's problems.
    return found;
  }
  const ask = async () => {
    // The findings report unreadable grants.
    const grants = await context.withView((view) => view.grants()).catch(() => []);
    return withUpstreamClient(config, env, (upstream) => askUpstreams(config, grants, upstream, now));
  };
  const answers = offline === true ? [] : await ask().catch(caughtFailure);
  return [
    ...found,
    await lookAtPermissions(config),
    ...(answers instanceof SidekeyError
      ? [broken('upstreams', answers)]
      : [await lookAtClock(config, answers, now()), ...(offline === true ? [] : [upstreamsFound(answers)])]),
  ];
}

function silentIsFine(found: Finding): Finding {
  return found.name === 'proxy' && found.facts['health'] === 'silent'
    ? { ...found, ok: true, text: `${found.text}; "sidekey run" starts its own`, needs: [] }
    : found;
}

async function probe(
  context: Context,
  config: Config | null,
  only: ReadonlySet<string> | null,
): Promise<{ readonly probed: readonly Probed[]; readonly notes: readonly string[] }> {
  return withProbeFixture(context, config ?? { proxy: defaults }, async (fixture) => ({
    probed: await probeClients(fixture, only),
    notes: fixture.notes,
  }));
}

const defaults: Config['proxy'] = {
  listen: { host: '127.0.0.1', port: 0 },
  authentication: 'optional',
  localCallers: 'same_user',
  unmatchedHosts: 'deny',
  transparent: null,
  tls: null,
  balancers: [],
};

/** @throws SidekeyError `input_invalid` */
function knownClients(names: readonly string[]): ReadonlySet<string> {
  const unknown = names.find((name) => !clients.some((client) => client.name === name));
  if (unknown === undefined) return new Set(names);
  const known = clients.map(({ name }) => name);
  throw new SidekeyError('input_invalid', `There is no client ${unknown}${orMeant(unknown, known)}`, {
    hint: didYouMean(unknown, known) === null ? `one of ${known.join(', ')}` : 'sidekey doctor --only NAME',
  });
}

function describe(
  display: Display,
  findings: readonly Finding[],
  probed: readonly Probed[],
  { notes, needs }: Readonly<Record<'notes' | 'needs', readonly Need[]>>,
): string {
  const installed = probed.filter(({ verdict }) => verdict !== null);
  const absent = [
    ...new Set(
      probed.filter(({ verdict }) => verdict === null).map(({ client, library }) => library ?? client.name),
    ),
  ];
  return [
    ...columns(
      display,
      findings.map(({ name, ok, text, facts }) => [
        facts['health'] === 'silent' ? '-' : ok ? '✓' : '✗',
        name,
        text,
      ]),
    ),
    ...(findings.length === 0 ? [] : ['']),
    ...columns(
      display,
      installed.map((each) => [
        each.verdict === 'works' ? '✓' : noteOn(each) === null ? '✗' : '-',
        titleOf(each),
        words[each.verdict ?? 'failed'],
      ]),
    ),
    ...(absent.length === 0 ? [] : [`not installed: ${absent.join(', ')}`]),
    '',
    ...notes.flatMap((note) => needLines('-', note, display)),
    ...needs.flatMap((need) => needLines(display.paint('red', '✗'), need, display)),
    ...(needs.length > 0 ? [] : [notes.length === 0 ? 'No problem found.' : 'No problem found in Sidekey.']),
  ].join('\n');
}

function needLines(mark: string, { sentence, hint }: Need, display: Display): readonly string[] {
  return [
    `${mark} ${wrapMessage(`- ${sentence}`, display).slice(2)}`,
    ...(hint === null ? [] : [wrapMessage(`  → ${hint}`, display)]),
  ];
}

const words = {
  works: 'works',
  untrusted: 'does not trust the CA',
  unproxied: 'bypasses the proxy',
  unauthenticated: 'shows no token',
  failed: 'fails',
  slow: 'did not end in time',
} as const;

/** Returns a note on a problem outside of this machine; null: none. */
function noteOn({ client, library, verdict }: Probed): Need | null {
  const title = titleOf({ client, library });
  if (verdict === 'slow')
    return {
      sentence: `${title} did not end in time, so it was not tested. This waits longer:`,
      hint: `sidekey doctor --only ${client.name}`,
    };
  if (verdict !== 'untrusted' || trustVariables(client) !== '') return null;
  return {
    sentence: `${title} does not trust Sidekey's CA, and ignores the CA variables.`,
    hint: 'sidekey ca install --store browsers',
  };
}

/** Lists the variables that set a program's roots. */
function trustVariables({ variables }: Probed['client']): string {
  return variables.filter((name) => /CA|CERT|ROOT|JAVA|PHP|WGET|HGRC|APT/.test(name)).join(', ');
}

function adviceFor(probed: Probed): Need | null {
  const { client, library, verdict, said } = probed;
  if (noteOn(probed) !== null) return null;
  const title = titleOf({ client, library });
  const notes = client.notes.join(' ');
  const quoted = said === null ? '' : ` It said: ${said}`;
  switch (verdict) {
    case null:
    case 'works':
    case 'slow':
      return null;
    case 'untrusted':
      return {
        sentence: `${title} reaches the proxy and does not trust its CA, though ${trustVariables(client)} names it.${quoted}`,
        hint: notes === '' ? 'look for a setting of the program that overrides the variable' : notes,
      };
    case 'unproxied':
      return {
        sentence: `${title} bypasses the proxy, though HTTPS_PROXY names it.${quoted}`,
        hint: notes === '' ? 'look for a setting of the program that overrides the variable' : notes,
      };
    case 'unauthenticated':
      return {
        sentence: `${title} reaches the proxy and shows no token.${quoted}`,
        hint: 'set proxy.authentication: optional in the config file, or give it a port of its own with "sidekey run"',
      };
    case 'failed':
      return { sentence: `${title} failed, and its output does not mention the proxy.${quoted}`, hint: null };
  }
}

/**
 * Returns the title of a probe: the first name of a family (`Go, and what is written in it`), with the
 * library if there are several.
 */
function titleOf({ client, library }: Pick<Probed, 'client' | 'library'>): string {
  const [first = ''] = client.title.split(/[:,]/);
  return library === null ? first : `${first} (${library})`;
}
