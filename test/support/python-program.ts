import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';
import { missing } from '../clients/support/stage.ts';
import type { TestService } from './service.ts';

/** Programs that use the Python SDK. */

const root = join(import.meta.dirname, '../..');

/** A Python with httpx. */
export interface Interpreter {
  readonly name: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The interpreter of the system, with the packages of the system. */
export const systemPython: Interpreter = { name: 'the system', command: '/usr/bin/python3', env: {} };

function entriesOf(variable: string): readonly { readonly name: string; readonly path: string }[] {
  const folder = process.env[variable];
  return folder === undefined ? [] : readdirSync(folder).map((name) => ({ name, path: join(folder, name) }));
}

/**
 * The interpreter of the system, also with the packages of each folder in `SIDEKEY_TEST_PYTHON_VERSIONS`, and
 * those in `SIDEKEY_TEST_PYTHONS`.
 */
export const interpreters: readonly Interpreter[] = [
  systemPython,
  ...entriesOf('SIDEKEY_TEST_PYTHON_VERSIONS').map(({ name, path }) => ({
    ...systemPython,
    name: `packages of ${name}`,
    env: { PYTHONPATH: path },
  })),
  ...entriesOf('SIDEKEY_TEST_PYTHONS').map(({ name, path }) => ({
    name: `Python ${name}`,
    command: join(path, 'bin/python3'),
    env: {},
  })),
];

/** Returns why programs with these packages cannot run; false: they can. */
export function packagesMissing({ command, env }: Interpreter, ...names: readonly string[]) {
  const path = `PYTHONPATH=${env['PYTHONPATH'] ?? ''}`;
  return missing('env', path, command, '-c', `import ${names.join(', ')}`);
}

/** Starts a Python program with the SDK. */
export async function startPython(
  service: Pick<TestService, 'url' | 'key'>,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  python = systemPython,
) {
  const path = [
    join(root, 'src/sdk/python'),
    join(root, 'examples/sdk/python'),
    python.env['PYTHONPATH'] ?? [],
  ];
  const child = spawn(python.command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PYTHONPATH: path.flat().join(':'),
      PYTHONDONTWRITEBYTECODE: '1',
      SIDEKEY_API_URL: service.url,
      SIDEKEY_API_KEY: await service.key(),
      ...env,
    },
  });
  const complaints = text(child.stderr);
  const ended = once(child, 'close') as Promise<[number]>;
  return {
    complaints,
    lines: createInterface(child.stdout)[Symbol.asyncIterator](),
    async done() {
      const [exit] = await ended;
      expect(exit, await complaints).toBe(0);
    },
  };
}

/** Returns the lines of JSON that a program prints until it ends. */
export async function linesOf(started: Awaited<ReturnType<typeof startPython>>): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const line of started.lines) values.push(JSON.parse(line));
  await started.done();
  return values;
}
