import { readFile } from 'node:fs/promises';
import { renderErrorsPage } from '../../../tools/config-files.ts';
import { describe, expect, it } from 'vitest';
import { exitCode, failures, type FailureCode } from '../../../src/lib/failures.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { sourceFiles } from '../source-files.ts';
import { hintText } from '../../../src/lib/hint.ts';

/** The codes that the product promises to its users, with the status that each has at the proxy. */
const promised: Readonly<Record<string, number>> = {
  agent_auth_required: 407,
  domain_not_allowed: 403,
  rule_denied: 403,
  policy_violation: 403,
  lease_expired: 403,
  grant_expired: 403,
  grant_revoked: 403,
  address_blocked: 403,
  insecure_transport: 403,
  grant_ambiguous: 409,
  body_too_large: 413,
  authority_mismatch: 421,
  reauth_required: 424,
  too_many_leaks: 403,
  rate_limited: 429,
  bad_request: 400,
  refresh_failed: 502,
  upstream_unreachable: 502,
  upstream_tls: 502,
  upstream_protocol: 502,
  upstream_timeout: 504,
  audit_unavailable: 503,
  overloaded: 503,
  store_unavailable: 503,
};

const table = Object.entries(failures) as [FailureCode, (typeof failures)[FailureCode]][];
const sources = [...sourceFiles()].filter(([file]) => !['lib/errors.ts', 'lib/failures.ts'].includes(file));
const code = /^[a-z]+(?:_[a-z]+)*$/;

/** The part of a JSON Schema that names keys. */
interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}

/** The exit codes of the failures that are so named. */
const exitsOf = (pattern: RegExp) =>
  new Set(table.filter(([name]) => pattern.test(name)).map(([, { exit }]) => exit));

describe('the table of failures', () => {
  it('equals docs/errors.md (npm run pages updates it)', async () => {
    const page = await readFile(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
    expect(page).toBe(renderErrorsPage());
  });

  it.each(Object.entries(promised))('has %s with the status %i', (name, status) => {
    expect(failures).toHaveProperty(name);
    expect(failures[name as FailureCode].status).toBe(status);
  });

  it.each(table)(
    'describes %s to clients, users and programs',
    (name, { status, exit, title, sentence, hint }) => {
      expect(name).toMatch(code);
      expect(Number.isInteger(status) && status >= 400 && status <= 599, `status ${status}`).toBe(true);
      expect(Object.values(exitCode)).toContain(exit);
      expect(exit).not.toBe(exitCode.ok);
      expect(title).toMatch(/^[A-Z][^.]*[^. ]$/);
      expect(sentence).toMatch(/^[A-Z].*[^ .]\.$/);
      expect(hintText(hint)).toMatch(/[^ .]$/);
    },
  );

  it('names only existing config keys in its hints', async () => {
    const schema = JSON.parse(
      await readFile(new URL('../../../config/sidekey.schema.json', import.meta.url), 'utf8'),
    ) as JsonSchema;
    const keys = table.flatMap(([, { hint }]) => hintText(hint).match(/\b[a-z]+(?:\.[a-z_]+)+/g) ?? []);
    const known = keys.filter((key) => {
      let at: JsonSchema | undefined = schema;
      for (const name of key.split('.')) at = at?.properties?.[name];
      return at !== undefined;
    });
    expect(keys).not.toEqual([]);
    expect(known).toEqual(keys);
  });

  it('has a distinct title for each code', () => {
    expect(new Set(table.map(([, { title }]) => title)).size).toBe(table.length);
  });

  it('has the documented exit codes', () => {
    expect(exitCode).toEqual({
      ok: 0,
      failure: 1,
      badInput: 2,
      notAuthenticated: 3,
      noUsableGrant: 4,
      upstreamRefused: 5,
      network: 6,
    });
    expect(exitsOf(/^upstream_/)).toEqual(new Set([exitCode.network]));
    expect(exitsOf(/^(?:grant_(?:missing|expired|revoked)|lease_expired|reauth_required)$/)).toEqual(
      new Set([exitCode.noUsableGrant]),
    );
    expect(exitsOf(/^(?:refresh_failed|provider_refused)$/)).toEqual(new Set([exitCode.upstreamRefused]));
    expect(exitsOf(/^agent_auth_required$/)).toEqual(new Set([exitCode.notAuthenticated]));
  });

  it('contains every code that is raised', () => {
    // The SDK has an error of its own, which repeats the codes of the service.
    const own = sources.filter(([file]) => !file.startsWith('sdk/client/'));
    const raised = own.flatMap(([file, text]) =>
      [...text.matchAll(/new SidekeyError\(\s*'([^']*)'/g)].map(([, name = '']) => ({ file, name })),
    );
    expect(raised.length).toBeGreaterThan(50);
    expect(raised.filter(({ name }) => !Object.hasOwn(failures, name))).toEqual([]);
  });

  it('contains no code that is never raised', () => {
    const unused = table
      .map(([name]) => name)
      .filter((name) => !sources.some(([, text]) => text.includes(`'${name}'`)));
    expect(unused).toEqual([]);
  });
});

describe('a SidekeyError', () => {
  it('has the status and exit code of its code, and by default the sentence and hint of the table', () => {
    const cause = new Error('beneath');
    const error = new SidekeyError('upstream_timeout', 'Too slow.', { hint: 'wait', cause });
    expect(error).toMatchObject({
      name: 'SidekeyError',
      code: 'upstream_timeout',
      message: 'Too slow.',
      hint: 'wait',
      status: 504,
      exit: 6,
      cause,
    });
    const bare = new SidekeyError('internal');
    expect(bare).toMatchObject({ message: failures.internal.sentence, hint: failures.internal.hint });
    expect('cause' in bare).toBe(false);
  });
});
