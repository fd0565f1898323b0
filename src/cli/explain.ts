import { inputInvalid } from '../lib/errors.ts';
import { withHint } from '../lib/hint.ts';
import { exitCode, failures } from '../lib/failures.ts';
import type { DryRun } from '../operations/dry-run.ts';
import { explainRequest } from '../operations/explain.ts';
import type { Context } from './context.ts';
import { columns, type Display, wrapMessage } from './display.ts';
import { type GivenOptions, optionRows, perform } from './operation-command.ts';
import { readGivenFile } from './terminal.ts';

const words = {
  agent: { summary: 'as this agent; with selectors: NAME+grant=GRANT+user=USER', value: 'name' },
  lease: { summary: 'under this lease: its ID, or the first characters of it' },
  user: { summary: 'with the grant of this user (selector +user)', value: 'name' },
  grant: { summary: 'with this one of the grants that the domain offers (selector +grant)' },
  headers: {
    summary: "a header, 'Name: value'; may be given several times",
    name: 'header',
    value: 'field',
    repeated: true,
  },
  body: { summary: 'the body, as JSON unless a Content-Type is given', name: 'data', value: 'text' },
  bytes: {
    summary: 'the body from a file (-: standard input)',
    name: 'data-file',
    value: 'file',
    read: (context: Context, file: string) =>
      readGivenFile(context, file, '--data-file FILE, or - for standard input'),
  },
  client: { summary: 'from this address (default: this machine)', value: 'address' },
  at: { summary: 'at this time: 2026-11-21T09:00Z, or a time ago: 2h', value: 'time' },
} as const;

export const explainOptions = optionRows(explainRequest, words);

/**
 * `sidekey explain`: exit code 0 if the request would be allowed, else that of the failure. If it needs
 * approval, exit code of a missing answer.
 *
 * @throws SidekeyError of `explainRequest`
 */
export async function explain(
  context: Context,
  first: string,
  second: string | undefined,
  options: GivenOptions,
): Promise<number> {
  if (options['data'] !== undefined && options['dataFile'] !== undefined)
    throw inputInvalid('--data and --data-file are both given.', 'give one of them');
  const fixed = second === undefined ? { url: first } : { method: first, url: second };
  const { result, answer } = await perform(context, explainRequest, { words, options, fixed });
  context.output.result(answer, textOf(context.output.display, result));
  if (result.held) return failures.approval_missing.exit;
  return result.refusal?.exit ?? exitCode.ok;
}

function textOf(
  display: Display,
  { method, url, ...run }: DryRun & Readonly<Record<'method' | 'url', string>>,
): string {
  const rows = run.steps.map(({ step, ok, text }) => [
    `  ${ok ? '✓' : '✗'}`,
    step,
    ok ? text : (run.refusal?.code ?? text),
  ]);
  return [`${method} ${url}`, ...columns(display, rows), '', wrapMessage(verdictOf(run), display)].join('\n');
}

function verdictOf({ refusal, outcome, held, advice }: DryRun): string {
  if (refusal !== null) {
    const { status, code, message, hint } = refusal;
    return withHint(`Refused with ${status} ${code}: ${message}`, hint);
  }
  const verdict = held ? 'Held until a person approves it, then allowed' : 'Allowed';
  return withHint(`${verdict}: ${outcome}.`, advice);
}
