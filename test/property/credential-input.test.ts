import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import { SidekeyError } from '../../src/lib/errors.ts';
import { readCredential, type CredentialInput } from '../../src/grants/credential-input.ts';
import { readJson, type Json } from '../../src/lib/json.ts';
import { fieldsFor } from '../../src/proxy/schemes/apply.ts';

const now = Date.UTC(2027, 0, 1);
const bearer = { kind: 'bearer' } as const;

/** The parsed input, or null if it was refused as expected. */
function read(text: string): CredentialInput | null {
  try {
    return readCredential(text, { now: () => now });
  } catch (error) {
    if (error instanceof SidekeyError && error.code === 'input_invalid' && error.hint !== undefined)
      return null;
    throw error;
  }
}

const names = fc.constantFrom(
  'type',
  'access_token',
  'accessToken',
  'refresh_token',
  'token_type',
  'expires_in',
  'expires_at',
  'scope',
  'client_id',
  'client_secret',
  'token_endpoint',
  'value',
  'api_key',
  'username',
  'password',
  'headers',
  'access_key_id',
  'secret_access_key',
  'x',
);
const values = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('oauth2', 'api_key', 'jwt', 'basic', 'headers', 'Bearer', 'https://a.test/', 'a b'),
  fc.double(),
  fc.jsonValue(),
);

test('any text is accepted, or refused with a hint', () => {
  fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => void read(text)));
});

test('an accepted credential can be injected unchanged', () => {
  fc.assert(
    fc.property(fc.dictionary(names, values, { maxKeys: 4 }), (input) => {
      const accepted = read(JSON.stringify(input));
      if (accepted === null) return;
      const { credential } = accepted;
      if (credential.type === 'oauth2' && credential.accessToken === null) return;
      for (const [, value] of fieldsFor(credential, bearer)) expect(value).toMatch(/^[\x20-\x7e]+$/);
    }),
    { numRuns: 500 },
  );
});

test('a credential that cannot be injected is refused', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1 }), (value) => {
      const accepted = read(JSON.stringify({ type: 'api_key', value }));
      let injectable = true;
      try {
        fieldsFor({ type: 'api_key', value }, { kind: 'header', name: 'X-Key', prefix: '' });
      } catch {
        injectable = false;
      }
      expect(accepted !== null).toBe(injectable);
    }),
  );
});

test('an expiry means the same in seconds, in milliseconds, as a text and in ISO 8601', () => {
  fc.assert(
    fc.property(fc.integer({ min: -63_000_000, max: 315_000_000 }), (offset) => {
      const seconds = now / 1000 + offset;
      for (const at of [
        seconds,
        seconds * 1000,
        `${seconds}`,
        `${seconds * 1000}`,
        new Date(seconds * 1000).toISOString(),
      ]) {
        expect(read(JSON.stringify({ access_token: 'a', expires_at: at }))?.credential).toMatchObject({
          expiresAt: seconds * 1000,
        });
      }
    }),
  );
});

test('the JSON reader accepts and refuses the same texts as JSON.parse', () => {
  const plain = (value: Json): unknown =>
    value instanceof Map
      ? Object.fromEntries([...value].map(([name, item]: [string, Json]) => [name, plain(item)]))
      : Array.isArray(value)
        ? value.map(plain)
        : value;
  const nested = fc.json({ maxDepth: 6 });
  const broken = fc.tuple(nested, fc.nat(), fc.string({ maxLength: 2 })).map(([text, at, noise]) => {
    const cut = at % (text.length + 1);
    return text.slice(0, cut) + noise + text.slice(cut + 1);
  });
  fc.assert(
    fc.property(fc.oneof(nested, broken), (text) => {
      let expected: { value: unknown } | null = null;
      try {
        expected = { value: JSON.parse(text) };
      } catch {
        // Not JSON.
      }
      const reading = readJson(text);
      if (!reading.ok && reading.problem.includes('stands twice')) return;
      expect(reading.ok).toBe(expected !== null);
      if (reading.ok) expect(plain(reading.value)).toEqual(expected?.value);
    }),
    { numRuns: 1_000 },
  );
});
