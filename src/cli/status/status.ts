import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { instanceOf, openView, type View } from '../../app/state.ts';
import { readRunning, runFileOf } from '../../app/worker-ipc.ts';
import type { AuditLine } from '../../domain/event.ts';
import { readSinkState } from '../../audit/export/sink.ts';
import { checkEnds } from '../../audit/ends.ts';
import { logIdOf, readHeads } from '../../audit/live-file.ts';
import { freeBytes, logBytes, rotatedFiles } from '../../audit/log-files.ts';
import { tailAudit } from '../../audit/query.ts';
import { bytesBehind } from '../../audit/read.ts';
import { readStoredHeads } from '../../audit/sealed-heads.ts';
import { keptText } from '../audit/verify.ts';
import { openExistingCa } from '../../ca/existing-authority.ts';
import type { Context } from '../context.ts';
import { countWaiting, waitingText } from '../proposal.ts';
import { columns, type Display, wrapMessage } from '../display.ts';
import {
  counted,
  dateTime,
  isoTime,
  pagesUrl,
  proxyUrl,
  relativeTime,
  sizeText,
} from '../../operations/format.ts';
import { lookAtRuns } from '../run/confinement.ts';
import { askHealth, attempt, broken, type Finding, finding, type Need } from './finding.ts';
import { lookAtDomains, lookAtGrants } from './look-at-grants.ts';
import type { Config } from '../../config/config.ts';
import { machineFilesOf, storeName } from '../../config/store-place.ts';
import { isRotating } from '../../store/vault/ring.ts';
import type { Vault } from '../../store/vault/vault.ts';
import { displayName } from '../../config/problem.ts';
import type { PartialConfig } from '../../config/load.ts';
import { exitCode } from '../../lib/failures.ts';
import { isSystemError, SidekeyError, systemCode } from '../../lib/errors.ts';
import { shellWord } from '../../lib/text.ts';

/** `sidekey status`: exit code 1 if there are problems. */
export async function status(context: Context, options: { readonly health?: boolean }): Promise<number> {
  if (options.health === true) return health(context);
  const { output } = context;
  const findings = await findAll(context);
  const ok = findings.every((finding) => finding.ok);
  output.result(
    {
      ok,
      ...Object.fromEntries(findings.map(({ name, ok, facts }) => [name.toLowerCase(), { ok, ...facts }])),
      needs: findings.flatMap(({ name, needs }) =>
        needs.map((need) => ({ about: name.toLowerCase(), ...need })),
      ),
    },
    describe(output.display, findings),
  );
  return ok ? exitCode.ok : exitCode.failure;
}

/** Runs the checks. An invalid config disables only those that need its invalid parts. */
export async function findAll({
  readConfig,
  parsePartialConfig,
  now,
  env,
}: Pick<Context, 'readConfig' | 'parsePartialConfig' | 'now' | 'env'>): Promise<readonly Finding[]> {
  try {
    const config = await readConfig();
    const [findings, runs] = await Promise.all([look(config, now), lookAtRuns(config, env)]);
    return [...findings, runs];
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const salvaged = await parsePartialConfig();
    return salvaged === null ? [broken('config', error)] : lookAtBroken(error, salvaged, now);
  }
}

/** A proxy keeps its last valid config. */
async function health({ readConfig, parsePartialConfig, output }: Context): Promise<number> {
  const { listen } = await readConfig().then(
    ({ proxy }) => proxy,
    async (error: unknown) => {
      const salvaged = await parsePartialConfig();
      if (salvaged === null || salvaged.lost.has('proxy')) throw error;
      return salvaged.config.proxy;
    },
  );
  const url = proxyUrl(listen);
  const found = await askHealth(listen);
  const ok = found.kind === 'serving';
  const text = {
    serving: `The proxy serves at ${url}.`,
    silent: `No proxy answers at ${url}.`,
    stranger: `What answers at ${url} is not Sidekey.`,
    unknown: 'proxy.listen has port 0: the port of the proxy is not known.',
  }[found.kind];
  output.result({ ok, health: found.kind }, text);
  return ok ? exitCode.ok : exitCode.failure;
}

function describe(display: Display, findings: readonly Finding[]): string {
  const rows = findings.map(({ name, ok, text }) => [`${ok ? '✓' : '✗'} ${name}`, text]);
  const needs = findings.flatMap((finding) => finding.needs);
  const told = needs.flatMap(({ sentence, hint }) => [
    ...sentence.split('\n').map((line) => wrapMessage(`  ${line}`, display)),
    ...(hint === null ? [] : [wrapMessage(`    → ${hint}`, display)]),
  ]);
  return [
    ...columns(display, rows),
    ...(told.length === 0 ? [] : ['', display.paint('yellow', 'Needs attention:'), ...told]),
    ...(findings.some(({ name, text }) => name === 'grants' && text === 'none')
      ? ['', 'Nothing is connected yet.', '  → sidekey init']
      : []),
  ].join('\n');
}

const soonMs = 30 * 86_400_000;

/** Checks all dependencies of a running proxy independently. */
export async function look(config: Config, now: () => number): Promise<readonly Finding[]> {
  const file = displayName(config.file);
  return withoutRepeats([
    finding('config', `${file}, valid`, { file: config.file }),
    await lookAtProxy(config, await ownInstance(config, now)),
    ...(await lookInside(config, now)),
    await lookAtAudit(config, now()),
  ]);
}

/** Checks the valid parts of an invalid config. A running proxy keeps its last config. */
export async function lookAtBroken(
  error: SidekeyError,
  { config, lost }: PartialConfig,
  now: () => number,
): Promise<readonly Finding[]> {
  const instance = lost.has('store') || lost.has('key') ? null : await ownInstance(config, now);
  const proxy = lost.has('proxy') ? null : await lookAtProxy(config, instance);
  const serves = proxy?.facts['health'] === 'serving';
  const found = broken('config', error);
  const inForce = serves
    ? 'the proxy that runs keeps the config that it had'
    : 'a proxy that runs keeps the config that it had, and none can be started';
  const rest = [
    ...(proxy === null ? [] : [proxy]),
    ...(lost.has('store') ? [] : await lookInside(config, now, lost)),
    ...(lost.has('audit') ? [] : [await lookAtAudit(config, now())]),
  ];
  return withoutRepeats([
    {
      ...found,
      text: `${displayName(config.file)}, not valid: ${inForce}`,
      facts: { ...found.facts, file: config.file, not_known: [...lost].toSorted() },
    },
    ...rest,
  ]);
}

/** Parts that all others depend on. */
const sealed: ReadonlySet<string> = new Set(['store', 'key']);

/** @param lost invalid keys of the config; skips checks that need them */
async function lookInside(
  config: Config,
  now: () => number,
  lost: ReadonlySet<string> = new Set(),
): Promise<readonly Finding[]> {
  let view: View;
  try {
    view = await openView(config, { now });
  } catch (error) {
    return [broken('store', error)];
  }
  const looks = [
    { name: 'store', on: [], looking: () => lookAtStore(view) },
    { name: 'key', on: ['key'], looking: () => lookAtKey(view) },
    { name: 'CA', on: ['key', 'ca'], looking: () => lookAtCa(view, now) },
    { name: 'domains', on: ['key', 'domains', 'policies'], looking: () => lookAtDomains(view) },
    { name: 'grants', on: ['key'], looking: () => lookAtGrants(view, now()) },
  ] as const;
  try {
    const findings: Finding[] = [];
    for (const { name, on, looking } of looks) {
      // Later checks would repeat a fault of the store or the key. States of grants need no key.
      const lack = findings.find((each) => !each.ok && sealed.has(each.name))?.name;
      const isOpen = name === 'key' || lack === undefined || (name === 'grants' && lack === 'key');
      if (isOpen && !on.some((key) => lost.has(key))) findings.push(await attempt(name, looking));
    }
    findings.push(...(await lookAtProposals(view, now())));
    return findings;
  } finally {
    await view.close();
  }
}

/** Removes repeated findings, because an unusable key causes several. */
function withoutRepeats(findings: readonly Finding[]): readonly Finding[] {
  const told = new Set<string>();
  return findings.map((each) => {
    const needs = each.needs.filter(({ sentence }) => !told.has(sentence));
    for (const { sentence } of needs) told.add(sentence);
    return { ...each, needs };
  });
}

/** Returns the `instance` of this config's proxy; empty: it never ran. Null: store or key unreadable. */
function ownInstance(config: Config, now: () => number): Promise<string | null> {
  return withVault(config, now, (vault) => (vault === null ? '' : instanceOf(vault)));
}

/** @param instance see `ownInstance` */
async function lookAtProxy(config: Config, instance: string | null): Promise<Finding> {
  const { file, admin, proxy } = config;
  const { listen, authentication: agents } = proxy;
  const health = await askHealth(listen);
  const url = proxyUrl(listen);
  const facts = { listen, agents, health: health.kind };
  switch (health.kind) {
    case 'serving': {
      if (instance === null) {
        const text = `a Sidekey serves at ${url}; without the store and the key it is not known whether it is this one`;
        return { ...finding('proxy', text, { ...facts, health: 'unverified' }), ok: false };
      }
      if (health.instance !== instance) {
        const sentence = `Another Sidekey answers at ${url}: it has another store than ${displayName(file)} says.`;
        const hint = 'stop it, set proxy.listen to another port, or name its config file with --config';
        return finding('proxy', `another Sidekey serves at ${url}`, { ...facts, health: 'other' }, [
          { sentence, hint },
        ]);
      }
      const running = readRunning(runFileOf(machineFilesOf(config), listen.port));
      const pages = pagesUrl(admin);
      const serving = `serving at ${url}${pages === null ? '' : `, pages at ${pages}`}`;
      if (running === null) return finding('proxy', serving, facts);
      const { pid, workers } = running;
      const text = `${serving}, pid ${pid} with ${counted(workers.length, 'worker')}`;
      return finding('proxy', text, { ...facts, pid, workers });
    }
    case 'unknown':
      return finding('proxy', 'not known: proxy.listen has port 0, so any that is free is taken', facts);
    case 'silent':
      return finding('proxy', `not running at ${url} (${health.why})`, facts, [
        { sentence: `No proxy answers at ${url}.`, hint: 'sidekey start' },
      ]);
    case 'stranger':
      return finding('proxy', `something else answers at ${url}`, facts, [
        {
          sentence: `What answers at ${url} is not Sidekey.`,
          hint: 'stop it, or set proxy.listen in the config file to another port',
        },
      ]);
  }
}

async function lookAtStore({ store, config, grants }: View): Promise<Finding> {
  if (store === null) {
    const path = storeName(config.store);
    const facts = { path, exists: false };
    // Without a store, the log has no line.
    if ((statSync(config.audit.file, { throwIfNoEntry: false })?.size ?? 0) === 0)
      return finding('store', `${displayName(path)}, not created yet`, facts);
    return finding('store', `${displayName(path)}, missing`, facts, [
      {
        sentence: `The store ${displayName(path)} is missing, but its audit log exists. Its grants are lost.`,
        hint: 'restore the store from a backup, or connect again: sidekey connect PROVIDER (this begins a new store)',
      },
    ]);
  }
  const [all, agents] = [await grants(), await store.agents.list()];
  return finding(
    'store',
    `${displayName(store.location)}, ${counted(all.length, 'grant')}, ${counted(agents.length, 'agent')}`,
    {
      path: store.location,
      exists: true,
      grants: all.length,
      agents: agents.length,
    },
  );
}

/** Returns no finding without pending proposals: they are no problem. */
async function lookAtProposals({ store }: View, now: number): Promise<readonly Finding[]> {
  if (store === null) return [];
  const looked = await attempt('proposals', async () => {
    const all = await store.proposals.list();
    return finding('proposals', waitingText(all, now) ?? '', { waiting: countWaiting(all, now) });
  });
  return looked.text === '' ? [] : [looked];
}

async function lookAtKey({ vault, config: { key } }: View): Promise<Finding> {
  const path = 'path' in key ? key.path : null;
  const from = path !== null ? displayName(path) : key.source === 'env' ? `env:${key.name}` : key.source;
  const opened = await vault();
  if (opened === null) {
    const isThere = path !== null && existsSync(path);
    const text = isThere ? `${from}, exists, but no store uses it` : `${from}, not created yet`;
    return finding('key', text, { source: key.source, key_id: null });
  }
  const { keyId, generations } = opened;
  const facts = { source: key.source, key_id: keyId };
  if (!isRotating(generations)) return finding('key', `${keyId} (${from})`, facts);
  return finding('key', `${keyId} (${from}), rotation not finished`, facts, [
    {
      sentence: `The rotation to the master key ${keyId} is not finished: ${generations[1]?.keyId} still opens the store.`,
      hint: 'sidekey key rotate',
    },
  ]);
}

async function lookAtCa(view: View, now: () => number): Promise<Finding> {
  const authority = await openExistingCa(view, now);
  const { directory } = view.config.ca;
  if (authority === null) {
    return finding('CA', `${displayName(directory)}, not created yet`, { directory, exists: false });
  }
  const { name, certificateFile, fingerprint, notAfter } = authority;
  const facts = {
    directory,
    exists: true,
    name,
    fingerprint_sha256: fingerprint,
    not_after: isoTime(notAfter),
  };
  const text = `${displayName(certificateFile)}, ${name}, expires ${dateTime(notAfter).slice(0, 10)}`;
  if (notAfter - now() > soonMs) return finding('CA', text, facts);
  return finding('CA', text, facts, [
    {
      sentence: `The CA expires ${relativeTime(notAfter, now())}.`,
      hint: `move the files in ${directory} away: the next start makes a new CA, which clients have to trust`,
    },
  ]);
}

/** Checks the audit log: its size, its last write, and its sinks. */
export function lookAtAudit(config: Config, now: number): Promise<Finding> {
  const { audit } = config;
  const { file, sinks } = audit;
  return attempt('audit', async () => {
    const rotated = rotatedFiles(file);
    const bytes = logBytes(file);
    let last: AuditLine | null = null;
    for await (const line of tailAudit({ file, lines: 1 })) last = line;
    const at = last === null ? null : Date.parse(last.time);
    const when = at === null ? 'nothing recorded yet' : `last event ${relativeTime(at, now)}`;
    const looked = sinks.map(({ name }) => lookAtSink(file, name, now));
    const parts = [displayName(file), ...(bytes === 0 ? [] : [sizeText(bytes)]), when, keptText(audit)];
    const free = freeBytes(file);
    if (sinks.length > 0) parts.push(looked.map(({ text }) => text).join(', '));
    return finding(
      'audit',
      parts.join(', '),
      {
        file,
        bytes,
        rotated: rotated.length,
        keep_ms: audit.keepMs,
        keep_files: audit.keepFiles,
        keep_bytes: audit.keepBytes,
        free_bytes: free,
        last_event: last?.time ?? null,
        sinks: Object.fromEntries(looked.map(({ name, facts }) => [name, facts])),
      },
      [
        ...writeNeeds(file),
        ...(await auditEndNeeds(config, () => now)),
        ...spaceNeeds(audit, free),
        ...looked.flatMap(({ need }) => need ?? []),
        ...(await leakNeeds(file, now)),
      ],
    );
  });
}

/** Checks the end of the audit log against its head record and the store, without reading the whole log. */
export async function auditEndNeeds(config: Config, now: () => number): Promise<Need[]> {
  const { file } = config.audit;
  const fault = await withVault(config, now, async (vault, { store }) => {
    if (vault === null) return null;
    const log = logIdOf(resolve(file), hostname(), readHeads(file, vault));
    const stored = store === null ? undefined : await readStoredHeads(store, log, vault);
    return checkEnds(file, vault, stored);
  });
  if (fault === null) return [];
  const sentence = `The audit log ${displayName(file)} was changed after it was written. ${fault}`;
  return [{ sentence, hint: 'sidekey audit verify' }];
}

/** Returns the result of `use`; null if the store or the key cannot be read, which other findings report. */
async function withVault<T>(
  config: Config,
  now: () => number,
  use: (vault: Vault | null, view: View) => Promise<T> | T,
): Promise<T | null> {
  try {
    const view = await openView(config, { now });
    try {
      return await use(await view.vault(), view);
    } finally {
      await view.close();
    }
  } catch {
    return null;
  }
}

/** Requests are refused if the log is unwritable. */
function writeNeeds(file: string): Need[] {
  try {
    accessSync(existsSync(file) ? file : dirname(file), constants.W_OK);
    return [];
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    const sentence = `The audit log ${displayName(file)} cannot be written (${systemCode(error)}): every request is refused.`;
    const isOwn = statSync(file, { throwIfNoEntry: false })?.uid === process.getuid?.();
    return [
      { sentence, hint: isOwn ? `chmod u+w ${shellWord(file)}` : `sudo chown "$USER" ${shellWord(file)}` },
    ];
  }
}

function spaceNeeds({ file, warnFreeBytes }: Config['audit'], free: number | null): Need[] {
  if (free === null || free >= warnFreeBytes) return [];
  return [
    {
      sentence: `Only ${sizeText(free)} are free on the disk of ${displayName(file)}. When it is full, requests are refused.`,
      hint: 'free space there, or set audit.keep or audit.keep_size to less',
    },
  ];
}

/** Returns the needs of agents whose recent responses often contained a credential. */
async function leakNeeds(file: string, now: number): Promise<readonly Need[]> {
  const needs = new Map<string, Need>();
  for await (const { event, agent, host, time } of tailAudit({ file, lines: linesBack })) {
    if (event !== 'leak.limited' || Date.parse(time) < now - dayMs) continue;
    const sentence = `Responses of ${host} showed the credential to ${agent ?? 'a caller without a token'} too often, last ${relativeTime(Date.parse(time), now)}: its requests were refused.`;
    needs.set(`${agent} ${host}`, {
      sentence,
      hint: 'sidekey audit query --code too_many_leaks; raise leak_limit of the domain where that is meant',
    });
  }
  return [...needs.values()];
}

const dayMs = 86_400_000;

/** Number of lines to search, because a log may have millions. */
const linesBack = 10_000;

interface LookedAt {
  readonly name: string;
  readonly text: string;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly need: Need | null;
}

function lookAtSink(file: string, name: string, now: number): LookedAt {
  const state = readSinkState(file, name);
  if (state === null) {
    return { name, text: `${name} not begun`, facts: { begun: false }, need: null };
  }
  if (state === 'broken') {
    const need = {
      sentence: `What is known of the audit sink ${name} cannot be read.`,
      hint: 'sidekey start',
    };
    return { name, text: `${name} unknown`, facts: { begun: true, readable: false }, need };
  }
  const behind = bytesBehind(file, state.position);
  const { failing } = state;
  const facts = {
    begun: true,
    behind_bytes: behind,
    delivered_lines: state.delivered,
    last_delivery: state.deliveredAt === null ? null : isoTime(state.deliveredAt),
    rejected_lines: state.rejected,
    skips: state.skips,
    failing_since: failing === null ? null : isoTime(failing.since),
    attempts: failing?.attempts ?? 0,
    reason: failing?.reason ?? null,
  };
  const text = `${name} ${behind === 0 ? 'has all' : `${sizeText(behind)} behind`}`;
  if (failing === null) return { name, text, facts, need: null };
  const sentence = `The audit sink ${name} has taken nothing since ${relativeTime(failing.since, now)}: ${failing.reason}. Its lines wait in the file.`;
  return {
    name,
    text,
    facts,
    need: { sentence, hint: 'see audit.sinks in the config file; Sidekey tries again automatically' },
  };
}
