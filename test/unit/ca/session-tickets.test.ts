import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createLeafCache, createTicketKeys } from '../../../src/ca/leaf-cache.ts';
import { freshAuthority } from './ca-for-test.ts';
import { handshakeWith } from './resumption.ts';

const dayMs = 86_400_000;

describe('the keys of session tickets', () => {
  const facts = { host: 'a.test', authority: 'f1', period: 7 };

  it('are 48 bytes, and equal for equal material', () => {
    const material = randomBytes(48);
    const keys = createTicketKeys(material).keysFor(facts);
    expect(keys).toHaveLength(48);
    expect(createTicketKeys(material).keysFor(facts)).toStrictEqual(keys);
  });

  it('differ for other material, another host, another CA and another day', () => {
    const material = randomBytes(48);
    const tickets = createTicketKeys(material);
    const all = [
      tickets.keysFor(facts),
      tickets.keysFor({ ...facts, host: 'b.test' }),
      tickets.keysFor({ ...facts, authority: 'f2' }),
      tickets.keysFor({ ...facts, period: 8 }),
      createTicketKeys().keysFor(facts),
    ];
    // Also the first 16 bytes, by which OpenSSL finds the key.
    expect(new Set(all.map((keys) => keys.toString('hex', 0, 16))).size).toBe(all.length);
  });

  it('change with the day', () => {
    const tickets = createTicketKeys();
    const midnight = Date.UTC(2027, 0, 2);
    expect(tickets.periodAt(midnight - 1)).toBe(tickets.periodAt(midnight - dayMs));
    expect(tickets.periodAt(midnight)).toBe(tickets.periodAt(midnight - 1) + 1);
  });

  it('cannot be derived from material that is too short', () => {
    expect(() => createTicketKeys(randomBytes(31))).toThrowError('too short');
  });
});

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session ticket of %s', (version) => {
  it('resumes the next connection, also at another worker', async () => {
    const authority = await freshAuthority();
    const material = randomBytes(48);
    const worker = () =>
      createLeafCache({ authority: () => authority, now: Date.now, tickets: createTicketKeys(material) });
    const client = { ca: authority.certificatePem, host: 'a.test', version };
    const cache = worker();
    const first = await handshakeWith(cache.secureContextFor('a.test'), client);
    const again = { ...client, session: first.session };
    expect(first.isResumed).toBe(false);
    expect((await handshakeWith(cache.secureContextFor('a.test'), again)).isResumed).toBe(true);
    expect((await handshakeWith(worker().secureContextFor('a.test'), again)).isResumed).toBe(true);
  });

  it('resumes behind a new leaf of its host', async () => {
    const authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: Date.now, capacity: 1 });
    const client = { ca: authority.certificatePem, host: 'a.test', version };
    const before = cache.secureContextFor('a.test');
    const { session } = await handshakeWith(before, client);
    cache.secureContextFor('b.test');
    const after = cache.secureContextFor('a.test');
    expect(after).not.toBe(before);
    expect((await handshakeWith(after, { ...client, session })).isResumed).toBe(true);
  });

  it('does not resume at another host, whatever server name the client sends', async () => {
    const authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    const client = { ca: authority.certificatePem, host: 'a.test', version };
    const { session } = await handshakeWith(cache.secureContextFor('a.test'), client);
    const other = cache.secureContextFor('b.test');
    const honest = await handshakeWith(other, { ...client, host: 'b.test', session });
    expect(honest.isResumed).toBe(false);
    // The client sends the name of the first host and gets the leaf of the second.
    await expect(handshakeWith(other, { ...client, session })).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
  });

  it('does not resume with another CA', async () => {
    const [one, two] = [await freshAuthority(), await freshAuthority()];
    let authority = one;
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    const client = { ca: one.certificatePem + two.certificatePem, host: 'a.test', version };
    const { session } = await handshakeWith(cache.secureContextFor('a.test'), client);
    authority = two;
    const after = await handshakeWith(cache.secureContextFor('a.test'), { ...client, session });
    expect(after.isResumed).toBe(false);
  });

  it('resumes for one day; then a full handshake follows with the same leaf', async () => {
    let now = Math.floor(Date.now() / dayMs) * dayMs;
    const authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: () => now });
    const client = { ca: authority.certificatePem, host: 'a.test', version };
    const { session } = await handshakeWith(cache.secureContextFor('a.test'), client);
    now += dayMs - 1;
    expect((await handshakeWith(cache.secureContextFor('a.test'), { ...client, session })).isResumed).toBe(
      true,
    );
    now += 1;
    const next = await handshakeWith(cache.secureContextFor('a.test'), { ...client, session });
    expect(next.isResumed).toBe(false);
    expect(cache.size).toBe(1);
  });
});
