import { basename } from 'node:path';
import { openView } from '../../app/state.ts';
import { clients } from '../../clients/programs.ts';
import { asTyped } from '../../lib/command-name.ts';
import { errorPhrase, SidekeyError } from '../../lib/errors.ts';
import {
  type RefusalWithHint,
  type RequestCounts,
  withHints,
  withTableHints,
} from '../../operations/run-report.ts';
import type { Context } from '../context.ts';
import { probeOf } from '../status/ask-proxy.ts';
import type { ProxyEndpoint } from './proxy-endpoint.ts';

/** A command that has ended. */
interface Ended {
  readonly program: string;
  /** Exit code; null: a signal ended the command. */
  readonly code: number | null;
  /** True if the command reaches no network but the proxy. */
  readonly isConfined: boolean;
  readonly notes: readonly string[];
}

/** Prints the summary. An error here does not fail the command. */
export async function reportRun(
  { output, env }: Context,
  { config, lease }: ProxyEndpoint,
  countRequests: (lease: string) => Promise<RequestCounts>,
  { notes, ...ended }: Ended,
): Promise<void> {
  const summary = { counts: null, refusals: [], failures: [], notes: [...new Set(notes)] };
  if (lease === null) {
    if (notes.length > 0) output.note(summaryJson(summary), summaryText(summary));
    return;
  }
  try {
    const counts = await countRequests(lease.id);
    const shown = counts.refusals.slice(0, output.json ? Infinity : maxListed + 1);
    await using view = shown.length === 0 ? null : await openView(config(), { now: Date.now });
    const refusals =
      view === null ? [] : await withHints({ ...view, env, proxy: probeOf(view.config) }, shown, lease.id);
    const unused = isUnused(counts) ? unusedNote(ended) : null;
    const failures = withTableHints(counts.failures);
    const report = {
      counts,
      refusals,
      failures,
      notes: [...summary.notes, ...(unused === null ? [] : [unused])],
    };
    output.note(summaryJson(report), summaryText(report));
  } catch (error) {
    const phrase = error instanceof SidekeyError ? error.message : errorPhrase(error);
    output.say(`sidekey: what the command did could not be read from the audit file: ${phrase}`);
  }
}

/** Summary at the end of a command. */
interface RunSummary {
  /** Counts; null: the proxy has other callers. */
  readonly counts: RequestCounts | null;
  readonly refusals: readonly RefusalWithHint[];
  readonly failures: readonly RefusalWithHint[];
  /** Notes about the environment, and warnings of the log. */
  readonly notes: readonly string[];
}

/** Number of refusals, and of failures, that are printed. */
const maxListed = 5;

/** Formats the summary: one line if nothing was refused or failed. */
export function summaryText({ counts, refusals, failures, notes }: RunSummary): string {
  const more = Math.max(0, refusals.length - maxListed);
  return [
    ...(counts === null ? [] : [`sidekey: ${countsText(counts)}`]),
    ...refusals.slice(0, maxListed).map(refusalText),
    ...failures.slice(0, maxListed).map(refusalText),
    ...(more > 0 ? [`  and ${more} more: sidekey audit query --event denied`] : []),
    ...notes.map((note) => `sidekey: ${note}`),
  ].join('\n');
}

function summaryJson({ counts, refusals, failures, notes }: RunSummary): object {
  return { run: counts === null ? null : { ...counts, refusals, failures }, notes };
}

function isUnused({
  requests,
  tunnelled,
  refused,
}: Pick<RequestCounts, 'requests' | 'tunnelled' | 'refused'>): boolean {
  return requests + tunnelled.length + refused === 0;
}

/**
 * Returns why the requests of a program may have bypassed the proxy: the limits of its client. Null for one
 * that probably made none: it ended well, and is confined or unknown.
 */
export function unusedNote({ program, code, isConfined }: Omit<Ended, 'notes'>): string | null {
  const name = basename(program).replace(/\.(exe|cmd|bat)$/i, '');
  const plain = name.replace(/[\d.]+$/, '');
  const client = clients.find(({ programs }) => programs.some((each) => each === name || each === plain));
  const limits = client?.notes.join(' ') ?? '';
  if (code === 0 && (isConfined || limits === '')) return null;
  return limits === ''
    ? `if ${name} did call a server, it ignores HTTPS_PROXY, does not trust the CA, or the server is in NO_PROXY: ${asTyped('sidekey doctor')} tests programs, and docs/clients.md has their settings`
    : `if ${name} did call a server: ${limits}`;
}

function countsText({ requests, tunnelled, failed, refused }: RequestCounts): string {
  if (isUnused({ requests, tunnelled, refused })) return 'no request came through the proxy';
  return [
    `${requests === 0 ? 'no' : requests} request${requests > 1 ? 's' : ''} with a credential`,
    ...(tunnelled.length === 0
      ? []
      : [`${tunnelled.length} host${tunnelled.length === 1 ? '' : 's'} tunnelled`]),
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(refused === 0 ? [] : [`${refused} refused`]),
  ].join(', ');
}

function refusalText({ host, port, code, count, hint }: RefusalWithHint): string {
  const where = host === '' ? 'what was no request' : `${host}${port === 443 ? '' : `:${port}`}`;
  const often = count === 1 ? '' : ` (${count} times)`;
  return `  ${where} ${code}${often}${hint === null ? '' : ` → ${hint}`}`;
}
