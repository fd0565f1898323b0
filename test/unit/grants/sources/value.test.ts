import { describe, expect, test } from 'vitest';
import type { SourceForm } from '../../../../src/domain/credential.ts';
import { readValue } from '../../../../src/grants/sources/value.ts';

const now = Date.UTC(2027, 0, 1);
const end = '2027-01-01T01:00:00Z';
const endsAt = now + 3_600_000;
const read = (text: string, form: SourceForm | null = null) => readValue(text, form, () => now);
const oauth2 = (accessToken: string) => ({ type: 'oauth2', accessToken, expiresAt: endsAt });
const jwt = (claims: object) =>
  [{ alg: 'RS256' }, claims, 's']
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
const aws = {
  Version: 1,
  AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
  SecretAccessKey: 'wJalrXUtnFEMI/K7MDENG',
  SessionToken: 'session+token==',
};
const keys = {
  type: 'aws',
  accessKeyId: aws.AccessKeyId,
  secretAccessKey: aws.SecretAccessKey,
  sessionToken: aws.SessionToken,
  region: null,
};
const pair = (username: string, password: string) => ({ type: 'basic', username, password });
const exec = (status: object) => ({
  apiVersion: 'client.authentication.k8s.io/v1',
  kind: 'ExecCredential',
  status,
});

describe('without a configured form, the form is detected from the answer', () => {
  test.each<[name: string, answer: string | object, credential: object, expiresAt: number | null]>([
    ['a token', 'gho_0123456789\n', { type: 'api_key', value: 'gho_0123456789' }, null],
    ['a JWT', `${jwt({ exp: endsAt / 1000 })}\n`, { type: 'jwt', expiresAt: endsAt }, endsAt],
    ['a token response', { access_token: 't', expires_in: 3600, token_type: 'Bearer' }, oauth2('t'), endsAt],
    ['JSON with a time', { token: 't', expiry: end }, oauth2('t'), endsAt],
    ['JSON with seconds', { token: 't', expires_at: endsAt / 1000 }, oauth2('t'), endsAt],
    ['JSON without an end', { token: 't' }, { type: 'api_key', value: 't' }, null],
    [
      'az account get-access-token',
      { accessToken: 't', expiresOn: '2027-01-01 02:00:00.000000', expires_on: endsAt / 1000, tenant: 'x' },
      oauth2('t'),
      endsAt,
    ],
    [
      'gcloud config config-helper',
      {
        configuration: {},
        credential: { access_token: 't', id_token: 'i', token_expiry: end },
        sentinels: {},
      },
      oauth2('t'),
      endsAt,
    ],
    ['ExecCredential', exec({ token: 't', expirationTimestamp: end }), oauth2('t'), endsAt],
    ['credential_process of AWS', { ...aws, Expiration: '2027-01-01T01:00:00+00:00' }, keys, endsAt],
    [
      'credential_process without an end',
      { ...aws, SessionToken: null },
      { ...keys, sessionToken: null },
      null,
    ],
    [
      'a credential helper of Docker',
      { ServerURL: 'ghcr.io', Username: 'alice', Secret: 's3cret' },
      pair('alice', 's3cret'),
      null,
    ],
    [
      'an identity token of Docker',
      { ServerURL: 'ghcr.io', Username: '<token>', Secret: 't' },
      { type: 'api_key', value: 't' },
      null,
    ],
    [
      'git credential fill',
      'protocol=https\nhost=git.acme.test\nusername=alice\npassword=a=b c\n',
      pair('alice', 'a=b c'),
      null,
    ],
    [
      'git credential fill with an end',
      `username=alice\r\npassword=s3cret\r\npassword_expiry_utc=${endsAt / 1000}\r\n`,
      pair('alice', 's3cret'),
      endsAt,
    ],
  ])('%s', (_, answer, credential, expiresAt) => {
    const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
    const value = read(text);
    expect(value.credential).toMatchObject(credential);
    expect(value.expiresAt).toBe(expiresAt);
  });
});

describe('a configured form', () => {
  test('first_line ignores all other lines, as pass prints them', () => {
    expect(read('the-key\nuser: alice\nurl: x\n', 'first_line').credential).toEqual({
      type: 'api_key',
      value: 'the-key',
    });
  });

  test('token returns a text unchanged even if it resembles another protocol', () => {
    expect(() => read('username=a\npassword=b', 'token')).toThrow(/several words/);
    expect(read('{"x"}', 'token').credential).toMatchObject({ type: 'api_key', value: '{"x"}' });
  });
});

describe('an answer is refused, with none of its content in the message:', () => {
  test.each<[why: string, answer: string | object, form: SourceForm | null]>([
    ['that is empty', '\n', null],
    ['of several lines', 'hunter2\nhunter3', null],
    ['with a space inside', 'hunter2 hunter3', null],
    ['with a control character', 'hunter2\u0007', null],
    ['that is an array', '["hunter2"]', 'json'],
    ['without a token', { password: 'hunter2' }, null],
    ['with a token that is no text', { token: { hunter2: 1 } }, null],
    ['with two members of a name', '{"token":"hunter2","token":"hunter3"}', null],
    ['with an end that is no time', { token: 'hunter2', expiry: 'soon' }, null],
    ['with no time left', { token: 'hunter2', expires_in: 0 }, null],
    ['of another version of credential_process', { ...aws, Version: 2 }, null],
    ['of AWS with an end that is no time', { ...aws, Expiration: 'hunter2' }, null],
    ['of git without a password', 'username=hunter2\n', 'git'],
    ['of Kubernetes without a token', exec({}), null],
  ])('%s', (_, answer, form) => {
    const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
    let error: unknown;
    try {
      read(text, form);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'input_invalid' });
    expect(String(error)).not.toMatch(/hunter|wJalr/);
  });
});
