import { createPrivateKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { certificateOf, clients } from '../../support/certificate-grants.ts';
import { home } from '../../support/command-line.ts';

const { cert, key } = clients.issue(['agents']);
const day = 86_400_000;

/** A folder with a provider that has certificates shown. */
const bank = (more: object = {}) =>
  home({
    domains: { 'bank.example': { grant: 'bank' } },
    providers: { bank: { audience: ['bank.example'], inject: 'client_certificate', ...more } },
  });
const add = ['grant', 'import', 'bank', '--provider', 'bank'];

test('a certificate and its key are imported from their files, and shown without the key', async () => {
  const at = await bank();
  const added = await at.run(add, { input: cert + key });
  expect(added).toMatchObject({ exit: 0, stderr: '' });
  expect(added.stdout).toMatch(
    /Stored bank\.\n[^]*type +client_certificate\n +certificate +CN=upstream of a test\n +issued by +CN=Acme Clients\n +serial +01[0-9A-F]+\n +valid until +\d{4}-[^\n]* \(in /,
  );
  const shown = await at.run(['grant', 'show', 'bank']);
  expect(shown.stdout).toMatch(/certificate +CN=upstream of a test[^]*next +the certificate ends in /);
  const json = await at.json(['grant', 'show', 'bank']);
  expect(json).toMatchObject({
    type: 'client_certificate',
    refreshable: false,
    certificate: { subject: 'CN=upstream of a test', issuer: 'CN=Acme Clients', issuers_sent: 0 },
  });
  const lines = createPrivateKey(key).export({ type: 'pkcs8', format: 'pem' }).split('\n');
  for (const line of lines.filter((it) => it.length > 40))
    expect(`${added.stdout}${shown.stdout}${JSON.stringify(json)}`).not.toContain(line);
});

test('a certificate is imported as JSON, and replaced by another certificate', async () => {
  const at = await bank();
  await at.run(add, { input: JSON.stringify({ certificate: cert, private_key: key }) });
  const other = certificateOf('others');
  const again = await at.run([...add, '--replace'], { input: other.certificate + other.privateKey });
  expect(again).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/^Replaced the credential of bank\./),
  });
});

test('an invalid certificate is reported before anything is stored', async () => {
  const at = await bank();
  const refused = await at.run(add, { input: cert });
  expect(refused).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('There is no private key in the input.'),
  });
  expect((await at.run(['grant', 'list'])).stdout).toContain('There are no grants yet');
});

test('a note is printed if the credential and the provider do not agree on client certificates', async () => {
  const at = await bank({ inject: 'bearer' });
  const added = await at.run(add, { input: cert + key });
  expect(added.stdout + added.stderr).toContain(
    'Note: The provider bank does not use client certificates, so requests with it are refused.\n  → in the provider: inject: client_certificate',
  );
  const other = await bank();
  const token = await other.run(add, { input: JSON.stringify({ type: 'api_key', value: 'secret' }) });
  expect(token.stdout + token.stderr).toContain(
    'Note: The provider bank expects a client certificate, and this credential is none.',
  );
});

test('connect has no prompt for a certificate, and prints the command to use', async () => {
  const at = await bank();
  expect(await at.run(['connect', 'bank'])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('cat client.crt client.key | sidekey grant import bank --provider bank'),
  });
});

test('explain and provider show name the hosts of a client certificate, and where it cannot be used', async () => {
  const at = await bank();
  await at.run(add, { input: cert + key });
  const explained = await at.run(['explain', 'GET', 'https://bank.example/accounts']);
  expect(explained.stdout).toMatch(/✓ +injection +the TLS handshake shows the certificate/);
  expect((await at.run(['provider', 'show', 'bank'])).stdout).toMatch(
    /carried as +the TLS handshake shows the certificate/,
  );
  expect(await at.json(['provider', 'show', 'bank'])).toMatchObject({ inject: 'client_certificate' });
});

test('status reports a certificate only if it expires soon', async () => {
  const at = await bank();
  const now = Date.now();
  const needs = async () => {
    const { needs: all } = (await at.json(['status'])) as {
      needs: { about: string; sentence: string; hint: string }[];
    };
    return all.filter(({ about }) => about === 'grants');
  };
  const year = { notBefore: now - 200 * day, notAfter: now + 100 * day };
  const long = clients.issue(['agents'], year);
  await at.run(add, { input: long.cert + long.key });
  expect(await needs()).toEqual([]);
  const ending = clients.issue(['agents'], { ...year, notAfter: now + 10 * day });
  await at.run([...add, '--replace'], { input: ending.cert + ending.key });
  expect(await needs()).toEqual([
    {
      about: 'grants',
      sentence: expect.stringMatching(
        /^The client certificate of bank \(CN=upstream of a test, serial 01[0-9A-F]+\) ends in 10 d\.$/,
      ) as string,
      hint: 'sidekey grant import bank --provider bank --replace < client.pem',
    },
  ]);
});
