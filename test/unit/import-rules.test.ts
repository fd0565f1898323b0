import { posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sourceFiles } from './source-files.ts';

/** One import statement, or one call of `import()`. */
interface Import {
  readonly from: string;
  /** A path within `src`, or the name of a package or of a module of Node's. */
  readonly to: string;
  /** `import type`: gone when the program runs. */
  readonly typeOnly: boolean;
  /** The names that are imported as values; `*` for all of them. */
  readonly names: readonly string[];
}

const statement = /^[ \t]*(?:import|export)\s+(type\s+)?(?:([^'";]*?)\s*from\s+)?'([^']+)'/gm;
const call = /\bimport\(\s*'([^']+)'/g;

function importsOf(from: string, text: string): Import[] {
  const resolve = (to: string) => (to.startsWith('.') ? posix.join(posix.dirname(from), to) : to);
  const found: Import[] = [];
  for (const [, type, clause = '', to = ''] of text.matchAll(statement)) {
    const [, listed] = /\{([^}]*)\}/.exec(clause) ?? [];
    const names = (listed ?? '*')
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '' && !name.startsWith('type '))
      .map((name) => name.split(/\s+as\s+/)[0] ?? name);
    found.push({
      from,
      to: resolve(to),
      typeOnly: type !== undefined,
      names: type === undefined ? names : [],
    });
  }
  for (const [, to = ''] of text.matchAll(call))
    found.push({ from, to: resolve(to), typeOnly: false, names: ['*'] });
  return found;
}

const pureTypes = [
  'grants/grant.ts',
  'grants/credential.ts',
  'grants/aws-keys.ts',
  'grants/provider.ts',
  'grants/dialect.ts',
];

/** What every room may use; each of these files stands by itself. */
const groundFloor = [
  'errors.ts',
  'error-facts.ts',
  'did-you-mean.ts',
  'given-up-stream.ts',
  'frame-head.ts',
  'gone.ts',
  'listen-failure.ts',
  'markup.ts',
  'outbox.ts',
  'page.ts',
  'private-file.ts',
  'shell-word.ts',
  'system-error.ts',
  'visible.ts',
];

/** The rooms from the ground up: lower never imports higher. */
const floors: readonly ((file: string) => boolean)[] = [
  (file) => groundFloor.includes(file),
  (file) =>
    roomOf(file) === 'policy' ||
    [
      ...pureTypes,
      'grants/binding.ts',
      'grants/lease.ts',
      'approvals/approval.ts',
      'audit/event.ts',
    ].includes(file),
  // What signs both what goes in with a request and what is asked of token endpoints; what stands in for a credential.
  (file) => ['sigv4', 'dpop', 'placeholder', 'echo'].includes(roomOf(file)),
  (file) =>
    [
      'vault',
      'store',
      'quota',
      'oauth',
      'inject',
      'ca',
      'upstream',
      'audit',
      'config',
      'log.ts',
      'command-name.ts',
    ].includes(roomOf(file)),
  (file) => roomOf(file) === 'grants',
  (file) => roomOf(file) === 'approvals',
  (file) => ['proxy', 'admin'].includes(roomOf(file)),
  (file) => ['workers', 'clients'].includes(roomOf(file)),
  // What puts the parts together: main.ts, and what it shares with the command line.
  (file) => !file.includes('/'),
  (file) => roomOf(file) === 'cli',
];

/** The folder of a file in `src`; a file that is in none is a room of its own. */
function roomOf(file: string): string {
  return file.split('/', 1)[0] ?? file;
}
const floorOf = (file: string) => floors.findIndex((isOn) => isOn(file));
const isInside = (to: string) => to.endsWith('.ts');

/** Within a floor, the one thing that rooms may know of each other: the vault's interface. */
const isShared = ({ to, typeOnly }: Import) => to === 'vault/vault.ts' && typeOnly;

/** Made by `main` and handed to the proxy, which knows them by their types alone. */
const handedIn = ['vault', 'store', 'quota', 'oauth', 'ca', 'audit', 'config', 'upstream'];

/** Ways to open a connection. Only `upstream` has them, and the command line to ask the proxy itself. */
const waysOut: Readonly<Record<string, readonly string[]>> = {
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
  ({ from, to }) => isInside(to) && floorOf(to) > floorOf(from) && 'lower never imports higher',
  (it) =>
    isInside(it.to) &&
    floorOf(it.to) === floorOf(it.from) &&
    roomOf(it.to) !== roomOf(it.from) &&
    it.from.includes('/') &&
    !isShared(it) &&
    'rooms of one floor do not import each other',
  ({ from, to }) => from === 'errors.ts' && `${to}: the table of failures stands on nothing`,
  ({ from, to }) => pureTypes.includes(from) && !pureTypes.includes(to) && 'these are types and nothing else',
  ({ from, to }) =>
    roomOf(from) === 'policy' &&
    !['policy', 'errors.ts', 'node:net', 'node:url'].includes(roomOf(to)) &&
    'policy is pure: it imports errors and what parses addresses',
  ({ from, to }) =>
    roomOf(from) === 'upstream' &&
    !/^(?:upstream\/|policy\/|errors\.ts$|given-up-stream\.ts$|outbox\.ts$|node:|undici$|lru-cache$)/.test(
      to,
    ) &&
    'upstream imports errors, given-up streams, outboxes, policy, undici and Node alone',
  ({ from, to, typeOnly }) =>
    roomOf(from) === 'proxy' &&
    handedIn.includes(roomOf(to)) &&
    to !== 'audit/event.ts' &&
    !typeOnly &&
    'the proxy is handed its parts, and knows them by their types',
  ({ from, to, names }) =>
    !['upstream', 'cli'].includes(roomOf(from)) &&
    names.some((name) => waysOut[to]?.includes(name) === true) &&
    'every connection is made in upstream, where addresses are checked',
];

function violationsOf(files: ReadonlyMap<string, string>): string[] {
  const homeless = [...files.keys()]
    .filter((file) => floorOf(file) < 0)
    .map((file) => `${file}: is on no floor`);
  const imports = [...files].flatMap(([file, text]) => importsOf(file, text));
  const missing = imports.filter(({ to }) => isInside(to) && !files.has(to) && !to.startsWith('..'));
  return [
    ...homeless,
    ...missing.map(({ from, to }) => `${from} → ${to}: is not there`),
    ...imports.flatMap((it) =>
      rules
        .map((rule) => rule(it))
        .flatMap((broken) => (broken === false ? [] : [`${it.from} → ${it.to}: ${broken}`])),
    ),
    ...circlesOf(imports.filter(({ typeOnly }) => !typeOnly)),
  ];
}

/** Each circle once, named by the way round it. */
function circlesOf(imports: readonly Import[]): string[] {
  const next = Map.groupBy(imports, ({ from }) => from);
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (file: string, way: readonly string[]) => {
    if (way.includes(file)) {
      circles.push(`${[...way.slice(way.indexOf(file)), file].join(' → ')}: goes in a circle`);
      return;
    }
    if (done.has(file)) return;
    for (const { to } of next.get(file) ?? []) walk(to, [...way, file]);
    done.add(file);
  };
  for (const file of next.keys()) walk(file, []);
  return circles;
}

describe('the imports of the house', () => {
  it('keep to its rules', () => {
    const files = sourceFiles();
    expect(files.size).toBeGreaterThan(50);
    expect(violationsOf(files)).toEqual([]);
  });
});

const check = (files: Record<string, string>) => violationsOf(new Map(Object.entries(files)));

const ring = (type: string) => ({
  'policy/a.ts': `import { b } from './b.ts';`,
  'policy/b.ts': `import { c } from './c.ts';`,
  'policy/c.ts': `import ${type}{ a } from './a.ts';`,
});

describe('the check of the imports', () => {
  const empty = Object.fromEntries(
    [
      'errors.ts',
      'policy/host.ts',
      'grants/grant.ts',
      'grants/registry.ts',
      'audit/event.ts',
      'audit/log.ts',
      'store/sqlite.ts',
      'store/store.ts',
      'quota/shared-quota.ts',
      'vault/vault.ts',
      'vault/open-vault.ts',
      'ca/authority.ts',
      'upstream/dial.ts',
      'config/load.ts',
      'inject/inject.ts',
      'proxy/listener.ts',
      'main.ts',
      'state.ts',
      'cli/index.ts',
    ].map((file) => [file, '']),
  );
  const withText = (file: string, text: string) => check({ ...empty, [file]: text });

  it('finds nothing wrong with imports that go down', () => {
    expect(
      check({
        ...empty,
        'cli/index.ts': `import { startProxy } from '../main.ts';\nimport { get } from 'node:http';`,
      }),
    ).toEqual([]);
    expect(
      withText(
        'main.ts',
        `import { openState } from './state.ts';\nimport { open } from './store/sqlite.ts';`,
      ),
    ).toEqual([]);
    expect(
      withText(
        'proxy/listener.ts',
        `import type { Store } from '../store/store.ts';\nimport { inject } from '../inject/inject.ts';`,
      ),
    ).toEqual([]);
    expect(withText('ca/authority.ts', `import type { Vault } from '../vault/vault.ts';`)).toEqual([]);
  });

  it.each([
    ['policy/host.ts', `import { sql } from '../store/sqlite.ts';`, 'lower never imports higher'],
    ['policy/host.ts', `import { readFile } from 'node:fs';`, 'policy is pure'],
    ['policy/host.ts', `import type { Grant } from '../grants/grant.ts';`, 'rooms of one floor'],
    ['errors.ts', `import 'node:os';`, 'stands on nothing'],
    ['grants/grant.ts', `import { randomUUID } from 'node:crypto';`, 'types and nothing else'],
    [
      'store/sqlite.ts',
      `import { openRegistry } from '../grants/registry.ts';`,
      'lower never imports higher',
    ],
    ['store/sqlite.ts', `export { dial } from '../upstream/dial.ts';`, 'rooms of one floor'],
    ['quota/shared-quota.ts', `import { open } from '../store/sqlite.ts';`, 'rooms of one floor'],
    [
      'proxy/listener.ts',
      `import { createSharedQuota } from '../quota/shared-quota.ts';`,
      'handed its parts',
    ],
    ['store/sqlite.ts', `import { openVault } from '../vault/open-vault.ts';`, 'rooms of one floor'],
    ['ca/authority.ts', `import { seal } from '../vault/vault.ts';`, 'rooms of one floor'],
    ['upstream/dial.ts', `import { z } from 'zod';`, 'upstream imports'],
    [
      'grants/registry.ts',
      `import type { Rooms } from '../proxy/listener.ts';`,
      'lower never imports higher',
    ],
    ['proxy/listener.ts', `import { run } from '../cli/index.ts';`, 'lower never imports higher'],
    ['proxy/listener.ts', `const main = await import('../main.ts');`, 'lower never imports higher'],
    ['proxy/listener.ts', `import {\n  open,\n} from '../store/sqlite.ts';`, 'handed its parts'],
    ['proxy/listener.ts', `import { type Vault } from '../vault/vault.ts';`, 'handed its parts'],
    ['proxy/listener.ts', `import { connect as dial } from 'node:tls';`, 'every connection'],
    ['proxy/listener.ts', `import net from 'node:net';`, 'every connection'],
    ['inject/inject.ts', `import { fetch } from 'undici';`, 'every connection'],
    ['config/load.ts', `import * as https from 'node:https';`, 'every connection'],
    ['main.ts', `import { run } from './cli/index.ts';`, 'lower never imports higher'],
    ['attic/box.ts', '', 'is on no floor'],
    ['proxy/listener.ts', `import { gone } from './gone.ts';`, 'is not there'],
  ])('finds what is wrong in %s with %j', (file, text, broken) => {
    expect(withText(file, text)).toEqual(expect.arrayContaining([expect.stringContaining(broken)]));
  });

  it('finds circles, short and long, and none where only types go round', () => {
    expect(check(ring(''))).toEqual([
      'policy/a.ts → policy/b.ts → policy/c.ts → policy/a.ts: goes in a circle',
    ]);
    expect(check(ring('type '))).toEqual([]);
    expect(check({ 'policy/a.ts': `import './a.ts';` })).toEqual([
      'policy/a.ts → policy/a.ts: goes in a circle',
    ]);
  });
});
