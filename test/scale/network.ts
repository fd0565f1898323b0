import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { postgresMissing } from '../support/postgres.ts';

/**
 * Network namespaces of nodes. The test itself runs in a namespace without any way out (`test/scale/run.sh`): there are
 * the servers that nodes share. Each node has two links to it: one for callers and the provider, and one for the database,
 * which can be cut.
 */

/** Why these tests are skipped; null: they run. */
export const scaleMissing =
  process.env['SIDEKEY_SCALE'] === undefined
    ? ' (needs namespaces: run "npm run scale" as root)'
    : postgresMissing;

/** Addresses of the servers that nodes share. */
export const shared = { primary: '10.79.0.1', standby: '10.79.0.2', provider: '10.79.0.3' } as const;

/** The network of one node. */
export interface NodeNetwork {
  /** Words before a command that runs there. */
  readonly within: readonly string[];
  /** Where its callers reach it, and the provider sees it. */
  readonly address: string;
  /** Lets nothing pass between the node and the databases, and ends no connection, until `mend`. */
  readonly cut: () => void;
  readonly mend: () => void;
}

/** Gives the shared servers their addresses. */
export function addSharedAddresses(): void {
  for (const address of Object.values(shared)) ip('address', 'replace', `${address}/32`, 'dev', 'lo');
}

/**
 * Makes the network of a node; removed when the test ends.
 * @param isSameMachine the node has the host name of the others: they see its processes as those of their machine
 */
export async function nodeNetwork(index: number, isSameMachine: boolean): Promise<NodeNetwork> {
  const holder = spawn('unshare', ['--net', '--uts', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => ended(holder));
  // The answer comes from within the namespace.
  holder.stdin.write('\n');
  await once(holder.stdout, 'data');
  const within = ['nsenter', `--net=/proc/${holder.pid}/ns/net`, `--uts=/proc/${holder.pid}/ns/uts`];
  if (!isSameMachine) execute([...within, 'hostname', `node${index}`]);
  const inside = (...words: readonly string[]) => execute([...within, 'ip', ...words]);
  for (const [name, subnet] of [
    ['front', `10.77.${index}`],
    ['back', `10.78.${index}`],
  ] as const) {
    ip('link', 'add', `${name}${index}`, 'type', 'veth', 'peer', 'name', name, 'netns', String(holder.pid));
    ip('address', 'add', `${subnet}.1/30`, 'dev', `${name}${index}`);
    ip('link', 'set', `${name}${index}`, 'up');
    inside('address', 'add', `${subnet}.2/30`, 'dev', name);
    inside('link', 'set', name, 'up');
  }
  inside('link', 'set', 'lo', 'up');
  for (const address of [shared.primary, shared.standby])
    inside('route', 'add', address, 'via', `10.78.${index}.1`);
  inside('route', 'add', shared.provider, 'via', `10.77.${index}.1`);
  const back = `back${index}`;
  return {
    within,
    address: `10.77.${index}.2`,
    cut: () => ip('link', 'set', back, 'down'),
    mend: () => ip('link', 'set', back, 'up'),
  };
}

function ip(...words: readonly string[]): void {
  execute(['ip', ...words]);
}

function execute([command = '', ...words]: readonly string[]): void {
  execFileSync(command, words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Ends a process that reads its standard input, and waits for it. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.stdin?.end();
  await gone;
}
