import { z } from 'zod';
import { displayName } from '../config/problem.ts';
import type { SidekeyError } from '../lib/errors.ts';
import { instanceOf } from '../store/vault/instance.ts';
import { attempt, broken, type Finding, finding, type HealthView, type Need } from './finding.ts';
import { lookAtAudit } from './look-at-audit.ts';
import { lookAtDomains, lookAtGrants } from './look-at-grants.ts';
import { lookAtProxy } from './look-at-proxy.ts';
import { lookAtRuns } from './look-at-runs.ts';
import { lookAtApprovals, lookAtCa, lookAtKey, lookAtProposals, lookAtStore } from './look-at-store.ts';
import { hintAnswer, remedies } from './members.ts';
import { type Reading, reading } from './operation.ts';

/** Health of the setup. */

export const need = z.looseObject({
  about: z.string().optional(),
  sentence: z.string(),
  hint: z.string().nullable(),
  remedies,
});

/** Returns a task for programs. */
export function needAnswer({ hint, ...need }: Need & { readonly about?: string }) {
  return { ...need, ...(hint === null ? { hint } : hintAnswer(hint)) };
}

/** Returns the findings for programs, by their names in lower case. */
export function checksAnswer(findings: readonly Finding[]) {
  return Object.fromEntries(
    findings.map(({ name, ok, text, facts }) => [name.toLowerCase(), { ok, text, ...facts }]),
  );
}

export const healthStatus = reading({
  id: 'health.status',
  summary: 'Show health and open problems.',
  scope: 'status:read',
  input: z.strictObject({}),
  output: z
    .looseObject({ ok: z.boolean(), needs: z.array(need) })
    .meta({ id: 'Status', description: 'Findings, and a sentence with a way out for each problem.' }),
  run: (parts) => checkHealth({ ...parts, lost: new Set(), invalid: null, open: async () => parts }),
  answer: (findings) => ({
    ok: findings.every(({ ok }) => ok),
    ...checksAnswer(findings),
    needs: findings.flatMap(({ name, needs }) =>
      needs.map((each) => needAnswer({ about: name.toLowerCase(), ...each })),
    ),
  }),
});

interface HealthParts extends Pick<Reading, 'config' | 'proxy' | 'env' | 'now'> {
  /** Keys of the config file that are not valid. Checks that need them are skipped. */
  readonly lost: ReadonlySet<string>;
  /** Error of the config file; null: the file is valid. */
  readonly invalid: SidekeyError | null;
  /** Opens the store. Rejects if the store cannot be read. */
  readonly open: () => Promise<HealthView>;
}

/** Checks all that a running proxy depends on, each independently. */
export async function checkHealth(parts: HealthParts): Promise<readonly Finding[]> {
  const { config, lost, invalid, env } = parts;
  const [findings, runs] = await Promise.all([
    checkSetup(parts),
    invalid === null ? lookAtRuns(config, env) : null,
  ]);
  const file = displayName(config.file);
  if (invalid === null && runs !== null)
    return withoutRepeats([finding('config', `${file}, valid`, { file: config.file }), ...findings, runs]);
  const problem = broken('config', invalid);
  const serves = findings.some(({ facts }) => facts['health'] === 'serving');
  const inForce = serves
    ? 'the proxy that runs keeps the config that it had'
    : 'a proxy that runs keeps the config that it had, and none can be started';
  const facts = { ...problem.facts, file: config.file, not_known: [...lost].toSorted() };
  return withoutRepeats([{ ...problem, text: `${file}, not valid: ${inForce}`, facts }, ...findings]);
}

async function checkSetup(parts: HealthParts): Promise<readonly Finding[]> {
  const { config, proxy, now, lost } = parts;
  const view = lost.has('store') || lost.has('key') ? null : await parts.open().catch(() => null);
  return [
    ...(lost.has('proxy') ? [] : [await lookAtProxy(config, await instanceIn(view), proxy)]),
    ...(lost.has('store') ? [] : await lookInside(parts)),
    ...(lost.has('audit') ? [] : [await lookAtAudit(config, view, now())]),
  ];
}

/** Returns the `instance` of this config's proxy; empty: it never ran. Null: store or key unreadable. */
export async function instanceIn(view: Pick<HealthView, 'vault'> | null): Promise<string | null> {
  if (view === null) return null;
  return view.vault().then(
    (vault) => (vault === null ? '' : instanceOf(vault)),
    () => null,
  );
}

/** Parts that all others depend on. */
const sealed: ReadonlySet<string> = new Set(['store', 'key']);

async function lookInside({ open, lost, proxy, now }: HealthParts): Promise<readonly Finding[]> {
  let view: HealthView;
  let counts: Parameters<typeof lookAtStore>[1];
  try {
    view = await open();
    counts = await view.store?.grantChecks.count(now());
  } catch (error) {
    return [broken('store', error)];
  }
  const looks = [
    { name: 'store', on: [], looking: () => lookAtStore(view, counts) },
    { name: 'key', on: ['key'], looking: () => lookAtKey(view) },
    { name: 'CA', on: ['key', 'ca'], looking: () => lookAtCa(view, now, proxy) },
    { name: 'domains', on: ['key', 'domains', 'policies'], looking: () => lookAtDomains(view) },
    { name: 'grants', on: ['key'], looking: () => lookAtGrants(view, proxy, now(), counts) },
  ] as const;
  const findings: Finding[] = [];
  for (const { name, on, looking } of looks) {
    // Later checks would repeat a fault of the store or the key. States of grants need no key.
    const lack = findings.find((each) => !each.ok && sealed.has(each.name))?.name;
    const isOpen = name === 'key' || lack === undefined || (name === 'grants' && lack === 'key');
    if (isOpen && !on.some((key) => lost.has(key))) findings.push(await attempt(name, looking));
  }
  findings.push(...(await lookAtApprovals(view, now())), ...(await lookAtProposals(view, now())));
  return findings;
}

/** Removes repeated needs, because an unusable key causes several. */
function withoutRepeats(findings: readonly Finding[]): readonly Finding[] {
  const reported = new Set<string>();
  return findings.map((each) => {
    const needs = each.needs.filter(({ sentence }) => !reported.has(sentence));
    for (const { sentence } of needs) reported.add(sentence);
    return { ...each, needs };
  });
}
