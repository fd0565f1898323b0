import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { bareHost } from '../proxy/policy/authority.ts';
import type { PasskeyRecord, PersonRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';
import { sessionId } from '../grants/sessions.ts';

/**
 * Passkeys of people (WebAuthn level 3). A passkey signs in without a name: the authenticator finds it by the
 * host of the page. It must verify the person, by a PIN or a biometric, because it is the only factor.
 */

/** Milliseconds for a ceremony. */
const ceremonyMs = 300_000;
/** Maximum number of passkeys of a person. */
const maxPasskeys = 20;
const nonceBytes = 16;
/** EdDSA, ES256 and RS256 by their COSE numbers. */
const supportedAlgorithmIDs = [-8, -7, -257];

/** Page of a ceremony. */
interface Site {
  readonly origin: string;
  /** Relying party: the host. */
  readonly rpID: string;
}

type PasskeyParts = Pick<ServiceParts, 'store' | 'vault' | 'now'>;

interface Passkeys {
  /** @throws SidekeyError `input_invalid` if the page has no name, or the person has too many passkeys */
  creationOptions(person: string, origin: string | null): Promise<PublicKeyCredentialCreationOptionsJSON>;
  /** Returns a new passkey, for the caller to store. @throws SidekeyError `input_invalid` if it is invalid */
  created(person: string, origin: string | null, made: Registration): Promise<PasskeyRecord>;
  /** @throws SidekeyError `input_invalid` if the page has no name */
  requestOptions(origin: string | null): Promise<PublicKeyCredentialRequestOptionsJSON>;
  /** Returns the owner of the passkey; null if it is invalid, or its owner may not use passkeys. */
  personOf(origin: string | null, response: AuthenticationResponseJSON): Promise<PersonRecord | null>;
}

interface Registration {
  readonly response: RegistrationResponseJSON;
  readonly label: string;
}

export function createPasskeys({ store, vault, now }: PasskeyParts): Passkeys {
  const seal = (person: string | null, head: Buffer) =>
    Buffer.from(vault.mac('passkey', `challenge/${person ?? ''}/${head.toString('hex')}`), 'hex');

  /** Returns a challenge that needs no record: its seal holds its expiry and its person. */
  function challengeFor(person: string | null): Uint8Array<ArrayBuffer> {
    const end = Buffer.alloc(8);
    end.writeBigUInt64BE(BigInt(now() + ceremonyMs));
    const head = Buffer.concat([randomBytes(nonceBytes), end]);
    return new Uint8Array(Buffer.concat([head, seal(person, head)]));
  }

  function isOurs(person: string | null, challenge: string): boolean {
    const bytes = Buffer.from(challenge, 'base64url');
    const head = bytes.subarray(0, nonceBytes + 8);
    if (head.length < nonceBytes + 8) return false;
    const expected = seal(person, head);
    const given = bytes.subarray(head.length);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
    return Number(head.readBigUInt64BE(nonceBytes)) > now();
  }

  /** Uses up a challenge. Returns false if it was used before. */
  async function use(clientData: string): Promise<boolean> {
    const { challenge } = JSON.parse(Buffer.from(clientData, 'base64url').toString('utf8')) as {
      readonly challenge: string;
    };
    const id = sessionId('passkey-challenge', challenge);
    await store.sessions.removeEnded(now());
    await vault.refresh();
    try {
      const sealed = vault.seal(`passkey-challenge/${id}`, Buffer.alloc(0));
      await store.sessions.insert({ id, expiresAt: now() + ceremonyMs, sealed });
      return true;
    } catch (error) {
      if (error instanceof SidekeyError && error.code === 'already_exists') return false;
      throw error;
    }
  }

  return {
    async creationOptions(person, origin) {
      const { rpID } = siteOf(origin);
      if ((await store.people.get(person))?.identity !== null) {
        throw inputInvalid(
          'You sign in at the issuer of admin.oidc, and need no passkey.',
          'add the passkey to your account there',
        );
      }
      const own = await store.people.passkeys.list(person);
      if (own.length >= maxPasskeys) {
        throw inputInvalid(`A person has at most ${maxPasskeys} passkeys.`, 'remove one that you do not use');
      }
      const { generateRegistrationOptions } = await import('@simplewebauthn/server');
      return generateRegistrationOptions({
        rpName: 'Sidekey',
        rpID,
        userName: person,
        // Equal for all passkeys of a person, so that a new one replaces the old one of an authenticator.
        userID: new Uint8Array(Buffer.from(vault.mac('passkey', `user/${person}`), 'hex')),
        challenge: challengeFor(person),
        timeout: ceremonyMs,
        supportedAlgorithmIDs,
        excludeCredentials: own.map(({ id }) => ({ id })),
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      });
    },
    async created(person, origin, { response, label }) {
      const { origin: expectedOrigin, rpID: expectedRPID } = siteOf(origin);
      const { verifyRegistrationResponse } = await import('@simplewebauthn/server');
      const checked = await verifyRegistrationResponse({
        response,
        expectedChallenge: (challenge) => isOurs(person, challenge),
        expectedOrigin,
        expectedRPID,
        supportedAlgorithmIDs,
      }).catch(() => null);
      if (checked?.verified !== true || !(await use(response.response.clientDataJSON))) throw notValid();
      const { id, publicKey, counter } = checked.registrationInfo.credential;
      return { id, person, publicKey, counter, label, createdAt: now(), usedAt: null };
    },
    async requestOptions(origin) {
      const { generateAuthenticationOptions } = await import('@simplewebauthn/server');
      return generateAuthenticationOptions({
        rpID: siteOf(origin).rpID,
        challenge: challengeFor(null),
        timeout: ceremonyMs,
        userVerification: 'required',
      });
    },
    async personOf(origin, response) {
      const { origin: expectedOrigin, rpID: expectedRPID } = siteOf(origin);
      const passkey = await store.people.passkeys.get(response.id);
      if (passkey === null) return null;
      const { id, publicKey, counter } = passkey;
      const { verifyAuthenticationResponse } = await import('@simplewebauthn/server');
      const checked = await verifyAuthenticationResponse({
        response,
        expectedChallenge: (challenge) => isOurs(null, challenge),
        expectedOrigin,
        expectedRPID,
        credential: { id, publicKey: new Uint8Array(publicKey), counter },
      }).catch(() => null);
      if (checked?.verified !== true || !(await use(response.response.clientDataJSON))) return null;
      const person = await store.people.get(passkey.person);
      if (person === null || person.disabledAt !== null || person.identity !== null) return null;
      await store.people.passkeys.used(id, { counter: checked.authenticationInfo.newCounter, at: now() });
      return person;
    },
  };
}

/**
 * Returns the page of a request, whose origin was already compared with its host.
 *
 * @throws SidekeyError `input_invalid` for an address: passkeys belong to a name (WebAuthn §5.1.2)
 */
function siteOf(origin: string | null): Site {
  const url = URL.parse(origin ?? '');
  if (url !== null && isIP(bareHost(url.hostname)) === 0) return { origin: url.origin, rpID: url.hostname };
  const local = url === null ? 'the page of Sidekey' : `http://localhost:${url.port}`;
  throw new SidekeyError('input_invalid', 'A passkey belongs to a name, and this page has an address.', {
    hint: `sign in at ${local}, or set admin.url to a name`,
  });
}

function notValid(): SidekeyError {
  return new SidekeyError('input_invalid', 'The answer of the authenticator is not valid.', {
    hint: 'begin again within 5 minutes, with a device that asks for a PIN, a finger or a face',
  });
}
