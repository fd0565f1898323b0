import { expect, test } from 'vitest';
import type { Renewal } from '../../../src/domain/credential.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { replaceRemedy } from '../../../src/grants/token-result.ts';
import { aProvider } from '../../support/provider.ts';
import { oauth2 } from './processes.ts';
import { hintText } from '../../../src/lib/hint.ts';

const grant = { name: 'acme', user: 'default', provider: 'acme', type: 'oauth2' } as const;
const consent = aProvider({ flows: ['authorization_code'] });
const pasted: Provider['token'] = {
  label: 'key',
  url: null,
  steps: [],
  parts: [],
  inject: { kind: 'inject' },
};

test.each([
  [grant, 'sidekey connect acme'],
  [{ ...grant, name: 'work' }, 'sidekey connect acme --name work'],
  [{ ...grant, name: 'work', user: 'alice' }, 'sidekey connect acme --name work --user alice'],
])('the command connects again with a flow of the provider: %j', (it, command) => {
  expect(hintText(replaceRemedy(it, [], consent))).toBe(command);
});

test.each([
  ['an unknown provider', undefined],
  ['a provider without a flow', aProvider({ flows: [], token: null })],
])('the command takes a credential from standard input for %s', (_what, provider) => {
  expect(hintText(replaceRemedy(grant, [], provider))).toBe(
    'sidekey grant import acme --provider acme --replace < token.json',
  );
});

test.each([
  [
    'a key of a provider with a consent flow uses --token',
    { flows: ['authorization_code'], token: pasted },
    'sidekey connect acme --token',
  ],
  [
    'a key of a provider without other flows needs no option',
    { flows: [], token: pasted },
    'sidekey connect acme',
  ],
  [
    'a key of a provider without keys is read from standard input',
    { flows: ['authorization_code'], token: null },
    'sidekey grant import acme --provider acme --replace < token.json',
  ],
] as const)('%s', (_what, provider, command) => {
  expect(hintText(replaceRemedy({ ...grant, type: 'api_key' }, [], aProvider(provider)))).toBe(command);
});

test('the command for a consented grant does not use client credentials', () => {
  const robots = aProvider({ flows: ['client_credentials'] });
  expect(hintText(replaceRemedy(grant, [], robots, oauth2()))).toBe(
    'sidekey grant import acme --provider acme --replace < token.json',
  );
  expect(hintText(replaceRemedy(grant, [], robots, oauth2({ refreshToken: null })))).toBe(
    'sidekey connect acme',
  );
});

test('the command for a wider audience keeps the stored credential', () => {
  expect(hintText(replaceRemedy(grant, ['a.test'], consent))).toBe(
    'sidekey grant import acme --provider acme --replace --audience a.test < token.json',
  );
});

const key = { privateKey: 'PEM', keyId: null, algorithm: 'RS256' };
const exchanged = {
  actorToken: null,
  actorTokenType: null,
  requestedTokenType: null,
  scope: null,
  parameters: {},
};
test.each<[Renewal, string]>([
  [{ kind: 'client_credentials', scope: null, parameters: {} }, '--client-credentials'],
  [
    { kind: 'jwt_bearer', key, issuer: 'i', subject: null, audience: null, scope: null, parameters: {} },
    '--jwt-bearer --key FILE',
  ],
  [
    { kind: 'token_exchange', subjectToken: { value: 'hidden' }, subjectTokenType: 't', ...exchanged },
    '--token-exchange',
  ],
  [{ kind: 'auth0_connection', via: 'the-id', connection: 'c', loginHint: null }, '--via the-id'],
  [
    { kind: 'github_installation', key, appId: '17', installationId: '42' },
    '--app-id 17 --installation-id 42 --key FILE',
  ],
])('the command repeats the flow of the grant: %j', (renewal, options) => {
  const command = hintText(replaceRemedy(grant, [], consent, oauth2({ refreshToken: null, renewal })));
  expect(command).toBe(`sidekey connect acme ${options}`);
});
