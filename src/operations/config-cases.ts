import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { type ConfigDocument, parseConfigDocument } from '../config/document.ts';
import { configInvalid } from '../config/problem.ts';
import { outcome } from '../config/rules.ts';
import { address, size } from '../config/scalar.ts';
import { validate } from '../config/validate.ts';
import { type FailureCode, failures } from '../lib/failures.ts';
import { text } from '../lib/text.ts';
import {
  foreignInBody,
  foreignInFields,
  foreignInQuery,
  type KnownForms,
} from '../proxy/placeholders/foreign-forms.ts';
import { parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import { readBodyFacts } from '../proxy/policy/body.ts';
import { decideRequest, type Decision, type Policy } from '../proxy/policy/decide.ts';
import { createDomainMap } from '../proxy/policy/domain-map.ts';
import type { RequestFacts } from '../proxy/policy/request.ts';
import { plainRequest, type RuleStep } from '../proxy/policy/rule.ts';
import { CredentialFinder } from '../proxy/schemes/forms.ts';

/** Requests with expected decisions, and their comparison with the decisions of a config. */

/** A case and its result. */
export type Tested = ReturnType<typeof testCase>;

/** Decision of the rules, even if they only report. */
interface Got {
  readonly outcome: PolicyCase['expect'];
  readonly code: string | null;
  readonly reported: boolean;
}

/** Compares the decisions of a config with the expected ones. Sends and opens nothing. */
export function testCases(config: Config, cases: readonly PolicyCase[]): readonly Tested[] {
  const policy: Policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatchedHosts };
  const finder = new CredentialFinder(config.providers.forms());
  return cases.map((of) => testCase(policy, finder, of));
}

function testCase(policy: Policy, finder: CredentialFinder, of: PolicyCase) {
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

/** A request with its expected decision. */
export type PolicyCase = ReturnType<typeof caseOf>;

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
  const message = 'has no test cases; write a list of { request, expect }';
  const document = parseConfigDocument(content, message);
  if (!document.readable) throw configInvalid(name, document.problems);
  const checked = validate<readonly Written[]>(schema, document);
  const problems = [...document.problems, ...('problems' in checked ? checked.problems : [])];
  if ('problems' in checked || problems.length > 0) throw configInvalid(name, problems);
  if (checked.value.length === 0) throw configInvalid(name, [{ line: 1, column: 1, path: [], message }]);
  return checked.value.map((written, index) => caseOf(written, index, document, now));
}

function caseOf(written: Written, index: number, document: ConfigDocument, now: number) {
  const { body } = written;
  // A text is sent unchanged; any other value as JSON.
  const bytes = Buffer.from(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body));
  const contentType = written.content_type ?? (bytes.length === 0 ? null : 'application/json');
  const asWritten = (document.value as readonly { readonly request: string }[])[index]?.request ?? '';
  return {
    /** The request as written, without its query, which may contain keys. */
    request: asWritten.split('?', 1)[0] ?? '',
    /** Line in the file. */
    line: document.position([index]).line,
    facts: {
      ...plainRequest,
      ...written.request,
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
    /** Name or position of the expected rule; null: any. */
    rule: written.rule ?? null,
    /** Error code of the refusal; null: any. */
    code: written.code ?? null,
  };
}
