import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { AuditLog } from '../domain/event.ts';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { pause, systemTimers } from '../lib/timers.ts';
import { copyIdOf } from '../store/node-id.ts';
import type { EnrolmentRecord, Store } from '../store/store.ts';
import {
  enrolmentOf,
  isProofOf,
  joinProof,
  memberShape,
  newEnrolmentToken,
  newNodeKey,
  type NodeKey,
  type NodeMember,
  nodeKeyId,
  openForNode,
  readNodeKey,
  writeNodeKey,
} from '../store/vault/node-key.ts';
import { sealedKeyId } from '../store/vault/envelope.ts';
import type { OpenVault } from '../store/vault/open.ts';
import { nodeKeyName } from '../store/vault/ring.ts';

/**
 * Enrolment of a node (decision 90). A node makes a token, and seals the secret derived from it. The new node
 * writes its public key with a proof by that secret. Any running node checks it and seals the master key.
 */

/** Milliseconds for which a token is valid. */
export const enrolmentMs = 900_000;

/** Milliseconds that a joining node waits for another one. */
const answerMs = 30_000;
const pollMs = 100;

interface EnrolmentParts {
  readonly store: Store;
  readonly keys: Pick<OpenVault, 'vault' | 'nodes' | 'admit'>;
  readonly audit: Pick<AuditLog, 'append' | 'note'>;
}

const sealedShape = memberShape.pick({ name: true, secret: true });
const requestShape = memberShape.pick({ publicKey: true }).extend({ proof: z.string() });

function contextOf(id: string): string {
  return `node-enrolment/${id}`;
}

/** Makes an enrolment, and returns its token. @throws SidekeyError `already_exists` if a node has the name */
export async function enroll({ store, keys, audit }: EnrolmentParts, name: string): Promise<string> {
  await keys.vault.refresh();
  if ([...keys.nodes().members, ...(await store.nodes.find(name))].some((node) => node.name === name)) {
    throw new SidekeyError('already_exists', `There is a node ${name} already.`, {
      hint: hintOf`use another name, or: ${remedy('node.revoke', { node: name })}`,
    });
  }
  const token = newEnrolmentToken();
  const { id, secret } = enrolmentOf(token);
  const sealed = keys.vault.seal(contextOf(id), Buffer.from(JSON.stringify({ name, secret })));
  await recordChange(audit, { event: 'node.enrolled', reason: name }, () =>
    store.enrolments.insert({ id, name, sealed }, enrolmentMs),
  );
  return token;
}

/** Handles the requests of new nodes, in one process of all nodes. */
export async function answerJoins(parts: EnrolmentParts): Promise<void> {
  const { enrolments, locks } = parts.store;
  if ((await enrolments.asked()).length === 0) return;
  const holder = randomUUID();
  if (!(await locks.acquire('node-enrolment', holder, answerMs))) return;
  try {
    for (const enrolment of await enrolments.asked()) await answer(parts, enrolment);
  } finally {
    await locks.release('node-enrolment', holder);
  }
}

async function answer({ store, keys, audit }: EnrolmentParts, enrolment: EnrolmentRecord): Promise<void> {
  await keys.vault.refresh();
  const { members, revoked } = keys.nodes();
  const member = memberOf(enrolment, keys);
  const known = members.find(({ enrolment: used }) => used === enrolment.id);
  const isUsed =
    revoked.includes(enrolment.id) || (known !== undefined && known.publicKey !== member?.publicKey);
  const isTaken = known === undefined && members.some(({ name }) => name === member?.name);
  if (member === null || isUsed || isTaken) {
    await audit.append({ event: 'node.refused', outcome: 'deny', reason: enrolment.name });
  } else if (known === undefined) {
    // The ring changed first: the next call handles the enrolment.
    if (!(await keys.admit(member))) return;
    const reason = `${member.name}, node key ${nodeKeyId(member)}`;
    await audit.append({ event: 'node.joined', outcome: 'allow', reason });
  }
  await store.enrolments.remove(enrolment.id);
}

/**
 * Returns the new node; null if its request does not prove the token, or if the enrolment was changed or
 * predates a rotation. A holder of a retired key could forge such an enrolment to get the new key.
 */
function memberOf(
  { id, sealed, request }: EnrolmentRecord,
  { vault }: Pick<OpenVault, 'vault'>,
): NodeMember | null {
  if (sealedKeyId(sealed) !== vault.keyId) return null;
  try {
    const { name, secret } = sealedShape.parse(JSON.parse(vault.open(contextOf(id), sealed).toString()));
    const { publicKey, proof } = requestShape.parse(JSON.parse(request ?? ''));
    const member = { name, secret, publicKey, enrolment: id };
    return isProofOf(member, proof) ? member : null;
  } catch {
    return null;
  }
}

/** Refuses a config whose store is a file. @throws SidekeyError `input_invalid` */
export function assertShared({ store }: Pick<Config, 'store'>): void {
  if (store.kind === 'postgres') return;
  throw inputInvalid(
    'Nodes share a store in PostgreSQL; this one is a file.',
    hintOf`${remedy('store.copy', { from: 'config', to: 'postgres://USER@HOST/DATABASE' })}, then set "store" in the config file`,
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

/** Joins the store of a config, and closes it. Returns the name of this node. @throws as `join` */
export async function joinStore(store: Store, config: Config, token: string): Promise<string> {
  try {
    const { name } = await join(store, nodeKeyPath(config), token);
    // From the time when this machine had a copy of the master key.
    const copy = copyIdOf(config);
    if (copy !== null) await store.nodes.remove(copy);
    return name;
  } finally {
    await store.close();
  }
}

/**
 * Joins a store with a token: makes the key of this node at `path`, and waits until another node has sealed
 * the master key for it. A second call with the same token continues.
 * @throws SidekeyError `input_invalid` if the token is not valid any more; `already_exists` if this node has
 * joined; `not_ready` if no node answers
 */
export async function join(store: Store, path: string, token: string): Promise<NodeKey> {
  const { id, secret } = enrolmentOf(token);
  const before = await readNodeKey(path);
  if (
    before !== null &&
    before.secret !== secret &&
    (await store.meta.get(nodeKeyName(before.name))) !== null
  ) {
    throw new SidekeyError('already_exists', `This machine has joined already, as the node ${before.name}.`, {
      hint: remedy('health.status'),
    });
  }
  const enrolment = await store.enrolments.get(id);
  if (enrolment === null) throw notValid();
  const node =
    before?.secret === secret ? before : newNodeKey({ name: enrolment.name, secret, enrolment: id });
  if (node !== before) await writeNodeKey(path, node);
  const request = JSON.stringify({ publicKey: node.publicKey, proof: joinProof(node) });
  if (!(await store.enrolments.ask(id, request))) throw notValid();
  for (let waited = 0; waited < answerMs; waited += pollMs) {
    const isOpen = (await store.enrolments.get(id)) !== null;
    const sealed = await store.meta.get(nodeKeyName(node.name));
    if (sealed !== null) {
      openForNode(node, sealed);
      return node;
    }
    if (!isOpen) throw notValid();
    await pause(systemTimers, pollMs);
  }
  throw new SidekeyError('not_ready', 'No node has answered: at least one must run.', {
    hint: 'start Sidekey on another node, and repeat this command with the same token',
  });
}

function notValid(): SidekeyError {
  return inputInvalid(
    'The enrolment token is not valid any more: it was used, or has ended.',
    hintOf`make another one on a node that runs: ${remedy('node.enroll', { name: null })}`,
  );
}
