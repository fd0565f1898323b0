import { dirname } from 'node:path';
import { z } from 'zod';
import { readSecret, referenceOption, type SecretReference } from '../config/secret-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { askSecret } from '../lib/prompt.ts';
import { nodesBehind } from '../store/node-life.ts';
import type { NodeRecord } from '../store/store.ts';
import { parseKey } from '../store/vault/key-source.ts';
import type { OpenVault } from '../store/vault/open.ts';
import { isRotating } from '../store/vault/ring.ts';
import { isoOrNull } from './format.ts';
import { text, timeOrNull } from './members.ts';
import { node, nodeAnswer } from './node.ts';
import { changing, reading } from './operation.ts';
import { countSealed, rotateKey } from './rotation.ts';

/** The master key of the store, and its rotation. */

const behind = z.array(node).describe('Nodes whose key source still has the key before.');

const behindAnswer = (nodes: readonly NodeRecord[], at: number) => nodes.map((each) => nodeAnswer(each, at));

export const keyStatus = reading({
  id: 'key.status',
  summary: 'Show the master keys of the store, and whether a rotation is finished.',
  scope: 'status:read',
  input: z.strictObject({}),
  output: z
    .strictObject({
      source: z.string(),
      rotating: z.boolean(),
      left: z.int().describe('Records that an earlier key seals.'),
      keys: z.array(
        z.strictObject({
          key_id: z.string(),
          state: z.enum(['current', 'rotating', 'retired']),
          since: timeOrNull,
          retired_at: timeOrNull,
          records: z.int(),
        }),
      ),
      behind,
    })
    .meta({ id: 'Keys', description: 'The master keys of the store, current first. No key is in it.' }),
  async run({ vault, store, config }) {
    const opened = await vault();
    const generations = opened?.generations ?? [];
    const counts = store === null ? new Map<string, number>() : await countSealed(store);
    const rotating = isRotating(generations);
    const keys = generations.map(({ keyId, since, retiredAt }, index) => ({
      keyId,
      state:
        index === 0
          ? ('current' as const)
          : retiredAt === null
            ? ('rotating' as const)
            : ('retired' as const),
      since,
      retiredAt,
      records: counts.get(keyId) ?? 0,
    }));
    return {
      source: config.key.source,
      rotating,
      left: keys.slice(1).reduce((sum, { records }) => sum + records, 0),
      keys,
      behind: store !== null && opened !== null && rotating ? await nodesBehind(store, opened.keyId) : [],
    };
  },
  answer: ({ keys, behind: nodes, ...status }, at) => ({
    ...status,
    keys: keys.map(({ keyId, state, since, retiredAt, records }) => ({
      key_id: keyId,
      state,
      since: isoOrNull(since),
      retired_at: isoOrNull(retiredAt),
      records,
    })),
    behind: behindAnswer(nodes, at),
  }),
});

export const rotate = changing({
  id: 'key.rotate',
  summary: 'Rotate the master key, or resume a rotation; for sources that keep the key themselves.',
  scope: 'config:write',
  input: z.strictObject({
    new: text.optional(),
    retire: z.boolean().optional().describe('Retire the old key, also if other nodes still have it.'),
  }),
  machineOnly: ['new'],
  output: z.strictObject({
    from: z.string(),
    to: z.string(),
    resumed: z.boolean(),
    rewrapped: z.int(),
    finished: z.boolean(),
    behind,
  }),
  check({ new: given }) {
    if (given !== undefined) referenceOption('--new', given);
  },
  async run({ caller, env, now, onProgress, ...state }, { new: given, retire = false }) {
    const { config } = state;
    const reference = given === undefined ? null : referenceOption('--new', given);
    const read = (from: SecretReference) =>
      readSecret(from, { env, cwd: dirname(config.file), where: '--new' });
    const isPassphrase = config.key.source === 'passphrase';
    const isTyped = config.key.source === 'passphrase' && config.key.passphrase === undefined;
    const next = reference === null || isPassphrase ? null : parseKey(await read(reference), '--new');
    if (isTyped && reference === null && (!caller.isAtMachine || askSecret() === null)) {
      throw new SidekeyError('input_invalid', 'The passphrase of the new master key has to be typed.', {
        hint: hintOf`run "${remedy('key.rotate')}" on a terminal, or name the passphrase: --new file:PATH`,
      });
    }
    const keys =
      reference !== null && isPassphrase ? withPassphrase(state.keys, () => read(reference)) : state.keys;
    const rotation = await rotateKey({ ...state, keys }, { next, now, retire, onProgress });
    return {
      rotation,
      /** Place of the key before, which a person has to replace; null: it is replaced. */
      oldPlace: keys.source.replace !== null || keys.sourceKeyId === rotation.to ? null : keys.source.place,
      members: keys.nodes().members.map(({ name }) => name),
      endedAt: now(),
    };
  },
  answer: ({ rotation, endedAt }) => ({ ...rotation, behind: behindAnswer(rotation.behind, endedAt) }),
});

/** Returns the keys of a store, whose source seals a new key with another passphrase. */
function withPassphrase(keys: OpenVault, passphrase: () => Promise<string>): OpenVault {
  const { replace, ...source } = keys.source;
  return { ...keys, source: { ...source, replace: replace && ((key) => replace(key, passphrase)) } };
}
