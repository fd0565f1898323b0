import type { Context } from '../context.ts';
import { type ExplainOptions, type Question, readQuestion } from './question.ts';
import { type DryRun, dryRun } from './dry-run.ts';
import { columns, type Display, wrapMessage } from '../display.ts';
import { exitCode, failures } from '../../lib/failures.ts';

/**
 * `sidekey explain`: exit code 0 if the request would be allowed, else that of the failure. If it needs
 * approval, exit code of a missing answer.
 *
 * @throws SidekeyError as `readQuestion` and `dryRun`
 */
export async function explain(
  context: Context,
  first: string,
  second: string | undefined,
  options: ExplainOptions,
): Promise<number> {
  const question = await readQuestion(context, [first, second], options);
  const run = await context.withView((view) => dryRun(view, question));
  context.output.result(jsonOf(question, run), describe(context.output.display, question, run));
  if (run.held) return failures.approval_missing.exit;
  return run.refusal?.exit ?? exitCode.ok;
}

function describe(display: Display, { method, url }: Question, run: DryRun): string {
  const rows = run.steps.map(({ step, ok, text }) => [
    `  ${ok ? '✓' : '✗'}`,
    step,
    ok ? text : (run.refusal?.code ?? text),
  ]);
  return [
    `${method} ${withoutSecrets(url)}`,
    ...columns(display, rows),
    '',
    wrapMessage(verdictOf(run), display),
  ].join('\n');
}

function verdictOf({ refusal, outcome, held }: DryRun): string {
  if (refusal !== null) {
    const { status, code, message, hint } = refusal;
    return `Refused with ${status} ${code}: ${message}${hint === undefined ? '' : `\n  → ${hint}`}`;
  }
  return held ? `Held until a person approves it, then allowed: ${outcome}.` : `Allowed: ${outcome}.`;
}

function jsonOf({ method, url, agent, lease }: Question, { steps, refusal, outcome, held }: DryRun): object {
  return {
    method,
    url: withoutSecrets(url),
    agent,
    lease,
    allowed: refusal === null && !held,
    held,
    outcome,
    ...(refusal === null
      ? {}
      : { code: refusal.code, status: refusal.status, message: refusal.message, hint: refusal.hint }),
    steps,
  };
}

/** Removes user information and query, which may contain passwords and keys. */
function withoutSecrets(url: string): string {
  return (url.split(/[?#]/, 1)[0] ?? '').replace(/\/\/[^/]*@/, '//');
}
