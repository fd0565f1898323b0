import { z } from 'zod';
import { clients } from '../clients/programs.ts';
import type { Config } from '../config/config.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { didYouMean, orMeant } from '../lib/text.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { findOffers } from './find.ts';
import { broken, type Finding, type Need } from './finding.ts';
import { checkHealth, checksAnswer, need, needAnswer } from './health.ts';
import { askUpstreams, lookAtClock, lookAtPermissions, upstreamsFound } from './look-at-machine.ts';
import type { Offers } from './lookup.ts';
import { text } from './members.ts';
import { type Call, reading } from './operation.ts';
import type { Probed, ProbePrograms } from './program-probe.ts';

/** The examination of the setup and of the programs that use the proxy: `sidekey doctor`. */

/** Parts of an examination. */
interface ExaminationParts extends Pick<Call, 'now' | 'withFetch'> {
  /** Null: the config file is not valid. */
  readonly config: Config | null;
  readonly health: () => Promise<readonly Finding[]>;
  /** Returns the grants that domains offer. */
  readonly offers: (domains: readonly Domain[]) => Promise<Offers>;
  readonly probePrograms: ProbePrograms;
}

interface Choice {
  readonly only?: readonly string[] | undefined;
  readonly offline?: boolean | undefined;
}

export const examineSetup = reading({
  id: 'health.examine',
  summary: 'Check the setup, and the programs of this machine that use the proxy.',
  scope: 'config:write',
  input: z.strictObject({ only: z.array(text).min(1).optional(), offline: z.boolean().optional() }),
  output: z.looseObject({ ok: z.boolean(), needs: z.array(need) }),
  check: ({ only = [] }) => assertClients(only),
  run(parts, choice) {
    const health = () => checkHealth({ ...parts, lost: new Set(), invalid: null, open: async () => parts });
    const offers = (domains: readonly Domain[]) => findOffers(parts.store, domains);
    return examine({ ...parts, health, offers }, choice);
  },
  answer: ({ findings, probed, notes, needs }) => ({
    ok: needs.length === 0,
    checks: checksAnswer(findings),
    clients: probed.map(({ client, library, verdict, said }) => ({
      name: client.name,
      library,
      verdict: verdict ?? 'absent',
      said,
    })),
    notes: notes.map(needAnswer),
    needs: needs.map(needAnswer),
  }),
});

/** Examines the setup, unless only some programs are named. The config file need not be valid. */
export async function examine(parts: ExaminationParts, { only, offline }: Choice) {
  const [findings, { probed, notes }] = await Promise.all([
    only === undefined ? examineMachine(parts, offline === true) : [],
    parts.probePrograms(
      parts.config ?? { proxy: defaults, clientsOff: new Set() },
      only === undefined ? null : new Set(only),
    ),
  ]);
  return {
    findings,
    probed,
    /** Problems outside of Sidekey. */
    notes: [
      ...notes.map((sentence) => ({ sentence, hint: null })),
      ...probed.flatMap((each) => noteOn(each) ?? []),
    ],
    needs: [
      ...findings.flatMap(({ name, needs }) => needs.map((each) => ({ about: name.toLowerCase(), ...each }))),
      ...probed.flatMap((each) => {
        const advice = adviceFor(each);
        return advice === null ? [] : [{ about: each.client.name, ...advice }];
      }),
    ],
  };
}

/** Checks the setup. A stopped proxy is no problem, because `run` starts its own. */
async function examineMachine(parts: ExaminationParts, offline: boolean): Promise<readonly Finding[]> {
  const { config, now, withFetch } = parts;
  const findings = (await parts.health()).map(silentIsFine);
  // The findings include the config's problems.
  if (config === null) return findings;
  const ask = async () => {
    // The findings report unreadable grants.
    const offers = await parts.offers(config.domains).catch(() => ({ offered: () => [] }));
    return withFetch((fetch) => askUpstreams(config, offers, { fetch, now }));
  };
  const answers = offline ? [] : await ask().catch(caughtFailure);
  return [
    ...findings,
    await lookAtPermissions(config),
    ...(answers instanceof SidekeyError
      ? [broken('upstreams', answers)]
      : [await lookAtClock(config, answers, now()), ...(offline ? [] : [upstreamsFound(answers)])]),
  ];
}

function silentIsFine(finding: Finding): Finding {
  return finding.name === 'proxy' && finding.facts['health'] === 'silent'
    ? { ...finding, ok: true, text: `${finding.text}; "sidekey run" starts its own`, needs: [] }
    : finding;
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
export function assertClients(names: readonly string[]): void {
  const clientNames: readonly string[] = clients.map(({ name }) => name);
  const unknown = names.find((name) => !clientNames.includes(name));
  if (unknown === undefined) return;
  throw new SidekeyError('input_invalid', `There is no client ${unknown}${orMeant(unknown, clientNames)}`, {
    hint:
      didYouMean(unknown, clientNames) === null
        ? `one of ${clientNames.join(', ')}`
        : remedy('health.examine', { only: null }),
  });
}

/** Returns a note on a problem outside of this machine; null: none. */
export function noteOn({ client, library, verdict }: Probed): Need | null {
  const title = titleOf({ client, library });
  if (client.name === 'java' && verdict === 'works')
    return {
      sentence:
        'Java prints "Picked up JAVA_TOOL_OPTIONS" first, which breaks Bazel and scripts that read the first line of java -version.',
      hint: 'if one of them fails, set clients: { java: off } in the config file',
    };
  if (verdict === 'slow')
    return {
      sentence: `${title} did not end in time, so it was not tested. This waits longer:`,
      hint: remedy('health.examine', { only: [client.name] }),
    };
  if (verdict !== 'untrusted' || trustVariables(client) !== '') return null;
  return {
    sentence: `${title} does not trust Sidekey's CA, and ignores the CA variables.`,
    hint: remedy('ca.install', { store: 'browsers' }),
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
        hint: hintOf`set proxy.authentication: optional in the config file, or give it a port of its own with "${remedy('run', { command: null })}"`,
      };
    case 'failed':
      return { sentence: `${title} failed, and its output does not mention the proxy.${quoted}`, hint: null };
  }
}

/**
 * Returns the title of a probe: the first name of a family (`Go, and what is written in it`), with the
 * library if there are several.
 */
export function titleOf({ client, library }: Pick<Probed, 'client' | 'library'>): string {
  const [first = ''] = client.title.split(/[:,]/);
  return library === null ? first : `${first} (${library})`;
}
