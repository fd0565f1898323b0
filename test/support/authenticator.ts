import { isoCBOR } from '@simplewebauthn/server/helpers';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';

/** An authenticator in software: ES256, without an attestation (WebAuthn level 3). */
export interface Authenticator {
  /** `RegistrationResponseJSON` for a challenge. */
  readonly create: (challenge: string, options?: Facts) => object;
  /** `AuthenticationResponseJSON` for a challenge. */
  readonly get: (challenge: string, options?: Facts) => object;
}

/** Facts that an honest client takes from its page and its person. */
export interface Facts {
  readonly origin?: string;
  readonly rpId?: string;
  /** False: the person was present, and gave no PIN, finger or face. */
  readonly isVerified?: boolean;
  readonly counter?: number;
}

/** @param page the origin of the page that asks */
export function createAuthenticator(page: string): Authenticator {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const id = randomBytes(16);
  let uses = 0;

  const clientData = (type: string, challenge: string, { origin = page }: Facts) =>
    Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }));
  const authenticatorData = (facts: Facts, attested: Buffer) => {
    const { rpId = new URL(page).hostname, isVerified = true, counter = (uses += 1) } = facts;
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const flags = 1 | (isVerified ? 4 : 0) | (attested.length > 0 ? 64 : 0);
    return Buffer.concat([createHash('sha256').update(rpId).digest(), Buffer.of(flags), count, attested]);
  };
  const answer = (response: object) => ({
    id: id.toString('base64url'),
    rawId: id.toString('base64url'),
    type: 'public-key',
    clientExtensionResults: {},
    response,
  });

  return {
    create(challenge, facts = {}) {
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      // COSE key (RFC 9053 §7.1).
      const key = new Map<number, number | Uint8Array>([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, new Uint8Array(Buffer.from(x, 'base64url'))],
        [-3, new Uint8Array(Buffer.from(y, 'base64url'))],
      ]);
      const attested = Buffer.concat([Buffer.alloc(16), Buffer.of(0, id.length), id, isoCBOR.encode(key)]);
      const attestation = new Map<string, unknown>([
        ['fmt', 'none'],
        ['attStmt', new Map()],
        ['authData', new Uint8Array(authenticatorData(facts, attested))],
      ]);
      return answer({
        clientDataJSON: clientData('webauthn.create', challenge, facts).toString('base64url'),
        attestationObject: Buffer.from(isoCBOR.encode(attestation as never)).toString('base64url'),
      });
    },
    get(challenge, facts = {}) {
      const data = authenticatorData(facts, Buffer.alloc(0));
      const client = clientData('webauthn.get', challenge, facts);
      const signed = Buffer.concat([data, createHash('sha256').update(client).digest()]);
      return answer({
        clientDataJSON: client.toString('base64url'),
        authenticatorData: data.toString('base64url'),
        signature: sign('sha256', signed, privateKey).toString('base64url'),
      });
    },
  };
}
