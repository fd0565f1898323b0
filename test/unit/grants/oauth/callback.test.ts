import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import {
  checkCallback,
  parseCallback,
  type Callback,
  type CallbackExpectation,
} from '../../../../src/grants/oauth/authorization-code.ts';
import { acme } from '../processes.ts';

const expected: CallbackExpectation = { provider: acme, state: 'the-state', codeVerifier: 'the-verifier' };

function query(callback: Callback): Record<string, string> | string {
  return callback.kind === 'code' ? callback.code : Object.fromEntries(callback.parameters);
}

function check(text: string, over: Partial<CallbackExpectation> = {}) {
  return checkCallback(parseCallback(text), { ...expected, ...over });
}

describe('a pasted callback', () => {
  const parameters = { code: 'a/b', state: 's' };

  test.each([
    ['a URL', 'http://127.0.0.1:8377/callback?code=a%2Fb&state=s', parameters],
    [
      'a URL with a fragment that some providers append',
      'http://127.0.0.1/?code=a%2Fb&state=s#_=_',
      parameters,
    ],
    [
      'a URL without its scheme, as in an address bar',
      'localhost:8377/callback?code=a%2Fb&state=s',
      parameters,
    ],
    ['a URL with line breaks of a terminal', '  http://127.0.0.1/?co\n  de=a%2Fb&sta\r\nte=s \n', parameters],
    ['a URL in quotes', '"http://127.0.0.1/?code=a%2Fb&state=s"', parameters],
    ['a query', '?code=a%2Fb&state=s', parameters],
    ['a query without the question mark', 'code=a%2Fb&state=s', parameters],
    ['an error', 'http://127.0.0.1/?error=access_denied&state=s', { error: 'access_denied', state: 's' }],
    ['a code', ' 4/0AbC-d_e~f.g==\n', '4/0AbC-d_e~f.g=='],
    ['a code from an address bar', '4%2F0AbC', '4/0AbC'],
    ['a code with a colon', 'M.C5:abc', 'M.C5:abc'],
    ['a code with a percent sign', '100%zz', '100%zz'],
    ['a code that would decode to a line break', 'a%0Ab', 'a%0Ab'],
    ['a code that does not decode', 'a%ff', 'a%ff'],
  ])('may be %s', (_, text, read) => {
    expect(query(parseCallback(text))).toEqual(read);
  });

  test.each([
    ['white space', ' \n '],
    ['a URL without parameters', 'http://127.0.0.1:8377/callback'],
    ['a URL with other parameters', 'https://acme.test/login?session=1'],
    ['a URL with other parameters and without its scheme', 'acme.test/login?session=1'],
    ['an invalid code', 'kéy'],
    ['a text over the size limit', 'a'.repeat(16_385)],
  ])('may not be %s', (_, text) => {
    expect(() => parseCallback(text)).toThrow(expect.objectContaining({ code: 'input_invalid' }));
  });
});

describe('a callback', () => {
  test('without the issuer is refused when the provider always sends it', () => {
    const naming = { ...acme, namesIssuer: true };
    expect(() => check('?code=c&state=the-state', { provider: naming })).toThrow(
      expect.objectContaining({ code: 'bad_request' }),
    );
  });

  test('with the state and the issuer of the flow is accepted, and its code is returned', () => {
    const issuer = encodeURIComponent(acme.issuer ?? '');
    expect(check(`?code=c&state=the-state&iss=${issuer}`)).toEqual({ code: 'c', details: {} });
    expect(check('?code=c&state=the-state')).toEqual({ code: 'c', details: {} });
  });

  test.each([
    ['another state', '?code=c&state=the-stat'],
    ['no state', '?code=c'],
    ['two states', '?code=c&state=the-state&state=the-state'],
    ['another issuer', '?code=c&state=the-state&iss=https://evil.test'],
    ['a token', '?code=c&state=the-state&token=x'],
    ['two codes', '?code=c&code=d&state=the-state'],
    ['no code', '?code=&state=the-state'],
    ['an error with another state', '?error=access_denied&state=forged'],
    ['an error with another issuer', '?error=access_denied&state=the-state&iss=https://evil.test'],
  ])('with %s is refused', (_, text) => {
    expect(() => check(text)).toThrow(
      expect.objectContaining({
        code: 'bad_request',
        message: expect.stringContaining('does not belong to this flow'),
        hint: expect.stringContaining('begin again'),
      }),
    );
  });

  test.each(['access_denied', 'user_cancelled_login'])('with %s is a refusal by the user', (error) => {
    expect(() => check(`?error=${error}&state=the-state&error_description=No%0Athe-verifier`)).toThrow(
      expect.objectContaining({
        code: 'consent_declined',
        message: `You, or the provider "acme", said no to the consent (${error}: No [redacted]).`,
      }),
    );
  });

  test('with another error is a refusal by the provider', () => {
    expect(() => check('?error=invalid_scope&state=the-state')).toThrow(
      expect.objectContaining({
        code: 'provider_refused',
        message: 'The provider "acme" did not ask for consent (invalid_scope).',
      }),
    );
    expect(() => check('?error=the-state&state=the-state')).toThrow(
      expect.objectContaining({ message: expect.stringContaining('(unnamed_error)') }),
    );
  });

  test('contains the account when the provider sends it there', () => {
    const provider = {
      ...acme,
      dialect: { ...plainDialect, accountParameters: ['realmId', 'other', 'odd', 'none'] },
    };
    const text = '?code=secret-code&state=the-state&realmId=12%0034&other=&odd=x-secret-code&no=1';
    expect(check(text, { provider })).toEqual({ code: 'secret-code', details: { realmId: '12 34' } });
  });
});

describe('a code without state', () => {
  test('is accepted with permission of the caller, and bound to the flow by PKCE', () => {
    expect(check('c', { acceptBareCode: true })).toEqual({ code: 'c', details: {} });
  });

  test.each([
    ['the caller does not permit it', {}],
    ['the flow has no PKCE', { acceptBareCode: true, codeVerifier: null }],
    [
      'the provider sends the account with it',
      {
        acceptBareCode: true,
        provider: { ...acme, dialect: { ...plainDialect, accountParameters: ['realmId'] } },
      },
    ],
  ])('is refused when %s', (_, over) => {
    expect(() => check('c', over)).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });
});
