import { describe, expect, it } from 'vitest';
import { checkConnectCallback, parseConnectCallback } from '../../../../src/grants/oauth/auth0.ts';
import { aProvider } from '../../../support/provider.ts';

const provider = aProvider({ name: 'auth0', issuer: 'https://acme.auth0.test/', clientId: 'client' });
const expected = { provider, state: 'the-state', codeVerifier: 'v'.repeat(43) };
const at = 'http://127.0.0.1:8379/callback';
const codeIn = (text: string) => checkConnectCallback(parseConnectCallback(text), expected);

describe('the callback of a connected account', () => {
  it.each([
    `${at}?connect_code=abc&state=the-state`,
    `${at}?state=the-state&connect_code=abc`,
    `${at}#connect_code=abc&state=the-state`,
    `${at}?state=the-state#connect_code=abc`,
    '?connect_code=abc&state=the-state',
    'connect_code=abc&state=the-state',
    'abc',
  ])('has its connect code when %s was pasted', (text) => {
    expect(codeIn(text)).toBe('abc');
  });

  it('has its connect code in the query that a listener received', () => {
    const parameters = new URLSearchParams({ connect_code: 'abc', state: 'the-state' });
    expect(checkConnectCallback({ kind: 'parameters', parameters }, expected)).toBe('abc');
  });

  it.each([
    ['another state', `${at}?connect_code=abc&state=another`, 'bad_request'],
    ['no state', `${at}?connect_code=abc`, 'bad_request'],
    ['another issuer', `${at}?connect_code=abc&state=the-state&iss=https://evil.test/`, 'bad_request'],
    ['two codes', `${at}?connect_code=abc&connect_code=def&state=the-state`, 'bad_request'],
    ['an error', `${at}?error=access_denied&state=the-state`, 'consent_declined'],
    ['no parameters', `${at}?state=the-state`, 'input_invalid'],
  ])('is refused with %s', (_what, text, code) => {
    expect(() => codeIn(text)).toThrow(expect.objectContaining({ code }));
  });
});
