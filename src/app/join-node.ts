import type { Config } from '../config/config.ts';
import { inputInvalid } from '../lib/errors.ts';
import type { Call } from '../operations/operation.ts';
import { copyIdOf } from '../store/node-id.ts';
import { join } from './enrolment.ts';
import { openStore } from './state.ts';

/** Refuses a config whose store is a file. @throws SidekeyError `input_invalid` */
export function assertShared({ store }: Pick<Config, 'store'>): void {
  if (store.kind === 'postgres') return;
  throw inputInvalid(
    'Nodes share a store in PostgreSQL; this one is a file.',
    'sidekey store copy config postgres://USER@HOST/DATABASE, then set "store" in the config file',
  );
}

/** Returns the path for the key of this node. @throws SidekeyError `input_invalid` for another config */
export function nodeKeyPath(config: Config): string {
  assertShared(config);
  if (config.key.source === 'node') return config.key.path;
  throw inputInvalid(
    `The key source of this machine is ${config.key.source}.`,
    `set "key: { source: node }" in ${config.file}`,
  );
}

/** Makes this machine a node, as `join`, and returns its name. @throws as `nodeKeyPath` and `join` */
export async function joinNode(
  config: Config,
  token: string,
  parts: Pick<Call, 'now' | 'env'>,
): Promise<string> {
  const path = nodeKeyPath(config);
  const store = await openStore(config, parts);
  try {
    const { name } = await join(store, path, token);
    // From the time when this machine had a copy of the master key.
    const copy = (await store.nodes.list()).find(({ id }) => id === copyIdOf(config));
    if (copy !== undefined) await store.nodes.remove(copy.id);
    return name;
  } finally {
    await store.close();
  }
}
