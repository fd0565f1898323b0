import { describe, expect, test } from 'vitest';
import { openCatalog } from '../../../src/config/catalog.ts';
import { withheld, type WithheldFacts } from '../../../src/clients/environment.ts';

const providers = [
  {
    name: 'github',
    environment: [
      { name: 'GITHUB_TOKEN', placeholder: 'ghp_placeholder' },
      { name: 'GH_TOKEN', placeholder: 'ghp_placeholder' },
      { name: 'GH_ENTERPRISE_TOKEN', placeholder: null },
    ],
  },
  { name: 'github-app', environment: [{ name: 'GITHUB_TOKEN', placeholder: 'ghs_placeholder' }] },
  { name: 'openai', environment: [{ name: 'OPENAI_API_KEY', placeholder: 'sk-placeholder' }] },
];
const ask = (facts: Partial<WithheldFacts>) =>
  withheld({ parent: {}, providers, reachable: new Map(), ...facts });

describe('credentials in the environment of the parent', () => {
  test('are removed even without a grant, and the note has the command that connects the credential', () => {
    expect(ask({ parent: { OPENAI_API_KEY: 'real', PATH: '/bin' } })).toEqual({
      remove: ['OPENAI_API_KEY'],
      set: {},
      note: 'removed OPENAI_API_KEY (no openai grant → sidekey connect openai --from-env OPENAI_API_KEY)',
    });
  });

  test('are replaced by a placeholder when a grant exists, even if the parent had none', () => {
    const { remove, set, note } = ask({
      parent: { GITHUB_TOKEN: 'real', GH_ENTERPRISE_TOKEN: 'real' },
      reachable: new Map([['github', 'work']]),
    });
    expect(set).toEqual({ GITHUB_TOKEN: 'ghp_placeholder', GH_TOKEN: 'ghp_placeholder' });
    expect(remove).toEqual(['GH_ENTERPRISE_TOKEN']);
    expect(note).toBe(
      'removed GH_ENTERPRISE_TOKEN (the proxy adds the grant work); GITHUB_TOKEN is a placeholder for the grant work',
    );
  });

  test('are named as a client secret, with the commands that need it, whether a grant exists or not', () => {
    const desk = { name: 'DESK_SECRET', placeholder: null, isClientSecret: true };
    for (const reachable of [new Map([['desk', 'desk']]), new Map(), null]) {
      const { note } = ask({
        parent: { DESK_SECRET: 'real' },
        providers: [{ name: 'desk', environment: [desk] }],
        reachable,
      });
      expect(note).toBe(
        'removed DESK_SECRET (the client secret of desk: no agent needs it, but sidekey start, run, connect, grant refresh and grant revoke do)',
      );
    }
  });

  test('are replaced for the reachable provider when several providers share the variable', () => {
    const facts = { parent: { GITHUB_TOKEN: 'real' }, reachable: new Map([['github-app', 'bot']]) };
    expect(ask(facts)).toEqual({
      remove: [],
      set: { GITHUB_TOKEN: 'ghs_placeholder' },
      note: 'GITHUB_TOKEN is a placeholder for the grant bot',
    });
  });

  test('stay unchanged when the parent credentials are kept', () => {
    const kept = ask({
      parent: { GITHUB_TOKEN: 'real', SIDEKEY_X: 'real', REF: 'real' },
      reachable: new Map([['github', 'work']]),
      references: ['REF'],
      keep: ['GITHUB_TOKEN', 'SIDEKEY_X', 'REF'],
    });
    expect(kept).toEqual({ remove: [], set: { GH_TOKEN: 'ghp_placeholder' }, note: null });
  });
});

describe('variables of a cloud', async () => {
  const catalog = await openCatalog();
  const shipped = ['aws', 'azure', 'github', 'google'].map((name) => ({
    name,
    environment: Object.entries(catalog.environment(name) ?? {}).map(([variable, placeholder]) => ({
      name: variable,
      placeholder,
    })),
  }));
  const identities = [
    'ACTIONS_ID_TOKEN_REQUEST_TOKEN',
    'ACTIONS_ID_TOKEN_REQUEST_URL',
    'AWS_CONTAINER_AUTHORIZATION_TOKEN',
    'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
    'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
    'AWS_ROLE_ARN',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AZURE_CLIENT_CERTIFICATE_PATH',
    'AZURE_FEDERATED_TOKEN_FILE',
    'GCE_METADATA_HOST',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'IDENTITY_ENDPOINT',
    'IDENTITY_HEADER',
    'MSI_ENDPOINT',
    'MSI_SECRET',
  ];
  const parent = Object.fromEntries([...identities, 'AWS_PROFILE'].map((name) => [name, 'real']));

  test('that bring an identity of the machine are removed; a profile stays without a grant', () => {
    const { remove, set } = ask({ parent, providers: shipped });
    expect({ remove, set }).toEqual({ remove: identities, set: {} });
  });

  test('are no keys that connect could take', () => {
    const { note } = ask({ parent, providers: shipped });
    expect(note).toContain('(no azure grant → sidekey connect azure)');
    expect(note).toContain('(no aws grant → sidekey connect aws)');
    expect(note).not.toMatch(/--(?:from-env|token)/);
  });

  test('name the endpoints of Sidekey, with the token of the program, if there are grants', () => {
    const { remove, set } = ask({
      parent,
      providers: shipped,
      reachable: new Map(['aws', 'azure', 'google'].map((name) => [name, name])),
      proxyUrl: 'http://ci:sidekey_lease_x@[::1]:8377',
    });
    expect(remove).toContain('AWS_PROFILE');
    expect(set).toMatchObject({
      AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://[::1]:8377/.sidekey/aws',
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'sidekey_lease_x',
      GCE_METADATA_HOST: '[::1]:8377',
      GCE_METADATA_IP: '[::1]:8377',
      GCE_METADATA_ROOT: '[::1]:8377',
      IDENTITY_ENDPOINT: 'http://[::1]:8377/.sidekey/azure',
      IDENTITY_HEADER: 'sidekey_lease_x',
    });
    expect(Object.values(set)).not.toContain('real');
  });
});

test('secrets of Sidekey itself are removed: references of the config, and SIDEKEY_ variables except paths', () => {
  const parent = {
    CORP_PROXY_PASSWORD: 'real',
    SIDEKEY_P12_PASSWORD: 'real',
    SIDEKEY_ANYTHING: 'real',
    SIDEKEY_CONFIG: '/c',
    SIDEKEY_HOME: '/h',
    OTHER: '1',
  };
  const references = ['CORP_PROXY_PASSWORD', 'NOT_THERE'];
  expect(ask({ parent, references }).remove).toEqual([
    'CORP_PROXY_PASSWORD',
    'SIDEKEY_ANYTHING',
    'SIDEKEY_P12_PASSWORD',
  ]);
});

test('the note names no grant when the token of the child is not from Sidekey', () => {
  expect(ask({ parent: { OPENAI_API_KEY: 'real', SIDEKEY_X: '1' }, reachable: null }).note).toBe(
    'removed OPENAI_API_KEY; removed SIDEKEY_X (for Sidekey only)',
  );
});

test('values of credentials are never repeated in a note', () => {
  expect(JSON.stringify(ask({ parent: { OPENAI_API_KEY: 'real-secret' } }))).not.toContain('real-secret');
});

test('keys of AWS are connected by pasting both keys, and a secret of an unknown provider is named', () => {
  const key = { name: 'AWS_SECRET_ACCESS_KEY', placeholder: 'sidekeyPlaceholder0000000000000000000000' };
  const providers = [{ name: 'aws', environment: [key] }];
  const parent = { AWS_SECRET_ACCESS_KEY: 'one-secret', DB_PASSWORD: 'other-secret', PATH: '/bin' };
  const { note, remove } = withheld({ parent, providers, reachable: new Map() });
  expect(remove).toEqual(['AWS_SECRET_ACCESS_KEY']);
  expect(note).toBe(
    'removed AWS_SECRET_ACCESS_KEY (no aws grant → sidekey connect aws --token); kept DB_PASSWORD, which no provider takes and the program can read',
  );
});
