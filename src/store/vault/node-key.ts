import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hash,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { z } from 'zod';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { openEnvelope, sealEnvelope, type WrapKey } from './envelope.ts';
import { readPrivateFile, writePrivateFile } from './key-file.ts';
import { derivedKey, keyIdOf, keyLength, masterKey, takeKey, withBytes } from './key-source.ts';

/**
 * Keys of nodes that receive the master key through the store (decision 90). A node has a key pair (X25519),
 * and shares with the other nodes a secret that both sides derive from the enrolment token. The master key is
 * sealed to both, because everybody who can read the store has the public key.
 */

const text = z.base64url().length(43);

/** The shape of the parts of a node that other nodes have. */
export const memberShape = z.strictObject({
  /** Unique. */
  name: z.string(),
  /** X25519 public key. */
  publicKey: text,
  /** The secret that the node shares with the other nodes. */
  secret: text,
  /** ID of the one-time enrolment token that the node joined with. */
  enrolment: z.string(),
});

export type NodeMember = Readonly<z.infer<typeof memberShape>>;

const format = z.literal('sidekey-node-key/1');
/** The file of a node's own key. */
const fileShape = memberShape.extend({ format, privateKey: text });

export type NodeKey = Readonly<Omit<z.infer<typeof fileShape>, 'format'>>;

const tokenPrefix = 'sn_';

/** Creates an enrolment token: 256 random bits. The prefix is for secret scanners. */
export function newEnrolmentToken(): string {
  return tokenPrefix + randomBytes(keyLength).toString('base64url');
}

/** Returns the id of an enrolment, which does not reveal its token, and the derived shared secret. */
export function enrolmentOf(token: string): { readonly id: string; readonly secret: string } {
  if (!/^sn_[\w-]{43}$/.test(token)) {
    throw new SidekeyError('input_invalid', 'This is no enrolment token: one begins with sn_.', {
      hint: hintOf`make one on a node that runs: ${remedy('node.enroll', { name: null })}`,
    });
  }
  const bytes = Buffer.from(token.slice(tokenPrefix.length), 'base64url');
  const secret = derivedKey(createSecretKey(bytes), 'node-secret').export().toString('base64url');
  return { id: hash('sha256', token), secret };
}

/** Returns the proof that the maker of this key pair has the token: HMAC-SHA256 over name and public key. */
export function joinProof({ name, publicKey, secret }: NodeMember): string {
  const key = derivedKey(masterKey(Buffer.from(secret, 'base64url')), 'node-proof');
  return createHmac('sha256', key)
    .update(JSON.stringify([name, publicKey]))
    .digest('base64url');
}

/** Checks a proof in constant time. */
export function isProofOf(member: NodeMember, proof: string): boolean {
  const [expected, given] = [Buffer.from(joinProof(member)), Buffer.from(proof)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}

export function newNodeKey(member: Omit<NodeMember, 'publicKey'>): NodeKey {
  return { ...member, ...newPair() };
}

/** Returns the id of a node with this key; not secret. */
export function nodeKeyId({ publicKey }: Pick<NodeMember, 'publicKey'>): string {
  return hash('sha256', `node ${publicKey}`).slice(0, 16);
}

/** Seals a master key for a node. Opening takes its private key and the shared secret, sealing the latter. */
export function sealForNode(master: KeyObject, member: NodeMember): Uint8Array {
  const { publicKey: x, privateKey } = newPair();
  const key = wrapKey(agree({ publicKey: x, privateKey }, member.publicKey), member, x);
  const sealed = withBytes(master, (bytes) => sealEnvelope(key, contextOf(member), bytes));
  return Buffer.concat([Buffer.from(x, 'base64url'), sealed]);
}

/** Opens a seal of `sealForNode`. @throws SidekeyError `record_tampered` */
export function openForNode(node: NodeKey, sealed: Uint8Array): KeyObject {
  const x = Buffer.from(sealed.subarray(0, keyLength)).toString('base64url');
  try {
    const key = wrapKey(agree(node, x), node, x);
    return takeKey(openEnvelope(key, contextOf(node), sealed.subarray(keyLength)));
  } catch (cause) {
    throw new SidekeyError(
      'record_tampered',
      `The master key that is sealed for the node ${node.name} does not open.`,
      {
        hint: hintOf`join again: ${remedy('node.enroll', { name: null })} on another node, then ${remedy('node.join')} here`,
        cause,
      },
    );
  }
}

type Pair = Pick<NodeKey, 'publicKey' | 'privateKey'>;

function newPair(): Pair {
  const { x = '', d = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  return { publicKey: x, privateKey: d };
}

/** Computes the shared secret (Diffie-Hellman, RFC 7748). Throws if the public key yields no secret. */
function agree({ publicKey, privateKey }: Pair, other: string): Buffer {
  const jwk = { kty: 'OKP', crv: 'X25519' };
  return diffieHellman({
    privateKey: createPrivateKey({ format: 'jwk', key: { ...jwk, x: publicKey, d: privateKey } }),
    publicKey: createPublicKey({ format: 'jwk', key: { ...jwk, x: other } }),
  });
}

/** HKDF over the agreed secret, salted with the shared one, and bound to both public keys. */
function wrapKey(agreed: Buffer, { publicKey, secret }: NodeMember, ephemeral: string): WrapKey {
  const info = `sidekey/v1/node-wrap/${ephemeral}/${publicKey}`;
  const bytes = new Uint8Array(hkdfSync('sha256', agreed, Buffer.from(secret, 'base64url'), info, keyLength));
  agreed.fill(0);
  const key = takeKey(bytes);
  return { key, id: keyIdOf(key) };
}

function contextOf({ name }: Pick<NodeMember, 'name'>): string {
  return `node-key/${name}`;
}

/** Reads the key of this node; null if missing. @throws SidekeyError `key_invalid`, `permissions_unsafe` */
export async function readNodeKey(path: string): Promise<NodeKey | null> {
  const content = await readPrivateFile(path);
  if (content === null) return null;
  try {
    const { format: _, ...node } = fileShape.parse(JSON.parse(content));
    return node;
  } catch {
    // The cause would repeat a part of the file.
    throw new SidekeyError('key_invalid', `The file ${path} does not hold the key of a node.`, {
      hint: hintOf`move it away, then join again: ${remedy('node.enroll', { name: null })} on another node, and ${remedy('node.join')} here`,
    });
  }
}

/** Writes the key of this node (0600). @throws SidekeyError `file_unwritable` */
export async function writeNodeKey(path: string, node: NodeKey): Promise<void> {
  await writePrivateFile(path, `${JSON.stringify({ format: format.value, ...node }, null, 2)}\n`);
}
