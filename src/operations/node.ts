import { z } from 'zod';
import { recordChange } from '../audit/log.ts';
import { inputInvalid } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { nodeIdOf, ownNodeId } from '../store/node-id.ts';
import type { NodeRecord } from '../store/store.ts';
import { membersOf, text, time } from './members.ts';
import { changing, reading } from './operation.ts';

/** Nodes: the machines that share a store in PostgreSQL. */

export const node = z
  .strictObject({
    name: z.string(),
    source: z.string().describe('The kind of its key source.'),
    key_id: z.string().describe('The master key at its source.'),
    version: z.string(),
    joined_at: time,
    seen_at: time,
  })
  .meta({ id: 'Node', description: 'The processes with one config file on one machine.' });

/** Returns a node for programs. */
export function nodeAnswer(record: NodeRecord, at: number) {
  return membersOf(node.shape, { ...record, seenAt: at - record.awayMs });
}

export const listNodes = reading({
  id: 'node.list',
  summary: 'List the nodes of a store that several machines share.',
  scope: 'status:read',
  input: z.strictObject({}),
  output: z.array(node),
  run: async ({ store }) => (await store?.nodes.list()) ?? [],
  answer: (nodes, at) => nodes.map((each) => nodeAnswer(each, at)),
});

export const revokeNode = changing({
  id: 'node.revoke',
  summary: 'Take the master key from a node. Rotate the key after that.',
  scope: 'config:write',
  input: z.strictObject({ node: text }),
  output: z.strictObject({ name: z.string(), revoked: z.literal(true) }),
  async run({ store, keys, audit, config }, { node: name }) {
    const id = await nodeIdOf(name, { store, keys });
    if (id === ownNodeId(config, keys)) {
      throw inputInvalid(
        'This command runs on that node.',
        hintOf`run on another node: ${remedy('node.revoke', { node: name })}`,
      );
    }
    await recordChange(audit, { event: 'node.revoked', reason: name }, async () => {
      await keys.revoke(id);
      await store.nodes.remove(id);
    });
    return name;
  },
  answer: (name) => ({ name, revoked: true as const }),
});
