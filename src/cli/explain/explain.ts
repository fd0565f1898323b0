import { exitCode, SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { columns } from '../table.ts';
import type { Walked } from './trail.ts';
import { walk, type Question } from './walk.ts';

/** As whom, and with which grant. */
export interface ExplainOptions {
  readonly agent?: string;
  readonly user?: string;
  readonly grant?: string;
}

/** `sidekey explain`: exit code 0 where the request would be let through, else that of the failure. */
export async function explain(
  { withView, output, now }: Context,
  first: string,
  second: string | undefined,
  { agent, user, grant }: ExplainOptions,
): Promise<number> {
  const question: Question = {
    ...readTarget(first, second),
    agent: agent ?? null,
    selectors: { user: user ?? null, grant: grant ?? null },
  };
  const walked = await withView((view) => walk(view, question, now()));
  output.result(walkJson(question, walked), describe(question, walked));
  return walked.refusal?.exit ?? exitCode.ok;
}

/** `[method] url`; a URL without a scheme means https, as with the map. */
function readTarget(first: string, second: string | undefined): Pick<Question, 'method' | 'url'> {
  const isMethod = /^[A-Za-z]{1,32}$/.test(first);
  // A word in capitals is a method whose URL was forgotten; a host is written small.
  if (second === undefined && isMethod && first === first.toUpperCase()) throw wrong('The URL is missing.');
  if (second !== undefined && !isMethod) throw wrong('What stands before the URL is no method.');
  const [method, written] = second === undefined ? ['GET', first] : [first.toUpperCase(), second];
  return { method, url: written.includes('://') ? written : `https://${written}` };
}

function wrong(sentence: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, {
    hint: 'sidekey explain GET https://api.example.com/path',
  });
}

function describe({ method, url }: Question, { steps, refusal, outcome }: Walked): string {
  const rows = steps.map(({ step, ok, text }) => [
    `  ${ok ? '✓' : '✗'}`,
    step,
    ok ? text : (refusal?.code ?? text),
  ]);
  const verdict =
    refusal === null
      ? `Let through: ${outcome}.`
      : `Refused with ${refusal.status} ${refusal.code}: ${refusal.message}${refusal.hint === undefined ? '' : `\n  → ${refusal.hint}`}`;
  return [`${method} ${withoutSecrets(url)}`, ...columns(rows), '', verdict].join('\n');
}

function walkJson({ method, url, agent }: Question, { steps, refusal, outcome }: Walked): object {
  return {
    method,
    url: withoutSecrets(url),
    agent,
    allowed: refusal === null,
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
