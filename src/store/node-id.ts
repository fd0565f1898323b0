import { hash } from 'node:crypto';
import { hostname } from 'node:os';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import { nameSeparator } from './nodes.ts';
import type { Store } from './store.ts';
import { nodeKeyId } from './vault/node-key.ts';
import type { OpenVault } from './vault/open.ts';

/** Ids of nodes. */

/** The parts of a config that distinguish nodes. */
interface NodePlace {
  /** Path of the config file. */
  readonly file: string;
  readonly store: { readonly kind: 'sqlite' | 'postgres' };
}

/**
 * Returns the id of a node with a copy of the master key: all processes of one config file have the same id.
 * The ID begins with a hash of the host name. Null: the store is a file, and its machine has one key source.
 */
export function copyIdOf({ file, store }: NodePlace): string | null {
  return store.kind === 'postgres' ? `${shortHash(hostname())}-${shortHash(file)}` : null;
}

function shortHash(text: string): string {
  return hash('sha256', text).slice(0, 16);
}

/**
 * Finds the id of a node by its name or its id. The table of nodes is not sealed. So names of nodes with
 * their own key come from the ring, and the name of a copy must match the hash of the host name in its id.
 * @throws SidekeyError `record_tampered` if the table has a name with the id of another node; `input_invalid`
 * if two nodes have the name; `not_found`
 */
export async function nodeIdOf(
  name: string,
  {
    store,
    keys,
  }: { readonly store: Pick<Store, 'nodes'>; readonly keys: Pick<OpenVault, 'vault' | 'nodes'> },
): Promise<string> {
  await keys.vault.refresh();
  const members = keys.nodes().members.map((each) => ({ name: each.name, id: nodeKeyId(each) }));
  const copies = (await store.nodes.find(name)).filter(({ source }) => source !== 'node');
  const node = [...members, ...copies].find(({ id }) => id === name);
  if (node !== undefined) return node.id;
  const member = members.find((each) => each.name === name);
  const copy = copies.find((each) => each.name === name);
  const [host = ''] = name.split(nameSeparator);
  const isOfHost = copy?.id.startsWith(`${shortHash(host)}-`) === true;
  if (member !== undefined && isOfHost) {
    throw new SidekeyError('input_invalid', `Two nodes have the name ${name}.`, {
      hint: `give the id in its place: ${member.id} (it has a key of its own) or ${copy.id} (it has a copy of the master key)`,
    });
  }
  if (member !== undefined) return member.id;
  if (isOfHost) return copy.id;
  if (copy === undefined) {
    const names = [...members, ...(await store.nodes.list())].map((each) => each.name);
    throw new SidekeyError('not_found', `There is no node of that name${orMeant(name, names)}`, {
      hint: remedy('node.list'),
    });
  }
  throw new SidekeyError('record_tampered', `The node ${name} has the id of another host in the store.`, {
    hint: hintOf`find who writes to the database, and rotate the key: ${remedy('key.rotate')}`,
  });
}

export function ownNodeId(config: NodePlace, { member }: Pick<OpenVault, 'member'>): string | null {
  return member === null ? copyIdOf(config) : nodeKeyId(member);
}
