import { dirname } from 'node:path';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { isReference, parseSecretReference, readSecret } from '../config/secret-reference.ts';
import { inputInvalid } from '../lib/errors.ts';
import type { NodeRecord } from '../store/store.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { checkName, isoTime, lastUse, relativeTime, spanText } from '../operations/format.ts';

/** `sidekey node enroll NAME`: prints a token with which one new machine gets the master key. */
export async function enrollNode({ withState, output }: Context, name: string): Promise<void> {
  const { enroll, enrolmentMs } = await import('../app/enrolment.ts');
  checkName('name of the node', name);
  const token = await withState((state) => {
    assertShared(state.config);
    return enroll(state, name);
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

/** `sidekey node join`: makes the key of this node, and gets the master key with a token. */
export async function joinNode(context: Context, { token }: { readonly token?: string }): Promise<void> {
  const { output, withState, env, now } = context;
  const [{ join }, { copyIdOf }, { openStore }] = await Promise.all([
    import('../app/enrolment.ts'),
    import('../app/nodes.ts'),
    import('../app/state.ts'),
  ]);
  const config = await context.config();
  assertShared(config);
  if (config.key.source !== 'node') {
    throw inputInvalid(
      `The key source of this machine is ${config.key.source}.`,
      `set "key: { source: node }" in ${config.file}`,
    );
  }
  const { path } = config.key;
  const text = await readToken(context, token, config);
  const store = await openStore(config, { now, env });
  let name: string;
  try {
    ({ name } = await output.during('Waiting for a node that runs', () => join(store, path, text)));
    // From the time when this machine had a copy of the master key.
    const copy = (await store.nodes.list()).find(({ id }) => id === copyIdOf(config));
    if (copy !== undefined) await store.nodes.remove(copy.id);
  } finally {
    await store.close();
  }
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

/** `sidekey node list`. */
export async function listNodes({ withView, output, now }: Context): Promise<void> {
  const nodes = await withView(async ({ store }) => (await store?.nodes.list()) ?? []);
  const at = now();
  output.result(
    nodes.map((node) => nodeJson(node, at)),
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

/** `sidekey node revoke NAME`. @throws as `nodeIdOf` */
export async function revokeNode({ withState, output }: Context, name: string): Promise<void> {
  const { nodeIdOf, ownNodeId } = await import('../app/nodes.ts');
  await withState(async ({ store, keys, audit, config }) => {
    const id = await nodeIdOf(name, { store, keys });
    if (id === ownNodeId(config, keys)) {
      throw inputInvalid(
        'This command runs on that node.',
        `run on another node: sidekey node revoke ${name}`,
      );
    }
    await recordChange(audit, { event: 'node.revoked', reason: name }, async () => {
      await keys.revoke(id);
      await store.nodes.remove(id);
    });
  });
  output.result(
    { name, revoked: true },
    [
      `Revoked the node ${name}: its processes lose access within a second.`,
      'It has had the master key and the way into the database, so change the password of the database, then rotate the key:',
      '  → sidekey key rotate',
    ].join('\n'),
  );
}

function assertShared({ store }: Pick<Config, 'store'>): void {
  if (store.kind === 'postgres') return;
  throw inputInvalid(
    'Nodes share a store in PostgreSQL; this one is a file.',
    'sidekey store copy config postgres://USER@HOST/DATABASE, then set "store" in the config file',
  );
}

export function nodeJson({ name, source, keyId, version, joinedAt, awayMs }: NodeRecord, at: number) {
  return {
    name,
    source,
    key_id: keyId,
    version,
    joined_at: isoTime(joinedAt),
    seen_at: isoTime(at - awayMs),
  };
}
