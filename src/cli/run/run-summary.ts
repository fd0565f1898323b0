import { openView } from '../../app/state.ts';
import { errorPhrase, SidekeyError } from '../../lib/errors.ts';
import { type RefusalWithHint, type RequestCounts, withHints } from '../../operations/run-report.ts';
import type { Context } from '../context.ts';
import { probeOf } from '../status/ask-proxy.ts';
import type { ProxyEndpoint } from './proxy-endpoint.ts';

/** Prints the summary. An error here does not fail the command. */
export async function reportRun(
  { output, env }: Context,
  { config, lease }: ProxyEndpoint,
  countRequests: (lease: string) => Promise<RequestCounts>,
  notes: readonly string[],
): Promise<void> {
  const summary = { counts: null, refusals: [], notes: [...new Set(notes)] };
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
    const report = { ...summary, counts, refusals };
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
  /** Notes about the environment, and warnings of the log. */
  readonly notes: readonly string[];
}

/** Number of refusals and of notes that are printed. */
const maxListed = 5;

/** Formats the summary: one line if nothing was refused. */
export function summaryText({ counts, refusals, notes }: RunSummary): string {
  const listed = refusals.slice(0, maxListed);
  const more = refusals.length - listed.length;
  return [
    ...(counts === null ? [] : [`sidekey: ${countsText(counts)}`]),
    ...listed.map(refusalText),
    ...(more > 0 ? [`  and ${more} more: sidekey audit query --event denied`] : []),
    ...notes.map((note) => `sidekey: ${note}`),
  ].join('\n');
}

function summaryJson({ counts, refusals, notes }: RunSummary): object {
  return { run: counts === null ? null : { ...counts, refusals }, notes };
}

function countsText({ requests, tunnelled, failed, refused }: RequestCounts): string {
  if (requests + tunnelled.length + refused === 0) return 'no request came through the proxy';
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
