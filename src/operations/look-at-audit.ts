import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { checkEnds } from '../audit/ends.ts';
import { readSinkState } from '../audit/export/sink.ts';
import { logIdOf, readHeads } from '../audit/live-file.ts';
import { freeBytes, logBytes, rotatedFiles } from '../audit/log-files.ts';
import { tailAudit } from '../audit/query.ts';
import { bytesBehind } from '../audit/position.ts';
import { readStoredHeads } from '../audit/sealed-heads.ts';
import type { Config } from '../config/config.ts';
import { displayName } from '../config/problem.ts';
import { formatDuration, formatSize } from '../config/scalar.ts';
import type { AuditLine } from '../domain/event.ts';
import { isSystemError, obstacleOf, systemCode } from '../lib/errors.ts';
import { hintOf, remedy, withHint } from '../lib/hint.ts';
import { shellWord } from '../lib/text.ts';
import type { Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import { attempt, type Finding, finding, type HealthView, type Need } from './finding.ts';
import { isoTime, relativeTime, sizeText } from './format.ts';

/**
 * Checks the audit log: its size, its last write, and its sinks.
 *
 * @param view null: the store cannot be read
 */
export function lookAtAudit(
  { audit }: Pick<Config, 'audit'>,
  view: HealthView | null,
  now: number,
): Promise<Finding> {
  const { file, sinks } = audit;
  return attempt('audit', async () => {
    const rotated = rotatedFiles(file);
    const bytes = logBytes(file);
    let last: AuditLine | null = null;
    for await (const line of tailAudit({ file, lines: 1 })) last = line;
    const at = last === null ? null : Date.parse(last.time);
    const endNeeds = await auditEndNeeds(audit, view);
    const nothing = endNeeds.length === 0 ? 'nothing recorded yet' : 'its lines are gone';
    const when = at === null ? nothing : `last event ${relativeTime(at, now)}`;
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
        ...endNeeds,
        ...spaceNeeds(audit, free),
        ...looked.flatMap(({ need }) => need ?? []),
        ...(await leakNeeds(file, now)),
      ],
    );
  });
}

/** Checks the end of the audit log against its head record and the store, without reading the whole log. */
export async function auditEndNeeds({ file }: Config['audit'], view: HealthView | null): Promise<Need[]> {
  // Other findings report a store or a key that cannot be read.
  const vault = await view?.vault().catch(() => null);
  if (vault == null || view === null) return [];
  const fault = await endFault(file, vault, view.store).catch(() => null);
  if (fault === null) return [];
  const sentence = `The audit log ${displayName(file)} was changed after it was written. ${fault}`;
  return [{ sentence, hint: remedy('audit.verify') }];
}

/** Returns why a reading of the log shows no event: it has none, or its lines are gone. */
export async function describeEmptyLog(audit: Config['audit'], view: HealthView | null): Promise<string> {
  const name = displayName(audit.file);
  if (logBytes(audit.file) > 0) return `No events found in ${name}.`;
  const [need] = await auditEndNeeds(audit, view);
  if (need === undefined) return `Nothing was recorded in ${name} yet.`;
  return withHint(need.sentence, need.hint);
}

async function endFault(file: string, vault: Vault, store: Store | null): Promise<string | null> {
  const log = logIdOf(resolve(file), hostname(), readHeads(file, vault));
  const stored = store === null ? undefined : await readStoredHeads(store, log, vault);
  return checkEnds(file, vault, stored);
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
    const access = isOwn ? `chmod u+w ${shellWord(file)}` : `sudo chown "$USER" ${shellWord(file)}`;
    return [{ sentence, hint: obstacleOf(error)?.hint ?? access }];
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
      hint: hintOf`${remedy('audit.query', { code: 'too_many_leaks' })}; raise leak_limit of the domain where that is meant`,
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
      hint: remedy('start'),
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

/** Describes all retention limits of the audit log. */
export function keptText({ keepMs, keepFiles, keepBytes }: Config['audit']): string {
  const limits = [
    ...(keepMs === null ? [] : [formatDuration(keepMs)]),
    ...(keepFiles === null ? [] : [`${keepFiles} files`]),
    ...(keepBytes === null ? [] : [formatSize(keepBytes)]),
  ];
  if (limits.length === 0) return 'keeps all';
  return `keeps ${limits.join(' or ')}`;
}
