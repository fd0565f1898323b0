import { describe, expect, it } from 'vitest';
import { type Import, importsOf } from './imports.ts';
import { folderOf, layers } from './layers.ts';
import { sourceFiles } from './source-files.ts';

const layerOf = (file: string) => layers.findIndex((layer) => layer.includes(folderOf(file)));
const isOurs = (to: string) => /\.tsx?$/.test(to);

/** Parts that `app/` makes. The proxy knows their types alone. */
const injected = [
  'store/vault',
  'store',
  'agents/quota',
  'grants/oauth',
  'ca',
  'audit',
  'config',
  'proxy/upstream',
];

/** Functions that open a connection. Only `upstream` imports them, and `cli` to ask the proxy itself. */
const connecting: Readonly<Record<string, readonly string[]>> = {
  undici: [
    'Agent',
    'Client',
    'Pool',
    'BalancedPool',
    'ProxyAgent',
    'EnvHttpProxyAgent',
    'RetryAgent',
    'fetch',
    'request',
    'stream',
    'pipeline',
    'connect',
    'upgrade',
    'setGlobalDispatcher',
    'getGlobalDispatcher',
    'WebSocket',
    'EventSource',
    '*',
  ],
  'node:net': ['connect', 'createConnection', 'Socket', '*'],
  'node:tls': ['connect', '*'],
  'node:http': ['request', 'get', '*'],
  'node:https': ['request', 'get', 'Agent', '*'],
  'node:http2': ['connect', '*'],
  'node:dgram': ['createSocket', '*'],
};

type Rule = (it: Import) => string | false;

const rules: readonly Rule[] = [
  ({ from, to }) => isOurs(to) && layerOf(to) > layerOf(from) && 'imports a higher layer',
  ({ from, to }) =>
    isOurs(to) &&
    layerOf(to) === layerOf(from) &&
    folderOf(to) !== folderOf(from) &&
    'imports another folder of its layer',
  ({ from, to, typeOnly }) =>
    isOurs(to) &&
    (folderOf(from) === 'pages') !== (folderOf(to) === 'pages') &&
    !(typeOnly && to === 'sdk/client/operations.ts') &&
    'pages share only the types of answers',
  ({ from, to }) =>
    from === 'lib/failures.ts' && isOurs(to) && to !== 'lib/hint.ts' && 'the error table imports only hints',
  ({ from, to }) =>
    folderOf(from) === 'proxy/policy' &&
    !['proxy/policy', 'lib', 'node:net', 'node:url', 'graphql'].includes(folderOf(to)) &&
    'policy is pure',
  ({ from, to }) =>
    folderOf(from) === 'proxy/upstream' &&
    !/^(?:proxy\/(?:upstream|policy|http)\/|lib\/|node:|undici$|lru-cache$)/.test(to) &&
    'upstream imports only lower layers, undici and Node',
  ({ from, to, typeOnly }) =>
    folderOf(from) === 'proxy' &&
    injected.includes(folderOf(to)) &&
    !typeOnly &&
    'the proxy knows injected parts by their types',
  ({ from, to, names }) =>
    !['proxy/upstream', 'cli'].includes(folderOf(from)) &&
    names.some((name) => connecting[to]?.includes(name) === true) &&
    'only upstream opens connections',
  ({ from, to, typeOnly }) =>
    folderOf(from) === 'cli' &&
    /^(?:store|audit)\//.test(to) &&
    !typeOnly &&
    'the command line uses the store by operations',
];

function violationsOf(files: ReadonlyMap<string, string>): string[] {
  const imports = [...files].flatMap(([file, text]) => importsOf(file, text));
  return [
    ...[...files.keys()].filter((file) => layerOf(file) < 0).map((file) => `${file}: is in no layer`),
    ...imports
      .filter(({ to }) => isOurs(to) && !to.startsWith('..') && !files.has(to))
      .map(({ from, to }) => `${from} → ${to}: does not exist`),
    ...imports.flatMap((it) =>
      rules
        .map((rule) => rule(it))
        .flatMap((broken) => (broken === false ? [] : [`${it.from} → ${it.to}: ${broken}`])),
    ),
    ...circlesOf(imports),
  ];
}

/** Finds each circle once, imports of types included, and names the files in it. */
function circlesOf(imports: readonly Import[]): string[] {
  const next = Map.groupBy(imports, ({ from }) => from);
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (file: string, path: readonly string[]) => {
    if (path.includes(file)) {
      circles.push(`${[...path.slice(path.indexOf(file)), file].join(' → ')}: circle`);
      return;
    }
    if (done.has(file)) return;
    for (const { to } of next.get(file) ?? []) walk(to, [...path, file]);
    done.add(file);
  };
  for (const file of next.keys()) walk(file, []);
  return circles;
}

describe('the imports of src', () => {
  it('follow the layers, without a cycle', () => {
    const files = sourceFiles();
    expect(files.size).toBeGreaterThan(50);
    expect(violationsOf(files)).toEqual([]);
  });
});

const check = (files: Record<string, string>) => violationsOf(new Map(Object.entries(files)));

const ring = (type: string) => ({
  'proxy/policy/a.ts': `import { b } from './b.ts';`,
  'proxy/policy/b.ts': `import { c } from './c.ts';`,
  'proxy/policy/c.ts': `import ${type}{ a } from './a.ts';`,
});

describe('the import check', () => {
  const empty = Object.fromEntries(
    [
      'lib/failures.ts',
      'lib/text.ts',
      'proxy/policy/host.ts',
      'domain/grant.ts',
      'grants/registry.ts',
      'audit/log.ts',
      'store/sqlite.ts',
      'store/store.ts',
      'agents/quota/shared-quota.ts',
      'store/vault/vault.ts',
      'ca/authority.ts',
      'proxy/upstream/dial.ts',
      'config/load.ts',
      'proxy/schemes/apply.ts',
      'proxy/listener.ts',
      'app/proxy.ts',
      'app/state.ts',
      'cli/index.ts',
      'pages/now.tsx',
      'sdk/client/operations.ts',
    ].map((file) => [file, '']),
  );
  const withText = (file: string, text: string) => check({ ...empty, [file]: text });

  it('accepts imports of lower layers', () => {
    expect(
      check({
        ...empty,
        'cli/index.ts': `import { startProxy } from '../app/proxy.ts';\nimport { get } from 'node:http';`,
      }),
    ).toEqual([]);
    expect(
      withText(
        'app/proxy.ts',
        `import { openState } from './state.ts';\nimport { open } from '../store/sqlite.ts';`,
      ),
    ).toEqual([]);
    expect(
      withText(
        'proxy/listener.ts',
        `import type { Store } from '../store/store.ts';\nimport { apply } from './schemes/apply.ts';`,
      ),
    ).toEqual([]);
    expect(withText('pages/now.tsx', `import type { Grant } from '../sdk/client/operations.ts';`)).toEqual(
      [],
    );
    for (const file of ['ca/authority.ts', 'cli/index.ts'])
      expect(withText(file, `import type { Vault } from '../store/vault/vault.ts';`)).toEqual([]);
  });

  it.each([
    ['proxy/policy/host.ts', `import { sql } from '../../store/sqlite.ts';`, 'higher layer'],
    ['proxy/policy/host.ts', `import { readFile } from 'node:fs';`, 'policy is pure'],
    ['proxy/policy/host.ts', `import type { Grant } from '../../domain/grant.ts';`, 'higher layer'],
    ['lib/failures.ts', `import { a } from './text.ts';`, 'the error table imports only hints'],
    ['store/sqlite.ts', `import { openRegistry } from '../grants/registry.ts';`, 'higher layer'],
    ['store/sqlite.ts', `export { dial } from '../proxy/upstream/dial.ts';`, 'another folder'],
    ['agents/quota/shared-quota.ts', `import { open } from '../../store/sqlite.ts';`, 'another folder'],
    [
      'proxy/listener.ts',
      `import { createSharedQuota } from '../agents/quota/shared-quota.ts';`,
      'by their types',
    ],
    ['proxy/upstream/dial.ts', `import { z } from 'zod';`, 'upstream imports'],
    ['grants/registry.ts', `import type { Rooms } from '../proxy/listener.ts';`, 'higher layer'],
    ['proxy/listener.ts', `import { run } from '../cli/index.ts';`, 'higher layer'],
    ['proxy/listener.ts', `const main = await import('../app/proxy.ts');`, 'higher layer'],
    ['proxy/listener.ts', `import {\n  open,\n} from '../store/sqlite.ts';`, 'by their types'],
    ['proxy/listener.ts', `import { type Vault } from '../store/vault/vault.ts';`, 'by their types'],
    ['proxy/listener.ts', `import { connect as dial } from 'node:tls';`, 'opens connections'],
    ['proxy/listener.ts', `import net from 'node:net';`, 'opens connections'],
    ['proxy/schemes/apply.ts', `import { fetch } from 'undici';`, 'opens connections'],
    ['config/load.ts', `import * as https from 'node:https';`, 'opens connections'],
    ['app/proxy.ts', `import { run } from '../cli/index.ts';`, 'higher layer'],
    ['cli/index.ts', `import { open } from '../store/sqlite.ts';`, 'uses the store by operations'],
    ['cli/index.ts', `const log = await import('../audit/log.ts');`, 'uses the store by operations'],
    ['cli/index.ts', `import { Now } from '../pages/now.tsx';`, 'only the types of answers'],
    [
      'pages/now.tsx',
      `import { operations } from '../sdk/client/operations.ts';`,
      'only the types of answers',
    ],
    ['pages/now.tsx', `import type { Grant } from '../domain/grant.ts';`, 'only the types of answers'],
    ['attic/box.ts', '', 'is in no layer'],
    ['proxy/listener.ts', `import { gone } from './gone.ts';`, 'does not exist'],
  ])('reports %s with %j', (file, text, broken) => {
    expect(withText(file, text)).toEqual(expect.arrayContaining([expect.stringContaining(broken)]));
  });

  it('reports cycles, even of types', () => {
    const circle = ['proxy/policy/a.ts → proxy/policy/b.ts → proxy/policy/c.ts → proxy/policy/a.ts: circle'];
    expect(check(ring(''))).toEqual(circle);
    expect(check(ring('type '))).toEqual(circle);
    expect(check({ 'proxy/policy/a.ts': `import './a.ts';` })).toEqual([
      'proxy/policy/a.ts → proxy/policy/a.ts: circle',
    ]);
  });
});
