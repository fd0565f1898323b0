/** Authentication schemes in the output of provider show and explain. */
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const hmac = {
  algorithm: 'sha256',
  sign: '{timestamp}{method}{target}{body}',
  secret: 'base64',
  encoding: 'base64',
  timestamp: 'seconds',
  headers: { 'X-Key': '{key}', 'X-Signed': 'v1={signature}' },
  query: { at: '{timestamp}' },
};
const single = { type: 'api_key', value: 'c2VjcmV0LW9mLWFjbWU' };
const pair = { type: 'basic', username: 'ann', password: 'c2VjcmV0LW9mLWFjbWU' };

test.each([
  [{ headers: { 'X-Key': '{token}', 'X-V': 'v1 {{{token}}}' } }, single, 'X-Key: …, X-V: v1 {…}'],
  [{ headers: { 'X-Key': '{password}', 'X-Acct': 'acct {username}' } }, pair, 'X-Key: …, X-Acct: acct …'],
  [{ cookie: 'sid' }, single, 'Cookie: sid=…'],
  [{ json: 'key' }, single, 'key in the JSON body'],
  [{ json: '/a~1b/c' }, single, '/a~1b/c in the JSON body'],
  [{ form: 'key' }, single, 'key=… in the form that is the body'],
  [{ hmac }, pair, 'the request is signed (HMAC sha256): X-Key, X-Signed, ?at=…'],
])('%j', async (inject, credential, words) => {
  const at = await home({
    domains: { 'api.corp.test': { grant: 'corp' } },
    providers: { corp: { audience: ['api.corp.test'], inject } },
  });
  await at.grant('corp', credential, ['--provider', 'corp']);
  expect((await at.run(['provider', 'show', 'corp'])).stdout).toContain(`carried as  ${words}`);
  expect(await at.json(['provider', 'show', 'corp'])).toMatchObject({ inject });
  const { stdout } = await at.run(['explain', 'GET', 'https://api.corp.test/']);
  expect(stdout).toContain(words);
  expect(stdout).toContain('with the credential of corp');
  expect(stdout).not.toContain('c2VjcmV0');
});

test('explain reports what the credential lacks', async () => {
  const at = await home({
    domains: { 'api.corp.test': { grant: 'corp' } },
    providers: { corp: { audience: ['api.corp.test'], inject: { headers: { 'X-Key': '{password}' } } } },
  });
  await at.grant('corp', single, ['--provider', 'corp']);
  const { stdout } = await at.run(['explain', 'GET', 'https://api.corp.test/']);
  expect(stdout).toMatch(/✗ +injection +policy_violation[^]*carries \{password\}/);
});
