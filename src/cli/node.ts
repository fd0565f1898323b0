import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { isReference, parseSecretReference, readSecret } from '../config/secret-reference.ts';
import { inputInvalid } from '../lib/errors.ts';
import { listNodes, revokeNode } from '../operations/node.ts';
import type { CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { checkName, lastUse, relativeTime, spanText } from '../operations/format.ts';
import { perform } from './operation-command.ts';

/** Commands for the machines that share a store in PostgreSQL. */

/** Prints a token with which one new machine gets the master key. */
async function enroll({ withState, output }: Context, name: string): Promise<void> {
  const { assertShared, enroll: makeToken, enrolmentMs } = await import('../app/enrolment.ts');
  checkName('name of the node', name);
  const token = await withState((state) => {
    assertShared(state.config);
    return makeToken(state, name);
  });
  output.result({ name, token, valid_ms: enrolmentMs }, token);
  output.say(
    [
      `The token is for one new machine, and is valid for ${spanText(enrolmentMs)}. There, set the same "store" and`,
      '  key: { source: node }',
      'in the config file, and give the token to:',
      '  → sidekey node join',
    ].join('\n'),
  );
}

/** Makes the key of this node, and gets the master key with a token. */
async function join(context: Context, { token }: { readonly token?: string }): Promise<void> {
  const [{ joinStore, nodeKeyPath }, { openStore }] = await Promise.all([
    import('../app/enrolment.ts'),
    import('../app/state.ts'),
  ]);
  const { output, withState } = context;
  const config = await context.config();
  // First, so that nobody gives a token in vain.
  const path = nodeKeyPath(config);
  const text = await readToken(context, token, config);
  const store = await openStore(config, context);
  const name = await output.during('Waiting for a node that runs', () => joinStore(store, config, text));
  await withState(async ({ vault }) =>
    output.result(
      { name, key_id: vault.keyId },
      `This machine is the node ${name}. Its key is in ${path}; the master key ${vault.keyId} is sealed to it.`,
    ),
  );
}

async function readToken(context: Context, reference: string | undefined, config: Config): Promise<string> {
  if (reference === undefined) {
    const typed = await context.ask?.('Enrolment token', { secret: true });
    return (typed ?? (await context.readInput())).trim();
  }
  const parsed = parseSecretReference(reference);
  // The reference may be a misplaced token, so the error omits it.
  if (!isReference(parsed)) {
    throw inputInvalid(
      '--token is no reference to the token, which must not be an argument.',
      'sidekey node join --token env:NAME (or file:PATH), or without --token: it is asked for',
    );
  }
  return (await readSecret(parsed, { env: context.env, cwd: dirname(config.file), where: '--token' })).trim();
}

async function list(context: Context): Promise<void> {
  const { result: nodes, answer, at } = await perform(context, listNodes);
  const { output } = context;
  output.result(
    answer,
    nodes.length === 0
      ? 'There are no nodes: the store is used on one machine.'
      : table(
          output.display,
          ['NAME', 'KEY SOURCE', 'KEY', 'VERSION', 'JOINED', 'LAST SEEN'],
          nodes.map(({ name, source, keyId, version, joinedAt, awayMs }) => [
            name,
            source,
            keyId,
            version,
            relativeTime(joinedAt, at),
            lastUse(at - awayMs, at),
          ]),
          { least: ['VERSION', 'JOINED'] },
        ),
  );
}

async function revoke(context: Context, name: string): Promise<void> {
  const { answer } = await perform(context, revokeNode, { fixed: { node: name } });
  context.output.result(
    answer,
    [
      `Revoked the node ${name}: its processes lose access within a second.`,
      'It has had the master key and the way into the database, so change the password of the database, then rotate the key:',
      '  → sidekey key rotate',
    ].join('\n'),
  );
}

export const nodeCommands: readonly CommandRow[] = [
  {
    name: 'enroll',
    summary: 'print a token with which one new machine gets the master key',
    arguments: [['<name>', 'the name of the new node']],
    examples: ['sidekey node enroll proxy-b'],
    load: async () => enroll,
  },
  {
    name: 'join',
    summary: 'make this machine a node; the token comes from a prompt or from standard input',
    options: [['--token <reference>', 'env:NAME, file:PATH or command:…: where the token is']],
    examples: ['sidekey node join', 'sidekey node join < token'],
    load: async () => join,
  },
  {
    name: 'list',
    summary: 'list the nodes, and the key at the source of each',
    examples: ['sidekey node list'],
    load: async () => list,
  },
  {
    name: 'revoke',
    summary: 'take the master key from a node',
    arguments: [['<name>', 'its name']],
    examples: ['sidekey node revoke proxy-b'],
    load: async () => revoke,
  },
];
