import { chmod, readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { makeSignInLink } from '../../../src/operations/sign-in-link.ts';
import { home } from '../../support/command-line.ts';
import { startService } from '../../support/service.ts';

/** Two services in which alice is signed in, and a home whose browser allows each login. */
async function setup() {
  const at = await home();
  const sites = await Promise.all([site(), site()]);
  const program = at.at('browser');
  const sessions = Object.fromEntries(sites.map(({ url, session }) => [url, session]));
  await writeFile(
    program,
    `#!${process.execPath}
const sessions = ${JSON.stringify(sessions)};
async function allow(address) {
  const page = new URL((await fetch(address, { redirect: 'manual' })).headers.get('location'));
  const [, port, challenge, state] = page.hash.split('/');
  const { origin } = page;
  const headers = { origin, authorization: 'Bearer ' + sessions[origin], 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify({ challenge }) };
  const { code } = await (await fetch(origin + '/v2/me/login-codes', init)).json();
  await fetch('http://127.0.0.1:' + port + '/callback?' + new URLSearchParams({ code, state }));
}
void allow(process.argv[2]);
`,
  );
  await chmod(program, 0o700);
  const login = async (address: string) => {
    const ran = await at.run(['login', address, '--port', '0', '--browser', program]);
    expect(ran.exit, ran.stderr).toBe(0);
    const { key } = JSON.parse(await readFile(at.at('config', 'login.json'), 'utf8')) as { key: string };
    return { ...ran, key };
  };
  return { at, sites, login };
}

async function site() {
  const { call, sidekey, url } = await startService();
  await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const headers = { origin: url, 'sec-fetch-site': 'same-origin' };
  const { session } = (await call(`POST ${path}`, { key: null, headers })).body;
  const accepts = async (key: string) => (await call('GET /v2/me', { key })).status === 200;
  return { url, session: session as string, sidekey, accepts };
}

test('a login revokes the key of the previous login, even if that was at another Sidekey', async () => {
  const { sites, login } = await setup();
  const [one, other] = sites;
  const first = await login(one.url);
  expect(first.stdout).toMatch(/as alice \(operator\)\. The login ends in 12 h\./);
  const second = await login(one.url);
  expect([await one.accepts(first.key), await one.accepts(second.key)]).toEqual([false, true]);
  const third = await login(other.url);
  expect([await one.accepts(second.key), await other.accepts(third.key)]).toEqual([false, true]);
});

test('a login reports that the previous key remains if its Sidekey is unreachable', async () => {
  const { sites, login } = await setup();
  const [one, other] = sites;
  await login(one.url);
  await one.sidekey.proxy.close();
  const second = await login(other.url);
  expect(second.stderr).toMatch(
    /The key of the earlier login could not be revoked, and ends in 12 h: 127\.0\.0\.1:\d+ does not answer/,
  );
  expect(await other.accepts(second.key)).toBe(true);
});

test('a login at an address where nothing listens ends before a browser opens', async () => {
  const { at, sites } = await setup();
  const [one] = sites;
  await one.sidekey.proxy.close();
  expect(await at.run(['login', one.url, '--port', '0', '--no-browser'])).toEqual({
    exit: 6,
    stdout: '',
    stderr: `sidekey: ${new URL(one.url).host} does not answer (ECONNREFUSED).\n  → check the address, and NODE_EXTRA_CA_CERTS for a CA of your own\n`,
  });
});

test('a logout removes the file even if the key was already revoked', async () => {
  const { at, sites, login } = await setup();
  const [one] = sites;
  const { key } = await login(one.url);
  const revoked = await fetch(`${one.url}/v2/me/key`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${key}` },
  });
  expect(revoked.status).toBe(200);
  expect((await at.run(['logout'])).exit).toBe(0);
  expect((await at.run(['logout'])).stderr).toContain('Nobody is signed in here');
});
