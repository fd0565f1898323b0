import { z } from 'zod';
import { parseConfigDocument, type ConfigDocument } from '../../config/document.ts';
import { configInvalid, type Problem } from '../../config/problem.ts';
import { outcome } from '../../config/rule-definition.ts';
import { address, size, text } from '../../config/scalar.ts';
import { validate } from '../../config/validate.ts';
import { failures, type FailureCode } from '../../errors.ts';
import { parseAbsoluteTarget } from '../../policy/authority.ts';
import { readBodyFacts } from '../../policy/body-facts.ts';
import type { RequestFacts } from '../../policy/request-facts.ts';
import type { RuleOutcome } from '../../policy/rule.ts';

/** A request, and the decision that it must get. */
export interface PolicyCase {
  /** `GET https://api.github.com/user`, as it is written. */
  readonly request: string;
  /** Of the file. */
  readonly line: number;
  readonly facts: RequestFacts;
  readonly expect: RuleOutcome;
  /** The name of the rule that must decide, or where it stands; null: any. */
  readonly rule: string | null;
  /** Of the refusal; null: any. */
  readonly code: FailureCode | null;
}

const request = text<Pick<RequestFacts, 'method' | 'authority' | 'path'>>(
  { description: 'METHOD URL' },
  (value) => {
    const [, method, url] = /^(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+) +)?(\S+)$/.exec(value) ?? [];
    const target =
      url === undefined ? null : parseAbsoluteTarget(url.includes('://') ? url : `https://${url}`);
    return target === null
      ? { problem: 'is no request such as GET https://host/path' }
      : { method: method ?? 'GET', ...target };
  },
);

/** Without an offset nobody could tell which moment is meant. */
const moment = text<number>({ description: 'A moment.' }, (value) => {
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(value);
  const time = isComplete ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? { problem: 'is no moment such as 2026-11-21T09:00:00+01:00' } : time;
});

const code = text<FailureCode>({ description: 'A code.' }, (value) =>
  Object.hasOwn(failures, value) ? (value as FailureCode) : { problem: 'is no code of a refusal' },
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
    body: z.unknown().optional(),
  }),
);

type Written = z.output<typeof schema>[number];

/**
 * Reads a file of cases.
 *
 * @param now what counts as the moment of a request that names none
 * @throws SidekeyError `config_invalid` with every problem, each with its line and column
 */
export function parseCases(content: string, name: string, now: number): readonly PolicyCase[] {
  const document = parseConfigDocument(content);
  if (!document.readable) throw configInvalid(name, document.problems);
  const checked = validate<readonly Written[]>(schema, document);
  const problems = [...document.problems, ...('problems' in checked ? checked.problems : [])];
  if ('problems' in checked || problems.length > 0) throw configInvalid(name, problems);
  const empty: Problem = { line: 1, column: 1, path: [], message: 'has no case' };
  if (checked.value.length === 0) throw configInvalid(name, [empty]);
  return checked.value.map((written, index) => caseOf(written, index, document, now));
}

function caseOf(written: Written, index: number, document: ConfigDocument, now: number): PolicyCase {
  const { body } = written;
  // A text is sent as it is, whatever it is; anything else as the JSON that it is.
  const bytes = new TextEncoder().encode(
    body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body),
  );
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
    expect: written.expect,
    rule: written.rule ?? null,
    code: written.code ?? null,
  };
}
