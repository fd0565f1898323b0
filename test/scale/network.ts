import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { postgresMissing } from '../support/postgres.ts';

/**
 * Network namespaces of nodes. The test itself runs in a namespace without any way out (`test/scale/run.sh`):
 * there are the servers that nodes share. Each node has three links to it: for callers and the API, for the
 * database, and for the provider of tokens. The last two can be cut.
 */

/** The reason to skip these tests; null: they run. */
export const scaleMissing =
  process.env['SIDEKEY_SCALE'] === undefined
    ? ' (needs namespaces: run "npm run scale" as root)'
    : postgresMissing;

/** Addresses of the servers that nodes share. */
export const shared = {
  primary: '10.79.0.1',
  standby: '10.79.0.2',
  provider: '10.79.0.3',
  api: '10.79.0.4',
} as const;

/** The links of a node: the subnets of their addresses, and the servers that it reaches over them. */
const links = {
  callers: { subnet: '10.76', servers: [shared.api] },
  database: { subnet: '10.77', servers: [shared.primary, shared.standby] },
  provider: { subnet: '10.78', servers: [shared.provider] },
} as const;

type Link = Exclude<keyof typeof links, 'callers'>;

/** The network of one node. */
export interface NodeNetwork {
  /** Words before a command that runs there. */
  readonly within: readonly string[];
  /** Address for its callers. */
  readonly listen: string;
  /** Address that the provider sees. */
  readonly address: string;
  /** Lets nothing pass over a link, and ends no connection, until `mend`. */
  readonly cut: (link: Link) => void;
  readonly mend: (link: Link) => void;
}

/** Gives the shared servers their addresses. */
export function addSharedAddresses(): void {
  for (const address of Object.values(shared)) ip('address', 'replace', `${address}/32`, 'dev', 'lo');
}

/**
 * Makes the network of a node; removed when the test ends.
 * @param isSameMachine the node has the host name of the others: they see its processes as those of their
 * machine
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
  const outerOf = (link: keyof typeof links) => `${link}${index}`;
  const addressOf = (link: keyof typeof links, host: 1 | 2) => `${links[link].subnet}.${index}.${host}`;
  inside('link', 'set', 'lo', 'up');
  for (const link of ['callers', 'database', 'provider'] as const) {
    const outer = outerOf(link);
    ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', link, 'netns', String(holder.pid));
    ip('address', 'add', `${addressOf(link, 1)}/30`, 'dev', outer);
    ip('link', 'set', outer, 'up');
    inside('address', 'add', `${addressOf(link, 2)}/30`, 'dev', link);
    inside('link', 'set', link, 'up');
    for (const server of links[link].servers) inside('route', 'add', server, 'via', addressOf(link, 1));
  }
  return {
    within,
    listen: addressOf('callers', 2),
    address: addressOf('provider', 2),
    cut: (link) => ip('link', 'set', outerOf(link), 'down'),
    mend: (link) => ip('link', 'set', outerOf(link), 'up'),
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
