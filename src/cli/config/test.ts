import type { Config } from '../../config/config.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode } from '../../lib/failures.ts';
import { testConfig } from '../../operations/config.ts';
import { parseCases, type PolicyCase, testCases, type Tested } from '../../operations/config-cases.ts';
import { describeStep } from '../../proxy/policy/judge.ts';
import type { Context } from '../context.ts';
import { type Display, table } from '../display.ts';
import { readGivenFile } from '../terminal.ts';

/** `sidekey config check --tests FILE`: exit code 1 if a case fails. Opens no store. */
export async function compareCases(
  { output, now, readInput }: Pick<Context, 'output' | 'now' | 'readInput'>,
  config: Config,
  file: string,
): Promise<number> {
  const hint = 'sidekey config check --tests FILE; docs/rules.md describes the file';
  const text = (await readGivenFile({ readInput }, file, hint)).toString('utf8');
  const at = now();
  const tested = testCases(config, parseCases(text, file === '-' ? 'standard input' : displayName(file), at));
  const failed = tested.filter(({ passed }) => !passed);
  output.result(
    testConfig.answer(tested, at),
    [caseTable(output.display, tested), '', summary(tested.length, failed)].join('\n'),
  );
  return failed.length === 0 ? exitCode.ok : exitCode.failure;
}

function wanted({ expect, rule, code }: PolicyCase): string {
  return [expect, code, rule === null ? null : `by ${rule}`].filter((part) => part !== null).join(' ');
}

function caseTable(display: Display, all: readonly Tested[]): string {
  const rows = all.map(({ of, decision, got, passed }) => [
    passed ? '✓' : '✗',
    String(of.line),
    of.request,
    wanted(of),
    [got.outcome, got.code, got.reported ? '(report)' : null].filter((part) => part !== null).join(' '),
    decision.ruleName === null ? decision.rule : `${decision.ruleName}, ${decision.rule}`,
  ]);
  return table(display, ['', 'LINE', 'REQUEST', 'EXPECTED', 'GOT', 'BY'], rows, {
    least: ['BY', 'EXPECTED', 'REQUEST'],
  });
}

function summary(count: number, failed: readonly Tested[]): string {
  const told = failed.map(({ of, decision, steps }) =>
    [
      `Line ${of.line}, ${of.request}: ${decision.reason}.`,
      ...steps.map((step) => `  ${describeStep(step)}`),
    ].join('\n'),
  );
  const verdict =
    failed.length === 0 ? `All ${count} as expected.` : `${failed.length} of ${count} not as expected.`;
  return [...told, verdict].join('\n');
}
