import { readFile } from 'node:fs/promises';
import { displayName } from '../../config/problem.ts';
import { exitCode, SidekeyError } from '../../errors.ts';
import { decideRequest, type Policy, type RequestDecision } from '../../policy/decide.ts';
import { createDomainMap } from '../../policy/domain-map.ts';
import { describeStep } from '../../policy/step-words.ts';
import { systemCode } from '../../system-error.ts';
import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { parseCases, type PolicyCase } from './cases.ts';

/** One case, and what became of it. */
interface Tested {
  readonly of: PolicyCase;
  readonly decision: RequestDecision;
  readonly got: Got;
  readonly passed: boolean;
}

/** What the rules say, also where they only report. */
interface Got {
  readonly outcome: PolicyCase['expect'];
  readonly code: string | null;
  readonly reported: boolean;
}

/** `sidekey policy test FILE`: exit code 1 where a case got another decision than it must. Nothing is sent or opened. */
export async function testPolicy({ readConfig, output, now }: Context, file: string): Promise<number> {
  const config = await readConfig();
  const cases = parseCases(await readText(file), displayName(file, process.cwd()), now());
  const policy: Policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatched };
  const all = cases.map((of) => testCase(policy, of));
  const failed = all.filter(({ passed }) => !passed);
  output.result(
    { passed: all.length - failed.length, failed: failed.length, cases: all.map(caseJson) },
    [caseTable(all), '', summary(all.length, failed)].join('\n'),
  );
  return failed.length === 0 ? exitCode.ok : exitCode.failure;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new SidekeyError('input_invalid', `${file} cannot be read (${systemCode(cause)}).`, {
      hint: 'sidekey policy test FILE; docs/rules.md says what stands in it',
      cause,
    });
  }
}

function testCase(policy: Policy, of: PolicyCase): Tested {
  const decision = decideRequest(policy, of.facts);
  const got = gotOf(decision);
  const passed =
    got.outcome === of.expect &&
    (of.code === null || of.code === got.code) &&
    (of.rule === null || isNamed(decision, of.rule));
  return { of, decision, got, passed };
}

function gotOf(decision: RequestDecision): Got {
  if (decision.outcome === 'deny') return { outcome: 'deny', code: decision.code, reported: false };
  const { reported } = decision;
  if (reported !== null) return { outcome: reported.outcome, code: reported.code, reported: true };
  const outcome = decision.outcome === 'inject' ? 'allow' : decision.outcome;
  return { outcome, code: null, reported: decision.mode === 'report' };
}

/** By its name, or by where it stands, with or without the file and line. */
function isNamed({ rule, ruleName }: RequestDecision, named: string): boolean {
  return named === ruleName || named === rule || named === rule.replace(/ \([^()]*\)$/, '');
}

function wanted({ expect, rule, code }: PolicyCase): string {
  return [expect, code, rule === null ? null : `by ${rule}`].filter((part) => part !== null).join(' ');
}

function caseTable(all: readonly Tested[]): string {
  const rows = all.map(({ of, decision, got, passed }) => [
    passed ? '✓' : '✗',
    String(of.line),
    withoutSecrets(of.request),
    wanted(of),
    [got.outcome, got.code, got.reported ? '(report)' : null].filter((part) => part !== null).join(' '),
    decision.ruleName === null ? decision.rule : `${decision.ruleName}, ${decision.rule}`,
  ]);
  return table(['', 'line', 'request', 'expected', 'got', 'by'], rows);
}

function summary(count: number, failed: readonly Tested[]): string {
  const told = failed.map(({ of, decision }) =>
    [
      `Line ${of.line}, ${withoutSecrets(of.request)}: ${decision.reason}.`,
      ...decision.steps.map((step) => `  ${describeStep(step)}`),
    ].join('\n'),
  );
  const verdict =
    failed.length === 0 ? `All ${count} as expected.` : `${failed.length} of ${count} not as expected.`;
  return [...told, verdict].join('\n');
}

function caseJson({ of, decision, got, passed }: Tested): object {
  return {
    line: of.line,
    request: withoutSecrets(of.request),
    passed,
    expected: { outcome: of.expect, rule: of.rule, code: of.code },
    got: { ...got, rule: decision.rule, rule_name: decision.ruleName, reason: decision.reason },
    steps: decision.steps,
  };
}

/** Without a query, where keys stand. */
function withoutSecrets(request: string): string {
  return request.split('?', 1)[0] ?? '';
}
