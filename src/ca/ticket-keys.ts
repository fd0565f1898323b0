import { createHmac, randomBytes } from 'node:crypto';

/**
 * Keys for session tickets of TLS (RFC 5077, RFC 8446 §4.6.1), with which a client's second handshake needs no
 * certificate. They are derived for each host: OpenSSL does not hold the server name of a TLS 1.3 handshake against that
 * of the session, so what keeps a ticket of one host from another is that the other cannot open it. So does a client
 * that came by another CA. Nothing of them is written anywhere.
 */
export interface TicketKeys {
  /** Which keys are in use; those of another period open no ticket of this one. */
  periodAt(now: number): number;
  /** 48 bytes, as `tls.createSecureContext` takes them: a name, a MAC key, a cipher key. The same for the same facts. */
  keysFor(facts: TicketFacts): Buffer;
}

/** What tickets are bound to. */
export interface TicketFacts {
  /** Canonical. */
  readonly host: string;
  /** Fingerprint of the CA. */
  readonly authority: string;
  /** See `periodAt`. */
  readonly period: number;
}

/** Bytes of the material that keys are derived from. */
export const ticketMaterialBytes = 48;

/** A day, by the clock, so that all processes change at once. Tickets live for two hours. */
const periodMs = 86_400_000;

/**
 * @param material At least 32 random bytes, which all workers of one proxy share. Default: fresh ones, so that tickets
 * end with the process.
 * @throws Error where the material is too short
 */
export function createTicketKeys(material: Uint8Array = randomBytes(ticketMaterialBytes)): TicketKeys {
  if (material.length < 32) throw new Error('The material of ticket keys is too short.');
  const secret = Buffer.from(material);
  return {
    periodAt: (now) => Math.floor(now / periodMs),
    // SHA-384 has as many bytes as are needed. No fact has a line break in it.
    keysFor: ({ host, authority, period }) =>
      createHmac('sha384', secret).update(`sidekey tls tickets\n${period}\n${authority}\n${host}`).digest(),
  };
}
