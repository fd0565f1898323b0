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
import { replaceFile } from '../lib/os.ts';
import { SidekeyError } from '../lib/errors.ts';
import { openEnvelope, sealEnvelope, type WrapKey } from './envelope.ts';
import { derivedKey, keyIdOf, keyLength, masterKey } from './key-source.ts';
import { readPrivateFile, written } from './wrapped-key.ts';

/**
 * Keys of nodes that get the master key through the store (decision 90). A node has a key pair (X25519), and shares a
 * secret with the other nodes, which both sides derive from the enrolment token. The master key is sealed to both: the
 * public key alone is known to everybody who can read the store.
 */

/** The parts of a node that the other nodes know. */
export interface NodeMember {
  /** Unique. */
  readonly name: string;
  /** X25519 public key, base64url. */
  readonly publicKey: string;
  /** The secret that it shares with the other nodes, base64url. */
  readonly secret: string;
  /** Id of its enrolment, which is used up. */
  readonly enrolment: string;
}

/** A node's own key, as its file has it. */
export interface NodeKey extends NodeMember {
  /** X25519 private key, base64url. */
  readonly privateKey: string;
}

const tokenPrefix = 'sn_';

/** Makes an enrolment token: 256 random bits. The prefix is for secret scanners. */
export function newEnrolmentToken(): string {
  return tokenPrefix + randomBytes(keyLength).toString('base64url');
}

/** Returns the id of an enrolment, which does not reveal its token, and the secret that both sides derive. */
export function enrolmentOf(token: string): { readonly id: string; readonly secret: string } {
  const bytes = /^sn_[\w-]{43}$/.test(token)
    ? Buffer.from(token.slice(tokenPrefix.length), 'base64url')
    : null;
  if (bytes === null) {
    throw new SidekeyError('input_invalid', 'This is no enrolment token: one begins with sn_.', {
      hint: 'make one on a node that runs: sidekey node enroll NAME',
    });
  }
  const secret = derivedKey(createSecretKey(bytes), 'node-secret').export().toString('base64url');
  return { id: hash('sha256', token), secret };
}

/** Returns the proof that who made this key pair has the token: HMAC-SHA256 over name and public key. */
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

/** Makes the key of a node. */
export function newNodeKey(member: Omit<NodeMember, 'publicKey'>): NodeKey {
  const { x = '', d = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  return { ...member, publicKey: x, privateKey: d };
}

/** Returns the id of a node with this key, which is no secret. */
export function nodeKeyId({ publicKey }: Pick<NodeMember, 'publicKey'>): string {
  return hash('sha256', `node ${publicKey}`).slice(0, 16);
}

/** Seals a master key for a node. Only its private key together with the shared secret opens it, and makes another. */
export function sealForNode(master: KeyObject, member: NodeMember): Uint8Array {
  const { x = '', d = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const bytes = master.export();
  try {
    const shared = agree({ publicKey: x, privateKey: d }, member.publicKey);
    return Buffer.concat([
      Buffer.from(x, 'base64url'),
      sealEnvelope(wrapKey(shared, member, x), contextOf(member), bytes),
    ]);
  } finally {
    bytes.fill(0);
  }
}

/** Opens what `sealForNode` made. @throws SidekeyError `record_tampered` */
export function openForNode(node: NodeKey, sealed: Uint8Array): KeyObject {
  const x = Buffer.from(sealed.subarray(0, keyLength)).toString('base64url');
  let bytes: Buffer;
  try {
    const key = wrapKey(agree(node, x), node, x);
    bytes = openEnvelope(key, contextOf(node), sealed.subarray(keyLength));
  } catch (cause) {
    throw new SidekeyError(
      'record_tampered',
      `The master key that is sealed for the node ${node.name} does not open.`,
      {
        hint: 'join again: sidekey node enroll NAME on another node, then sidekey node join here',
        cause,
      },
    );
  }
  try {
    return masterKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

type Pair = Pick<NodeKey, 'publicKey' | 'privateKey'>;

/** Diffie-Hellman (RFC 7748). Throws for a public key that gives no secret. */
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
  const key = masterKey(bytes);
  bytes.fill(0);
  return { key, id: keyIdOf(key) };
}

function contextOf({ name }: Pick<NodeMember, 'name'>): string {
  return `node-key/${name}`;
}

const text = z.base64url().length(43);

/** The shape of the parts of a node that the others know. */
export const memberShape = z.strictObject({
  name: z.string(),
  publicKey: text,
  secret: text,
  enrolment: z.string(),
});

const fileShape = memberShape.extend({ format: z.literal('sidekey-node-key/1'), privateKey: text });

/** Reads the key of this node. Null: there is no such file. @throws SidekeyError `key_invalid`, `permissions_unsafe` */
export async function readNodeKey(path: string): Promise<NodeKey | null> {
  const content = await readPrivateFile(path);
  if (content === null) return null;
  try {
    const { format: _, ...node } = fileShape.parse(JSON.parse(content));
    return node;
  } catch {
    // The cause would repeat a part of the file.
    throw new SidekeyError('key_invalid', `The file ${path} does not hold the key of a node.`);
  }
}

/** Writes the key of this node (0600). @throws SidekeyError `file_unwritable` */
export async function writeNodeKey(path: string, node: NodeKey): Promise<void> {
  const content = `${JSON.stringify({ format: 'sidekey-node-key/1', ...node }, null, 2)}\n`;
  await written(path, () => replaceFile(path, content, 0o600));
}
