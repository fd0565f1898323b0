import type { Context } from '../context.ts';
import { type ExplainOptions, type Question, readQuestion, type Walked } from './question.ts';
import { walk } from './walk.ts';
import { columns } from '../format.ts';
import { exitCode, failures } from '../../lib/failures.ts';

/**
 * `sidekey explain`: exit code 0 where the request would be let through, else that of the failure; where a person is
 * asked first, that of nobody answering.
 *
 * @throws SidekeyError as `readQuestion` and `walk`
 */
export async function explain(
  context: Context,
  first: string,
  second: string | undefined,
  options: ExplainOptions,
): Promise<number> {
  const question = await readQuestion(context, [first, second], options);
  const walked = await context.withView((view) => walk(view, question));
  context.output.result(walkJson(question, walked), describe(question, walked));
  if (walked.held) return failures.approval_missing.exit;
  return walked.refusal?.exit ?? exitCode.ok;
}

function describe({ method, url }: Question, walked: Walked): string {
  const rows = walked.steps.map(({ step, ok, text }) => [
    `  ${ok ? '✓' : '✗'}`,
    step,
    ok ? text : (walked.refusal?.code ?? text),
  ]);
  return [`${method} ${withoutSecrets(url)}`, ...columns(rows), '', verdictOf(walked)].join('\n');
}

function verdictOf({ refusal, outcome, held }: Walked): string {
  if (refusal !== null) {
    const { status, code, message, hint } = refusal;
    return `Refused with ${status} ${code}: ${message}${hint === undefined ? '' : `\n  → ${hint}`}`;
  }
  return held ? `Held until a person says yes, then let through: ${outcome}.` : `Let through: ${outcome}.`;
}

function walkJson(
  { method, url, agent, lease }: Question,
  { steps, refusal, outcome, held }: Walked,
): object {
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

/** A URL without user information and query, where passwords and keys stand. */
function withoutSecrets(url: string): string {
  return (url.split(/[?#]/, 1)[0] ?? '').replace(/\/\/[^/]*@/, '//');
}
