import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { readCredential, readEntries, type CredentialInput } from '../../../src/grants/credential-input.ts';
import { hintText } from '../../../src/lib/hint.ts';

const now = Date.UTC(2027, 0, 1);
const read = (input: unknown): CredentialInput =>
  readCredential(typeof input === 'string' ? input : JSON.stringify(input), { now: () => now });

function problem(input: unknown): SidekeyError {
  try {
    read(input);
  } catch (error) {
    if (error instanceof SidekeyError && error.code === 'input_invalid') return error;
    throw error;
  }
  throw new Error('It was accepted.');
}

const jwt = (claims: object): string =>
  [{ alg: 'ES256' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.') + '.c2ln';

const empty = {
  type: 'oauth2',
  accessToken: null,
  refreshToken: null,
  expiresAt: null,
  obtainedAt: now,
  scope: null,
  clientId: null,
  clientSecret: null,
  tokenEndpoint: null,
};

describe('an oauth2 credential', () => {
  test('is read with all members, in snake_case and in camelCase', () => {
    const credential = {
      ...empty,
      accessToken: 'a',
      refreshToken: 'r',
      expiresAt: now + 3_600_000,
      scope: 'read write',
      clientId: 'c',
      clientSecret: 's',
      tokenEndpoint: 'https://acme.test/token',
    };
    const expected = { credential, scopes: ['read', 'write'] };
    expect(
      read({
        type: 'oauth2',
        access_token: 'a',
        refresh_token: 'r',
        token_type: 'bearer',
        expires_in: 3600,
        scope: 'read write',
        client_id: 'c',
        client_secret: 's',
        token_endpoint: 'https://acme.test/token',
      }),
    ).toEqual(expected);
    expect(
      read({
        accessToken: 'a',
        refreshToken: 'r',
        tokenType: 'Bearer',
        tokenExpiresAt: now + 3_600_000,
        scopes: ['read', 'write', 'read'],
        clientId: 'c',
        clientSecret: 's',
        tokenEndpoint: 'https://acme.test/token',
      }),
    ).toEqual(expected);
  });

  test('is read with only a refresh token', () => {
    expect(read({ refresh_token: 'r' })).toEqual({ credential: { ...empty, refreshToken: 'r' }, scopes: [] });
  });

  test('is read from a token response, without its id_token', () => {
    expect(read({ access_token: 'a', token_type: 'Bearer', id_token: jwt({}), refresh_token: null })).toEqual(
      {
        credential: { ...empty, accessToken: 'a' },
        scopes: [],
      },
    );
  });

  test.each([
    ['seconds', { expires_at: (now + 5_000) / 1000 }],
    ['seconds with a fraction', { expires_at: now / 1000 + 5.0001 }],
    ['milliseconds', { expiresAt: now + 5_000 }],
    ['seconds in a string', { expires_at: String((now + 5_000) / 1000) }],
    ['milliseconds in a string', { expiry_date: String(now + 5_000) }],
    ['ISO 8601', { tokenExpiresAt: '2027-01-01T00:00:05Z' }],
    ['ISO 8601 with an offset', { expires_at: '2027-01-01 02:00:05.000+0200' }],
    ['ISO 8601 with many digits', { expiry: '2027-01-01T00:00:05.000000Z' }],
    ['seconds from now', { expires_in: 5 }],
    ['seconds from now in a string', { expiresIn: '5' }],
    ['both forms, of which the absolute one applies', { expires_at: (now + 5_000) / 1000, expires_in: 3600 }],
  ])('is read with its expiry as %s', (_, fields) => {
    expect(read({ access_token: 'a', ...fields }).credential).toMatchObject({ expiresAt: now + 5_000 });
  });

  test('with an expired access token is accepted when it has a refresh token', () => {
    expect(
      read({ access_token: 'a', refresh_token: 'r', expires_at: now / 1000 - 60 }).credential,
    ).toMatchObject({
      expiresAt: now - 60_000,
    });
  });

  test.each([
    [{ scope: 'repo,read:org' }, ['repo', 'read:org'], 'repo read:org'],
    [{ scopes: 'repo, read:org gist' }, ['repo', 'read:org', 'gist'], 'repo read:org gist'],
    [{ scopes: ['a,b'] }, ['a,b'], 'a,b'],
    [{ scope: 'https://acme.test/auth/mail', scopes: ['mail'] }, ['mail'], 'https://acme.test/auth/mail'],
    [{ scope: ' , ' }, [], null],
  ])('is read with the scopes %j', (fields, scopes, scope) => {
    const credential = { ...empty, accessToken: 'a', scope };
    expect(read({ access_token: 'a', ...fields })).toEqual({ credential, scopes });
  });

  test.each([
    ['no token', { type: 'oauth2', client_id: 'c' }, 'needs "access_token", "refresh_token" or both'],
    ['another token type', { access_token: 'a', token_type: 'mac' }, '"token_type" must be "Bearer"'],
    ['an expiry in another unit', { access_token: 'a', expires_at: 1_700 }, 'more than 2 years behind'],
    [
      'an expiry years ahead',
      { access_token: 'a', expires_at: '2099-01-01T00:00:00Z' },
      'more than 10 years ahead',
    ],
    ['a lifetime of years', { access_token: 'a', expires_in: 1e12 }, 'more than 10 years ahead'],
    ['no lifetime', { access_token: 'a', expires_in: 0 }, '"expires_in" must be more than 0'],
    [
      'a time without a zone',
      { access_token: 'a', expires_at: '2027-01-01T00:00:00' },
      'ISO 8601 with a zone',
    ],
    ['a day that does not exist', { access_token: 'a', expires_at: '2027-02-30T00:00:00Z' }, 'is not a time'],
    ['an invalid expiry', { access_token: 'a', expires_at: true }, 'must be a number or a string'],
    ['an expiry long past as a number', { access_token: 'a', expires_at: 1e9 }, 'more than 2 years behind'],
    ['an invalid lifetime', { access_token: 'a', expires_in: 'soon' }, '"expires_in" is not a number'],
    [
      'an http endpoint',
      { access_token: 'a', token_uri: 'http://a.test/' },
      '"token_uri" must be an https URL',
    ],
    [
      'an endpoint with a password',
      { access_token: 'a', token_endpoint: 'https://u:p@a.test/' },
      'without user information',
    ],
    ['an invalid scope', { access_token: 'a', scope: ['a b'] }, '"scope" must be scopes'],
    ['a token that is a number', { access_token: 12 }, '"access_token" must be a string'],
    ['an empty token', { access_token: '' }, '"access_token" is empty'],
    ['a trailing line break', { access_token: 'abc\n' }, 'holds a control character, such as a line break'],
    ['a trailing space', { refresh_token: 'abc ' }, 'begins or ends with a space'],
    ['a token that is not ASCII', { access_token: 'abcé' }, 'a header field cannot have'],
    ['a huge token', { access_token: 'a'.repeat(65_537) }, '"access_token" is larger than 64 KiB'],
    ['a huge refresh token', { refresh_token: 'é'.repeat(40_000) }, '"refresh_token" is larger than 64 KiB'],
    [
      'a duplicate member',
      { access_token: 'a', accessToken: 'b' },
      '"access_token" and "accessToken" are the same field',
    ],
  ])('is refused with %s', (_, input, message) => {
    const error = problem(input);
    expect(error.message).toContain(message);
    expect(hintText(error.hint)).toContain('"access_token":"…"');
  });
});

describe('a credential of another type', () => {
  test.each([
    [
      { type: 'api_key', value: 'k' },
      { type: 'api_key', value: 'k' },
    ],
    [{ value: 'k' }, { type: 'api_key', value: 'k' }],
    [{ api_key: 'k' }, { type: 'api_key', value: 'k' }],
    [
      { type: 'apiKey', apiKey: 'k' },
      { type: 'api_key', value: 'k' },
    ],
    [
      { type: 'jwt', value: 'opaque' },
      { type: 'jwt', value: 'opaque', expiresAt: null },
    ],
    [
      { type: 'api_key', value: { api_key: 'k', organization_id: 'o' }, expires_at: '2019-12-31T23:59:59Z' },
      {
        type: 'api_key',
        value: 'k',
        expiresAt: Date.UTC(2019, 11, 31, 23, 59, 59),
        extra: { organization_id: 'o' },
      },
    ],
    [
      { api_key: 'k', api_secret: 's\nt', expires_in: 60 },
      { type: 'api_key', value: 'k', expiresAt: now + 60_000, extra: { api_secret: 's\nt' } },
    ],
    [
      { type: 'jwt', value: jwt({ exp: now / 1000 + 60 }), expires_in: 5, issuer: 'i', audience: 'a' },
      {
        type: 'jwt',
        value: jwt({ exp: now / 1000 + 60 }),
        expiresAt: now + 5_000,
        extra: { issuer: 'i', audience: 'a' },
      },
    ],
    [
      { username: 'u', password: ' ü:p ' },
      { type: 'basic', username: 'u', password: ' ü:p ' },
    ],
    [
      { username: 'a-key-alone', password: '' },
      { type: 'basic', username: 'a-key-alone', password: '' },
    ],
    [
      { headers: { 'X-Api-Key': 'k', '2': 'b', '1': 'a' } },
      {
        type: 'headers',
        // JavaScript moves integer-like names of the object above to the front; the order of the text is
        // kept.
        headers: [
          ['1', 'a'],
          ['2', 'b'],
          ['X-Api-Key', 'k'],
        ],
      },
    ],
    [
      { access_key_id: 'AKIAIOSFODNN7EXAMPLE', secret_access_key: 'a/b+c=' },
      {
        type: 'aws',
        accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
        secretAccessKey: 'a/b+c=',
        sessionToken: null,
        region: null,
      },
    ],
    [
      {
        AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
        SecretAccessKey: 'a/b+c=',
        SessionToken: 'd//e==',
        region: 'eu-west-1',
      },
      {
        type: 'aws',
        accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
        secretAccessKey: 'a/b+c=',
        sessionToken: 'd//e==',
        region: 'eu-west-1',
      },
    ],
  ])('is read: %j', (input, credential) => {
    expect(read(input)).toEqual({ credential, scopes: [] });
  });

  test('keeps header fields in the order of the input', () => {
    const { credential } = read('{"headers":{"X-B":"1","2":"2","1":"3"}}');
    expect(credential).toMatchObject({
      headers: [
        ['X-B', '1'],
        ['2', '2'],
        ['1', '3'],
      ],
    });
  });

  test('takes its expiry from a JWT, with or without a type in the input', () => {
    const value = jwt({ exp: now / 1000 + 60 });
    const credential = { type: 'jwt', value, expiresAt: now + 60_000 };
    for (const input of [{ type: 'jwt', value }, { value }, { jwt: value }]) {
      expect(read(input).credential).toEqual(credential);
    }
    expect(read({ jwt: jwt({ exp: 'soon' }) }).credential).toMatchObject({ expiresAt: null });
  });

  test.each([
    [{ type: 'api_key' }, 'the field "value" is missing'],
    [{ type: 'api_key', value: 'k', api_key: 'k' }, '"value" and "api_key" are the same here'],
    [{ type: 'password', value: 'k' }, '"type" must be one of oauth2, api_key, jwt, basic, headers, aws'],
    [{ type: 7, value: 'k' }, '"type" must be one of'],
    [{ type: 'api_key', value: 'k', username: 'u' }, '"username" does not belong to the type api_key'],
    [{ type: 'api_key', value: 'k', issuer: 'i' }, '"issuer" does not belong to the type api_key'],
    [{ type: 'api_key', value: 'k', api_secret: 's\u0000' }, '"api_secret" holds a control character'],
    [{ type: 'jwt', value: 'k', audience: ['a'] }, '"audience" must be a string'],
    [{ api_key: 'a', value: { api_key: 'b' } }, '"api_key" and "api_key" are the same field'],
    [{ type: 'api_key', value: { value: { value: 'k' } } }, '"value" must be a string'],
    [{ username: 'u', access_token: 'a' }, '"username" does not belong to the type oauth2'],
    [{ username: 'u:v', password: 'p' }, '"username" holds a colon'],
    [{ username: 'u' }, 'the field "password" is missing'],
    [{ headers: {} }, '"headers" must be an object of 1 to 32'],
    [{ headers: [['a', 'b']] }, '"headers" must be an object'],
    [{ headers: { 'a b': 'c' } }, 'header 1 has no valid field name'],
    [{ headers: { a: 'b', Host: 'c' } }, 'header 2 has a reserved name: "Host"'],
    [{ headers: { a: 'b', A: 'c' } }, 'header 2 has the name of another header'],
    [{ headers: { a: 7 } }, 'header 1 must be a string'],
    [{ access_key_id: 'AKIAIOSFODNN7EXAMPLE' }, 'the field "secret_access_key" is missing'],
    [{ access_key_id: 'a:b', secret_access_key: 'c' }, 'the access key id must be 16 to 128'],
    [
      { access_key_id: 'AKIAIOSFODNN7EXAMPLE', secret_access_key: 'a:b' },
      'the secret access key holds a character',
    ],
    [
      { access_key_id: 'AKIAIOSFODNN7EXAMPLE', secret_access_key: 'a', region: 'Europe' },
      'the region is not a name',
    ],
    [{}, 'the input holds no credential'],
    [{ type: null }, 'the input holds no credential'],
  ])('is refused: %j', (input, message) => {
    expect(problem(input).message.toLowerCase()).toContain(message.toLowerCase());
  });
});

describe('input that is not a credential', () => {
  test.each([
    ['', 'The input is empty'],
    [' \n', 'The input is empty'],
    ['[]', 'is JSON, but not an object'],
    ['"token"', 'a JSON string, not an object'],
    ['{"value": "k"', 'not valid JSON: it ends where a comma or } is expected (line 1, column 14)'],
    ['{\n  "value": k}', '(line 2, column 12)'],
    ["{'value': 'k'}", 'a field name in double quotes is expected (line 1, column 2)'],
    ['{"value": "k",}', 'a field name in double quotes is expected (line 1, column 15)'],
    ['{"value": "a\nb"}', 'control character is inside a string (line 1, column 13)'],
    ['{"value": "a", "value": "b"}', 'a field is twice in the same object (line 1, column 16)'],
    ['{"value": "k"} x', 'more after the end of the value (line 1, column 16)'],
    [' '.repeat(1_048_577), 'larger than 1 MiB'],
  ])('is refused: %j', (input, message) => {
    const error = problem(input);
    expect(error.message).toContain(message);
    expect(hintText(error.hint)).toContain('"type":"');
  });

  test('is a key or a JWT when it is a bare token, with or without Bearer', () => {
    expect(read('ghp_abcdefgh\n').credential).toEqual({ type: 'api_key', value: 'ghp_abcdefgh' });
    expect(read('Bearer ghp_abcdefgh').credential).toEqual({ type: 'api_key', value: 'ghp_abcdefgh' });
    expect(read(jwt({ exp: 9 })).credential).toMatchObject({ type: 'jwt', expiresAt: 9_000 });
  });

  test('is refused with a suggestion when a field is unknown', () => {
    expect(problem({ acces_token: 'a' }).message).toBe(
      'The field "acces_token" is not known; did you mean "access_token"?',
    );
    expect(problem({ 'refresh-token': 'a' }).message).toContain('did you mean "refresh_token"?');
    expect(problem({ colour: 'a' }).message).toBe('The field "colour" is not known.');
    expect(problem({ __proto__x: 1, value: 'k' }).message).toContain('is not known');
    expect(problem('{"__proto__": {"type":"api_key"}, "value": "k"}').message).toContain('is not known');
  });

  test('may start with a byte order mark, which is removed', () => {
    expect(read('\uFEFF{"value":"k"}').credential).toEqual({ type: 'api_key', value: 'k' });
  });

  test.each([
    '{"value": SECRETSECRETSECRET}',
    '{"SECRETSECRETSECRETSECRETSECRETSECRET": 1}',
    '{"SECRET SECRET": 1}',
    '{"type": "SECRETSECRETSECRET"}',
    '{"access_token": "SECRET\\nSECRET"}',
    '{"access_token": "a", "expires_at": "SECRET"}',
    '{"access_token": "a", "token_endpoint": "http://SECRET"}',
    '{"access_token": "a", "scope": "SECRET\\u0000"}',
    '{"headers": {"SECRET SECRET": "SECRET"}}',
    '{"headers": {"X": "SECRET\\r\\n"}}',
    '{"username": "SECRET:SECRET", "password": "SECRET"}',
    '{"value": "SECRET" "SECRET"}',
    '{"value": {"SECRETSECRETSECRETSECRETSECRET": 1}}',
    '{"value": "k", "api_secret": "SECRET\\u0000"}',
  ])('is refused without its text in the message: %s', (input) => {
    const error = problem(input);
    expect(`${error.message} ${hintText(error.hint)} ${String(error.cause)}`).not.toContain('SECRET');
  });
});

const entries = (text: string) => readEntries(text, { now: () => 0 });

describe('several credentials', () => {
  test.each([
    ['\uFEFF{"name":"a","value":"k1"}\r\n\n  {"name":"b","value":"k2"}\n', ['a', 'b']],
    [`[${' '.repeat(1_048_577)}{"name":"a","value":"k"}]`, ['a']],
    ['{"name":"a",\n"headers":{"X-Key":"k"}\n}', ['a']],
  ])('are read from JSON lines and arrays of any size: %#', (text, names) => {
    expect(entries(text).map(({ name }) => name)).toEqual(names);
  });

  test.each([
    ['{"name":"a","value":"k"}\n{"name":"b","value":}', 'Entry 2: The input is not valid JSON'],
    ['{"name":"a","value":"k"}\n{"name":"b","valu":"k"}', 'Entry 2 (b): The field "valu" is not known'],
    [`{"name":"a"${' '.repeat(1_048_577)}}`, 'larger than 1 MiB'],
  ])('are refused with the place of the bad entry: %#', (text, message) => {
    expect(() => entries(text)).toThrow(message);
  });
});
