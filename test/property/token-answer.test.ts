import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import { renew } from '../../src/grants/oauth/renewal.ts';
import { hour, oauth2, processesForTest, start } from '../unit/grants/processes.ts';

const visible = Array.from({ length: 94 }, (_, index) => String.fromCharCode(0x21 + index));
const token = fc
  .array(fc.constantFrom(...visible), { minLength: 1, maxLength: 60 })
  .map((all) => all.join(''));
const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.double().filter(Number.isFinite),
  fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(Number),
  fc.constantFrom(null, '', ' ', 'null', [], {}, true, 0, -1, 1e300, '3600', [3600]),
);
const bearer = fc.constantFrom(undefined, null, '', 'Bearer', 'bearer ', 'BearerToken', 'bearer_token', [
  'Bearer',
]);
const names = [
  'expires_in',
  'scope',
  'id_token',
  'error',
  'issued_token_type',
  '__proto__',
  'constructor',
  'user',
];

type Member = readonly [name: string, value: unknown];
const others: fc.Arbitrary<Member[]> = fc.array(fc.tuple(fc.constantFrom(...names), odd), { maxLength: 8 });
const refreshTokens: fc.Arbitrary<Member[]> = fc.array(
  fc.tuple(fc.constant('refresh_token'), fc.oneof(token, odd)),
  { maxLength: 3 },
);
/** JSON text of members in any order, some of them twice. */
const written = (members: readonly Member[]) =>
  `{${members
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)
    .join(',')}}`;
const encoded = fc.constantFrom<(text: string) => Buffer>(
  (text) => Buffer.from(text),
  (text) => Buffer.from(`\ufeff${text}`),
  (text) => Buffer.from(`\ufeff${text}`, 'utf16le'),
);

/** Refresh token that a response leaves in the grant: the last one that is a text or a positive integer. */
function expectedRefreshToken(members: readonly Member[]): string {
  const last = members.findLast(([name]) => name === 'refresh_token')?.[1];
  if (typeof last === 'string' && last.trim() !== '') return last;
  return typeof last === 'number' && Number.isSafeInteger(last) && last > 0 ? String(last) : 'refresh-1';
}

/** Refreshes ended grants of one store, whose provider sends the given bodies. */
async function grants() {
  const at = await processesForTest();
  let body: Buffer = Buffer.of();
  const { registry, source } = await at.process({
    refresh: (request, io) =>
      renew(request, { ...io, fetch: async () => new Response(new Uint8Array(body)), now: at.time.now }),
  });
  await at.time.advance(hour);
  let count = 0;
  return async (answer: Buffer) => {
    body = answer;
    count += 1;
    const grant = await registry.add(
      { name: `acme-${count}`, user: 'default', provider: 'acme', scopes: ['read'] },
      { credential: oauth2(), audience: ['helpdesk.acme.test'] },
    );
    const { kind } = await source.tokenFor(grant.id);
    const opened = await registry.read(grant.id);
    const credential = opened?.sealed.credential;
    if (credential?.type !== 'oauth2') throw new Error('no tokens');
    return { kind, state: opened?.grant.state, ...credential };
  };
}

test('a usable access token is stored with the right refresh token, whatever the other members are', async () => {
  const refresh = await grants();
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(token, bearer, refreshTokens, others).chain(([access, type, ...rest]) => {
        const all: Member[] = [['access_token', access], ['token_type', type], ...rest.flat()];
        const shuffled = fc.shuffledSubarray(all, { minLength: all.length });
        return shuffled.map((members) => ({ access, members }));
      }),
      encoded,
      async ({ access, members }, encode) => {
        const stored = await refresh(encode(written(members)));
        expect(stored).toMatchObject({
          kind: 'ready',
          state: 'active',
          accessToken: access,
          refreshToken: expectedRefreshToken(members),
        });
        expect(stored.expiresAt === null || stored.expiresAt > start + hour).toBe(true);
      },
    ),
  );
});

test('a new refresh token is stored even if the access token beside it cannot be used', async () => {
  const refresh = await grants();
  await fc.assert(
    fc.asyncProperty(odd, odd, token, async (access_token, token_type, refreshToken) => {
      const { state, ...stored } = await refresh(
        Buffer.from(JSON.stringify({ access_token, token_type, refresh_token: refreshToken })),
      );
      expect(stored.refreshToken).toBe(refreshToken);
      expect(state).not.toBe('reauth_required');
      if (stored.kind !== 'ready') expect(stored.accessToken).toBe('access-1');
    }),
  );
});
