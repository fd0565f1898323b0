import { statSync } from 'node:fs';
import { freeBytes } from '../../audit/disk.ts';
import type { AuditLine } from '../../audit/event.ts';
import { rotatedFiles } from '../../audit/log-files.ts';
import { tailAudit } from '../../audit/query.ts';
import { bytesBehind } from '../../audit/read-on.ts';
import { readSinkState } from '../../audit/sinks/sink-state.ts';
import type { Config } from '../../config/config.ts';
import { displayName } from '../../config/problem.ts';
import { keptText } from '../audit/kept.ts';
import { isoTime, relativeTime } from '../time.ts';
import { attempt, finding, type Finding, type Need } from './finding.ts';

/** The audit log: how much there is of it, when something was written last, and how its sinks fare. */
export function lookAtAudit({ audit }: Config, now: number): Promise<Finding> {
  const { file, sinks } = audit;
  return attempt('audit', async () => {
    const rotated = rotatedFiles(file);
    const paths = [...rotated.map(({ path }) => path), file];
    const sizes = paths.map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    let last: AuditLine | null = null;
    for await (const line of tailAudit({ file, lines: 1 })) last = line;
    const at = last === null ? null : Date.parse(last.time);
    const when = at === null ? 'nothing recorded yet' : `last event ${relativeTime(at, now)}`;
    const looked = sinks.map(({ name }) => lookAtSink(file, name, now));
    const parts = [fromHere(file), ...(bytes === 0 ? [] : [sizeText(bytes)]), when, keptText(audit)];
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
        ...spaceNeeds(audit, free),
        ...looked.flatMap(({ need }) => need ?? []),
        ...(await echoNeeds(file, now)),
      ],
    );
  });
}

function spaceNeeds({ file, warnFreeBytes }: Config['audit'], free: number | null): Need[] {
  if (free === null || free >= warnFreeBytes) return [];
  return [
    {
      sentence: `Only ${sizeText(free)} are free on the disk of ${fromHere(file)}. When it is full, requests are refused.`,
      hint: 'free space there, or set audit.keep or audit.keep_size to less',
    },
  ];
}

/** Agents that responses showed a credential too often, of late. */
async function echoNeeds(file: string, now: number): Promise<readonly Need[]> {
  const needs = new Map<string, Need>();
  for await (const { event, agent, host, time } of tailAudit({ file, lines: linesBack })) {
    if (event !== 'echo.limited' || Date.parse(time) < now - dayMs) continue;
    const sentence = `Responses of ${host} showed the credential to ${agent ?? 'a caller without a token'} too often, last ${relativeTime(Date.parse(time), now)}: its requests were refused.`;
    needs.set(`${agent} ${host}`, {
      sentence,
      hint: 'sidekey audit query --code too_many_echoes; raise echo_limit of the domain where that is meant',
    });
  }
  return [...needs.values()];
}

const dayMs = 86_400_000;
/** To read a log of millions would take a person's patience. */
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
    need: { sentence, hint: 'see audit.sinks in the config file; it is tried again by itself' },
  };
}

function fromHere(path: string): string {
  return displayName(path, process.cwd());
}

function sizeText(bytes: number): string {
  if (bytes < 10_000) return `${bytes} bytes`;
  return bytes < 10_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${Math.round(bytes / 1_000_000)} MB`;
}
