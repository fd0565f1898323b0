import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Config } from '../../config/config.ts';
import { type ConfigDocument, parseConfigDocument } from '../../config/document.ts';
import { configInvalid, displayName, type Problem } from '../../config/problem.ts';
import { outcome } from '../../config/rules.ts';
import { address, size } from '../../config/scalar.ts';
import { validate } from '../../config/validate.ts';
import { exitCode, type FailureCode, failures } from '../../lib/failures.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import type { RawFields } from '../../proxy/http/fields.ts';
import { text } from '../../lib/text.ts';
import { parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import {
  foreignInBody,
  foreignInFields,
  foreignInQuery,
  type KnownForms,
} from '../../proxy/placeholders/foreign-forms.ts';
import { readBodyFacts } from '../../proxy/policy/body.ts';
import { decideRequest, type Policy, type Decision } from '../../proxy/policy/decide.ts';
import { createDomainMap } from '../../proxy/policy/domain-map.ts';
import { describeStep } from '../../proxy/policy/judge.ts';
import type { RequestFacts } from '../../proxy/policy/request.ts';
import type { RuleOutcome, RuleStep } from '../../proxy/policy/rule.ts';
import { CredentialFinder } from '../../proxy/schemes/forms.ts';
import type { Context } from '../context.ts';
import { type Display, table } from '../display.ts';

/** A case and its result. */
interface Tested {
  readonly of: PolicyCase;
  readonly decision: Decision;
  readonly steps: readonly RuleStep[];
  readonly got: Got;
  readonly passed: boolean;
}

/** Decision of the rules, even if they only report. */
interface Got {
  readonly outcome: PolicyCase['expect'];
  readonly code: string | null;
  readonly reported: boolean;
}

/** `sidekey config check --tests FILE`: exit code 1 if a case fails. Sends and opens nothing. */
export async function testConfig(
  { output, now, readInput }: Pick<Context, 'output' | 'now' | 'readInput'>,
  config: Config,
  file: string,
): Promise<number> {
  const text = file === '-' ? await readInput() : await readText(file);
  const cases = parseCases(text, file === '-' ? 'standard input' : displayName(file), now());
  const policy: Policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatchedHosts };
  const finder = new CredentialFinder(config.providers.forms());
  const all = cases.map((of) => testCase(policy, finder, of));
  const failed = all.filter(({ passed }) => !passed);
  output.result(
    { passed: all.length - failed.length, failed: failed.length, cases: all.map(caseJson) },
    [caseTable(output.display, all), '', summary(all.length, failed)].join('\n'),
  );
  return failed.length === 0 ? exitCode.ok : exitCode.failure;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new SidekeyError('input_invalid', `${file} cannot be read (${systemCode(cause)}).`, {
      hint: 'sidekey config check --tests FILE; docs/rules.md describes the file',
      cause,
    });
  }
}

function testCase(policy: Policy, finder: CredentialFinder, of: PolicyCase): Tested {
  const steps: RuleStep[] = [];
  const decision = decideRequest(policy, of.facts, steps);
  const judged = gotOf(decision);
  const isForeign =
    (decision.outcome === 'inject' || decision.outcome === 'approve') &&
    decision.foreignCredentials === 'refuse' &&
    hasForeign(of, { finder, codes: { find: () => [] } });
  const got: Got = isForeign ? { outcome: 'deny', code: 'foreign_credential', reported: false } : judged;
  const passed =
    got.outcome === of.expect &&
    (of.code === null || of.code === got.code) &&
    (of.rule === null || isNamed(decision, of.rule));
  return { of, decision, steps, got, passed };
}

function hasForeign({ fields, facts, bytes }: PolicyCase, forms: KnownForms): boolean {
  const parts = [
    foreignInFields(fields, forms),
    foreignInQuery(facts.path, forms),
    foreignInBody(bytes, forms),
  ];
  return parts.some(({ found }) => found.length > 0);
}

function gotOf(decision: Decision): Got {
  if (decision.outcome === 'deny') return { outcome: 'deny', code: decision.code, reported: false };
  const { reported } = decision;
  if (reported !== null) return { outcome: reported.outcome, code: reported.code, reported: true };
  const outcome = decision.outcome === 'inject' ? 'allow' : decision.outcome;
  return { outcome, code: null, reported: decision.mode === 'report' };
}

/** Compares a name with the rule: its name, or its position with or without file and line. */
function isNamed({ rule, ruleName }: Decision, named: string): boolean {
  return named === ruleName || named === rule || named === rule.replace(/ \([^()]*\)$/, '');
}

function wanted({ expect, rule, code }: PolicyCase): string {
  return [expect, code, rule === null ? null : `by ${rule}`].filter((part) => part !== null).join(' ');
}

function caseTable(display: Display, all: readonly Tested[]): string {
  const rows = all.map(({ of, decision, got, passed }) => [
    passed ? '✓' : '✗',
    String(of.line),
    withoutSecrets(of.request),
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
      `Line ${of.line}, ${withoutSecrets(of.request)}: ${decision.reason}.`,
      ...steps.map((step) => `  ${describeStep(step)}`),
    ].join('\n'),
  );
  const verdict =
    failed.length === 0 ? `All ${count} as expected.` : `${failed.length} of ${count} not as expected.`;
  return [...told, verdict].join('\n');
}

function caseJson({ of, decision, steps, got, passed }: Tested): object {
  return {
    line: of.line,
    request: withoutSecrets(of.request),
    passed,
    expected: { outcome: of.expect, rule: of.rule, code: of.code },
    got: { ...got, rule: decision.rule, rule_name: decision.ruleName, reason: decision.reason },
    steps,
  };
}

/** Removes the query, which may contain keys. */
function withoutSecrets(request: string): string {
  return request.split('?', 1)[0] ?? '';
}

/** A request with its expected decision. */
interface PolicyCase {
  /** The request as written: `GET https://api.github.com/user`. */
  readonly request: string;
  /** Line in the file. */
  readonly line: number;
  readonly facts: RequestFacts;
  readonly fields: RawFields;
  readonly bytes: Buffer;
  readonly expect: RuleOutcome;
  /** Name or position of the expected rule; null: any. */
  readonly rule: string | null;
  /** Error code of the refusal; null: any. */
  readonly code: FailureCode | null;
}

const request = text<Pick<RequestFacts, 'method' | 'authority' | 'path'>>(
  { description: 'METHOD URL' },
  (value) => {
    const [, method, url] = /^(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+) +)?(\S+)$/.exec(value) ?? [];
    const target =
      url === undefined ? null : parseAbsoluteTarget(url.includes('://') ? url : `https://${url}`);
    return target === null
      ? { problem: 'is not a request such as GET https://host/path' }
      : { method: method ?? 'GET', ...target };
  },
);

/** Time with an offset, because the instant would otherwise be ambiguous. */
const moment = text<number>({ description: 'A moment.' }, (value) => {
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(value);
  const time = isComplete ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? { problem: 'is not a time such as 2026-11-21T09:00:00+01:00' } : time;
});

const code = text<FailureCode>({ description: 'A code.' }, (value) =>
  Object.hasOwn(failures, value) ? (value as FailureCode) : { problem: 'is not an error code of a refusal' },
);

const schema = z.array(
  z.strictObject({
    request,
    expect: outcome('What it must get.'),
    rule: z.string().optional(),
    code: code.optional(),
    agent: z.string().optional(),
    user: z.string().optional(),
    labels: z.array(z.string()).optional(),
    reason: z.string().optional(),
    client: address('An address.').optional(),
    at: moment.optional(),
    content_type: z.string().optional(),
    content_length: size('Bytes.').optional(),
    headers: z.record(z.string(), z.string()).optional(),
    body: z.unknown().optional(),
  }),
);

type Written = z.output<typeof schema>[number];

/**
 * Parses a file of cases.
 *
 * @param now default time of requests
 * @throws SidekeyError `config_invalid` with every problem, each with its line and column
 */
export function parseCases(content: string, name: string, now: number): readonly PolicyCase[] {
  const document = parseConfigDocument(content, 'has no test cases; write a list of { request, expect }');
  if (!document.readable) throw configInvalid(name, document.problems);
  const checked = validate<readonly Written[]>(schema, document);
  const problems = [...document.problems, ...('problems' in checked ? checked.problems : [])];
  if ('problems' in checked || problems.length > 0) throw configInvalid(name, problems);
  const empty: Problem = {
    line: 1,
    column: 1,
    path: [],
    message: 'has no test cases; write a list of { request, expect }',
  };
  if (checked.value.length === 0) throw configInvalid(name, [empty]);
  return checked.value.map((written, index) => caseOf(written, index, document, now));
}

function caseOf(written: Written, index: number, document: ConfigDocument, now: number): PolicyCase {
  const { body } = written;
  // A text is sent unchanged; any other value as JSON.
  const bytes = Buffer.from(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body));
  const contentType = written.content_type ?? (bytes.length === 0 ? null : 'application/json');
  const asWritten = (document.value as readonly { readonly request: string }[])[index]?.request ?? '';
  return {
    request: asWritten,
    line: document.position([index]).line,
    facts: {
      ...written.request,
      methodFields: [],
      pathFields: [],
      methodParameters: [],
      upgrades: false,
      client: written.client ?? '127.0.0.1',
      agent: written.agent ?? null,
      user: written.user ?? null,
      labels: written.labels ?? [],
      reason: written.reason ?? null,
      contentType,
      contentLength: written.content_length ?? bytes.length,
      now: written.at ?? now,
      body: readBodyFacts({ contentType, contentEncoding: null, bytes }, true),
    },
    fields: Object.entries(written.headers ?? {}).flat(),
    bytes,
    expect: written.expect,
    rule: written.rule ?? null,
    code: written.code ?? null,
  };
}
