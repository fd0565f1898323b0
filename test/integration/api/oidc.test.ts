import { expect, test } from 'vitest';
import { startWithIssuer } from '../../support/open-id-server.ts';

test('a sign-in at the issuer creates the person with the role from the claims, and returns to the requested view', async () => {
  const { browser, call, server, sidekey } = await startWithIssuer();
  const alice = browser();
  expect((await alice.open('GET /sign-in/oidc')).body).toEqual({ issuer: server.issuer, keeps: false });
  expect((await alice.signIn('/#audit')).body.return_to).toBe('/#audit');
  expect(await alice.me()).toMatchObject({ name: 'alice', role: 'operator' });
  const [person] = (await call('GET /v2/people')).body.data;
  expect(person).toMatchObject({ name: 'alice', role: 'operator', identity: `${server.issuer}/ a-1` });
  const events = (await sidekey.audit()).map(({ event, by, reason }) => `${event} ${by}: ${reason}`);
  const { host } = new URL(server.issuer);
  expect(events).toContain(`person.created alice: alice, role operator, by the claims of ${host}`);
  expect(events).toContain(`person.signed_in alice: at ${host}`);
  expect((await alice.open('POST /sign-out')).status).toBe(204);
  expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
});

test('a service without admin.oidc names no issuer, and starts no sign-in', async () => {
  const { browser, sidekey } = await startWithIssuer();
  await sidekey.configure({ admin: { listen: '127.0.0.1:0' } });
  const someone = browser();
  expect((await someone.open('GET /sign-in/oidc')).body).toEqual({ issuer: null, keeps: false });
  expect((await someone.open('POST /sign-in/oidc', { body: { return_to: '/' } })).status).toBe(404);
});

test('claims missing from the ID token are read from the userinfo endpoint', async () => {
  const { browser, account } = await startWithIssuer({ inIdToken: false });
  account.claims = { email: 'bob@acme.test', email_verified: true, preferred_username: 'bob' };
  const bob = browser();
  await bob.signIn();
  expect(await bob.me()).toMatchObject({ name: 'bob', role: 'user', user: 'bob' });
});

test('a role changed at the issuer applies from the next sign-in', async () => {
  const { browser, account, call } = await startWithIssuer();
  await browser().signIn();
  account.claims = { groups: ['staff'], preferred_username: 'another-name' };
  const alice = browser();
  await alice.signIn();
  expect(await alice.me()).toMatchObject({ name: 'alice', role: 'user' });
  expect((await call('GET /v2/people')).body.data).toHaveLength(1);
});

test('of several roles the highest applies, in the order operator, approver, auditor, user', async () => {
  const { browser, account } = await startWithIssuer();
  account.claims = { groups: ['staff', 'admins'], preferred_username: 'alice' };
  const alice = browser();
  await alice.signIn();
  expect(await alice.me()).toMatchObject({ role: 'operator' });
});

test.each([
  ['a path of nested claims', { 'realm_access.roles': ['ops'] }, { realm_access: { roles: ['ops'] } }],
  [
    'a claim with dots in its name',
    { 'https://acme.test/role': ['ops'] },
    { 'https://acme.test/role': 'ops' },
  ],
])('a role can be defined by %s', async (_, operator, claims) => {
  const { browser, account } = await startWithIssuer({
    inIdToken: true,
    oidc: { roles: { operator }, name: 'sub' },
  });
  account.claims = claims;
  const alice = browser();
  await alice.signIn();
  expect(await alice.me()).toMatchObject({ name: 'a-1', role: 'operator' });
});

test.each([
  ['email', 'bob@acme.test', 'bob@acme.test'],
  ['sub', 'auth0|7', 'auth0|7'],
  ['preferred_username', 'bob@acme.test', 'bob_at_acme.test'],
])(
  'a person is named by the claim %s %s as %s, and owns the grants of that user',
  async (claim, value, name) => {
    const { browser, account } = await startWithIssuer({ oidc: { name: claim } });
    account.claims = { email: 'bob@acme.test', email_verified: true, [claim]: value };
    if (claim === 'sub') account.sub = value;
    const bob = browser();
    await bob.signIn();
    expect(await bob.me()).toMatchObject({ name, role: 'user', user: name });
  },
);

test.each([
  [
    'is no name',
    'preferred_username',
    { preferred_username: 'auth0|7' },
    'names you auth0|7 (claim preferred_username), which',
  ],
  ['is missing', 'preferred_username', {}, 'has no claim preferred_username to'],
  [
    'is an e-mail address that is not verified',
    'email',
    { email: 'a@b.c' },
    'has no verified e-mail address to',
  ],
])(
  'an account whose claim %s is refused, and the page names the setting to change',
  async (_, name, claims, sentence) => {
    const { browser, account, call } = await startWithIssuer({ oidc: { name } });
    account.claims = { groups: ['admins'], ...claims };
    const page = await browser().signIn();
    expect(page.status).toBe(400);
    expect(page.body.detail).toContain(sentence);
    expect(page.body.hint).toContain('set admin.oidc.name to another claim, such as sub');
    expect((await call('GET /v2/people')).body.data).toEqual([]);
  },
);

test('a person who declines at the issuer sees the reason', async () => {
  const { browser, server, url } = await startWithIssuer();
  const alice = browser();
  const state = new URL(await alice.begin()).searchParams.get('state');
  const page = await alice.answer(
    `${url}/sign-in/oidc/callback?error=access_denied&state=${state}&iss=${server.issuer}`,
  );
  expect(page.body.detail).toContain('said no to the sign-in');
});

test('a wrong client secret is refused by the issuer, and the page does not contain the secret', async () => {
  const { browser } = await startWithIssuer({
    oidc: { client_secret: 'command:echo wrong-secret-of-sidekey' },
  });
  const page = await browser().signIn();
  expect(page.text).toContain('provider_refused');
  expect(page.text).not.toContain('wrong-secret');
});
