import { describe, expect, it } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { createAuthenticator, type Facts } from '../support/authenticator.ts';
import { startService, type TestService } from '../support/service.ts';

type Answer = Awaited<ReturnType<TestService['call']>>;

/** Returns the field that a page sends after a sign-in. */
const sessionOf = ({ body }: Answer) => ({ authorization: `Bearer ${body.session}` });

/** A service at `localhost` with people who are signed in, and an authenticator of alice. */
async function withPeople(now = Date.now) {
  const service = await startService({ now });
  const page = service.url.replace('127.0.0.1', 'localhost');
  const ask = (
    request: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
    base = page,
  ) =>
    service.call(request, {
      key: null,
      base,
      ...(body === undefined ? {} : { body }),
      headers: { origin: base, 'sec-fetch-site': 'same-origin', ...headers },
    });
  const signedIn = async (name: string) => {
    await service.call('POST /v2/people', { body: { name, role: 'operator' } });
    const { path } = await makeSignInLink({ ...service.sidekey.proxy.state, now }, name);
    return sessionOf(await ask(`POST ${path}`));
  };
  const alice = await signedIn('alice');
  const authenticator = createAuthenticator(page);
  const challenge = async (request: string, headers = {}) =>
    (await ask(request, undefined, headers)).body.challenge as string;
  const creation = (who = alice) => challenge('POST /v2/me/passkeys/options', who);
  const request = () => challenge('POST /sign-in/passkey/options');
  const add = async (facts: Facts = {}, of = creation()) =>
    ask('POST /v2/me/passkeys', { label: 'laptop', response: authenticator.create(await of, facts) }, alice);
  const signIn = async (facts: Facts = {}, of = request()) =>
    ask('POST /sign-in/passkey', authenticator.get(await of, facts));
  return { ...service, page, ask, signedIn, alice, authenticator, creation, request, add, signIn };
}

describe('a passkey', () => {
  it('is refused for a person who signs in at the issuer, because it would outlive the account there', async () => {
    const { add, signIn, signedIn, ask, alice, sidekey } = await withPeople();
    expect((await add()).status).toBe(201);
    await sidekey.proxy.state.store.people.change('alice', { identity: 'https://login.acme.test/ a-1' });
    expect((await signIn()).status).toBe(401);
    expect((await ask('POST /v2/me/passkeys/options', undefined, alice)).status).toBe(401);
    const byLink = await signedIn('alice');
    const more = await ask('POST /v2/me/passkeys/options', undefined, byLink);
    expect([more.status, more.body.code]).toEqual([400, 'input_invalid']);
  });

  it('signs its person in with a new session, and appears in the audit log', async () => {
    const { add, signIn, ask, alice, sidekey } = await withPeople();
    const added = await add();
    expect(added.status).toBe(201);
    const session = await signIn();
    expect(session.status).toBe(200);
    const own = sessionOf(session);
    expect(own).not.toEqual(alice);
    expect((await ask('GET /v2/me', undefined, own)).body.name).toBe('alice');
    const [listed] = (await ask('GET /v2/me/passkeys', undefined, own)).body.data;
    expect(listed).toMatchObject({ label: 'laptop', used_at: expect.stringMatching(/Z$/) });
    expect((await ask(`DELETE /v2/me/passkeys/${listed.id}`, undefined, own)).status).toBe(204);
    expect((await signIn()).status).toBe(401);
    expect((await sidekey.audit()).map(({ event, by, reason }) => `${event} ${by}: ${reason}`)).toEqual(
      expect.arrayContaining([
        'person.changed alice: alice, passkey added: laptop',
        'person.signed_in alice: by a passkey',
        'person.changed alice: alice, passkey removed: laptop',
      ]),
    );
  });

  it('of a page with another origin or host can neither be added nor used', async () => {
    const { add, signIn, page } = await withPeople();
    const elsewhere: readonly Facts[] = [
      { origin: 'https://evil.example' },
      { rpId: 'evil.example' },
      { origin: page.replace('http:', 'https:') },
    ];
    for (const facts of elsewhere) expect((await add(facts)).body.code).toBe('input_invalid');
    expect((await add()).status).toBe(201);
    for (const facts of elsewhere) expect((await signIn(facts)).status).toBe(401);
    expect((await signIn()).status).toBe(200);
  });

  it('without a PIN, a finger or a face can neither be added nor used', async () => {
    const { add, signIn } = await withPeople();
    expect((await add({ isVerified: false })).body.code).toBe('input_invalid');
    expect((await add()).status).toBe(201);
    expect((await signIn({ isVerified: false })).status).toBe(401);
  });

  it('is refused with a challenge that was used, expired, forged or of another person', async () => {
    let at = Date.now();
    const { add, signIn, creation, request, signedIn } = await withPeople(() => at);
    const bob = await signedIn('bob');
    expect((await add({}, creation(bob))).body.code).toBe('input_invalid');
    expect((await add({}, request())).body.code).toBe('input_invalid');
    const first = await creation();
    expect((await add({}, Promise.resolve(first))).status).toBe(201);
    expect((await add({}, Promise.resolve(first))).body.code).toBe('input_invalid');

    const used = await request();
    expect((await signIn({}, Promise.resolve(used))).status).toBe(200);
    expect((await signIn({}, Promise.resolve(used))).status).toBe(401);
    expect((await signIn({}, creation())).status).toBe(401);
    const forged = Buffer.from(await request(), 'base64url');
    forged[20] = (forged[20] ?? 0) ^ 1;
    expect((await signIn({}, Promise.resolve(forged.toString('base64url')))).status).toBe(401);
    const late = await request();
    at += 300_000;
    expect((await signIn({}, Promise.resolve(late))).status).toBe(401);
    expect((await signIn()).status).toBe(200);
  });

  it('is refused if its counter shows that it was copied', async () => {
    const { add, signIn } = await withPeople();
    await add({ counter: 5 });
    expect((await signIn({ counter: 9 })).status).toBe(200);
    expect((await signIn({ counter: 9 })).status).toBe(401);
    expect((await signIn({ counter: 10 })).status).toBe(200);
  });

  it('cannot sign in a person who is disabled or removed', async () => {
    const { add, signIn, call } = await withPeople();
    await add();
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await signIn()).status).toBe(401);
    await call('PATCH /v2/people/alice', { body: { disabled: false } });
    expect((await signIn()).status).toBe(200);
    await call('DELETE /v2/people/alice');
    await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
    expect((await signIn()).status).toBe(401);
  });

  it('cannot be used by a page of another origin or by a key', async () => {
    const { add, authenticator, request, ask, call } = await withPeople();
    await add();
    const answer = authenticator.get(await request());
    const crossing = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
    expect((await ask('POST /sign-in/passkey', answer, crossing)).body.code).toBe('authority_mismatch');
    expect((await ask('POST /sign-in/passkey/options', undefined, crossing)).body.code).toBe(
      'authority_mismatch',
    );
    expect((await call('GET /v2/me/passkeys')).body.code).toBe('scope_missing');
  });

  it('that is refused counts like a wrong key: many are slowed down, and a valid passkey is still accepted', async () => {
    const { add, signIn, call } = await withPeople();
    await add();
    for (let i = 0; i < 19; i += 1) expect((await signIn({ isVerified: false })).status).toBe(401);
    expect((await call('GET /v2/me', { key: 'sk_wrong' })).status).toBe(401);
    const { status, headers } = await signIn({ isVerified: false });
    expect(status).toBe(429);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await signIn()).status).toBe(200);
  });

  it('needs a page whose address has a host name', async () => {
    const { ask, url, page } = await withPeople();
    const { status, body } = await ask('POST /sign-in/passkey/options', undefined, {}, url);
    expect(status).toBe(400);
    expect(body.hint).toContain(page);
  });
});
