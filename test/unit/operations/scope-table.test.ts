import { describe, expect, test } from 'vitest';
import { endpointFinder, judgeScopes, scopeTables } from '../../../src/operations/scope-table.ts';
import { parsePathGlob } from '../../../src/proxy/policy/path.ts';
import { scopeRows } from './scope-rows.ts';

test.each(scopeRows)('$table: $name', ({ table: title, granted, requests, unjudged = [], ...expected }) => {
  const table = scopeTables().find((each) => each.title === title)!;
  const find = endpointFinder(table);
  const seen = requests.map((text) => {
    const [, method = '', host = '', path = ''] = /^(\S+) ([^/]+)(\S+)$/.exec(text) ?? [];
    return { host, endpoint: find({ method, host, path }) };
  });
  const judged = judgeScopes(table, granted, seen);
  expect(judged.enough.toSorted()).toEqual(expected.enough.toSorted());
  expect(judged.isSmallest).toBe(expected.smallest);
  expect(judged.unjudged).toEqual(unjudged);
});

test('no request proves nothing', () => {
  const [table] = scopeTables();
  expect(judgeScopes(table!, ['repo'], []).isSmallest).toBe(false);
});

describe.each(scopeTables())('the table $title', ({ apis, includes, always, docs, providers }) => {
  test('has endpoints with methods and a path that can match', () => {
    for (const name of apis.flatMap(({ endpoints }) => Object.keys(endpoints))) {
      const [methods, path = '', ...rest] = name.split(' ');
      expect(methods).toMatch(/^(?:\*|(?:GET|POST|PUT|PATCH|DELETE)(?:,(?:GET|POST|PUT|PATCH|DELETE))*)$/);
      expect(parsePathGlob(path), name).not.toHaveProperty('problem');
      expect(rest).toEqual([]);
    }
  });

  test('names its sources and providers, and no scope includes itself', () => {
    expect(docs.length).toBeGreaterThan(0);
    expect(providers.length).toBeGreaterThan(0);
    for (const [scope, narrower] of Object.entries(includes)) expect(narrower).not.toContain(scope);
    const named = apis
      .flatMap(({ endpoints }) => Object.values(endpoints))
      .flatMap((needs) => ('each' in needs ? needs.each : needs));
    expect(named.filter((scope) => always.includes(scope))).toEqual([]);
  });
});
