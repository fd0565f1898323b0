import { expect, test } from 'vitest';
import { chooseFlow } from '../../../../src/cli/connect/connect.ts';
import type { ConnectFlow } from '../../../../src/cli/connect/flows.ts';
import type { ConnectOptions } from '../../../../src/operations/connect/request.ts';
import type { Flow } from '../../../../src/domain/provider.ts';

const flows: readonly Flow[] = ['device_code', 'authorization_code'];
const provider = { name: 'acme', token: null, clientId: null, logins: [], domains: ['login.acme.test'] };

test.each<[ConnectOptions, readonly Flow[], ConnectFlow]>([
  [{}, flows, 'device_code'],
  [{}, [], 'token'],
  [{ paste: true }, flows, 'authorization_code'],
  [{ printUrl: true }, flows, 'authorization_code'],
  [{ browser: false }, flows, 'authorization_code'],
  [{ port: '0' }, flows, 'authorization_code'],
  [{ redirectUri: 'x' }, flows, 'authorization_code'],
  [{ token: true }, flows, 'token'],
  [{ import: true }, flows, 'import'],
  [{ clientCredentials: true }, flows, 'client_credentials'],
  [{ jwtBearer: true }, flows, 'jwt_bearer'],
  [{ tokenExchange: true }, flows, 'token_exchange'],
  [{ installationId: '1' }, flows, 'github_installation'],
  [{ device: true }, ['authorization_code'], 'device_code'],
  [{ via: 'auth0', browser: 'firefox' }, flows, 'auth0_connection'],
])('%j of a provider with %j: %s', (options, offered, flow) => {
  expect(chooseFlow(options, { ...provider, flows: offered }, true)).toBe(flow);
});

test.each<[ConnectOptions, string]>([
  [{ device: true, token: true }, '--device and --token do not go together.'],
  [{ device: true, paste: true }, '--device and --paste do not go together.'],
  [{ clientCredentials: true, browser: false }, '--client-credentials and --browser do not go together.'],
])('%j is refused', (options, message) => {
  expect(() => chooseFlow(options, { ...provider, flows }, true)).toThrow(message);
});

test.each([
  ['a person, and no client is registered', null, true, 'token'],
  ['a person, and a client is registered', 'id', true, 'authorization_code'],
  ['a program, which reads an answer with the ways', null, false, 'authorization_code'],
] as const)('the default of a provider with keys for %s', (_case, clientId, asks, flow) => {
  const token = { label: 'key', url: null, steps: [], parts: [], inject: { kind: 'inject' } } as const;
  expect(chooseFlow({}, { ...provider, flows: ['authorization_code'], token, clientId }, asks)).toBe(flow);
});

test('a provider whose programs log in by themselves has no flow, and the message says how to log in', () => {
  const client = {
    program: 'acme-cli',
    clientId: 'id',
    accessToken: 'a',
    refreshToken: 'r',
    answerFields: [],
  };
  const own = { ...provider, flows: [], logins: [client] };
  expect(() => chooseFlow({}, own, true)).toThrow(
    'acme-cli logs in by itself, and Sidekey keeps that login.',
  );
  expect(chooseFlow({ token: true }, own, true)).toBe('token');
});
