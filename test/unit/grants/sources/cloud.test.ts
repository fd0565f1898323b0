import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createSources } from '../../../../src/grants/sources/ask.ts';
import { cloudFailures } from '../../../../src/grants/sources/cloud.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { hintText } from '../../../../src/lib/hint.ts';
import {
  account,
  accountToken,
  azureAccessToken,
  azureApp,
  type Clouds,
  federatedToken,
  podToken,
  poolProvider,
  requestToken,
  roleArn,
  startClouds,
  temporaryKeys,
  vault,
} from '../../../support/clouds.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { testUpstreamClient } from '../../../support/upstream-fetch.ts';

const now = Date.UTC(2027, 0, 1);
const ends = now + 3_600_000;

const webIdentity = `aws-web-identity:${roleArn}?token=file:token`;
const gcp = `gcp-federation:${poolProvider}?token=file:token`;
const azure = `azure-federation:${azureApp}?resource=${vault}&token=file:token`;

const keys = {
  type: 'aws',
  accessKeyId: temporaryKeys.id,
  secretAccessKey: temporaryKeys.secret,
  sessionToken: temporaryKeys.token,
  region: null,
};

const credentialOf = (from: string) => ({ type: 'source', from, form: null, ttlMs: null }) as const;

async function place(env: NodeJS.ProcessEnv = {}) {
  const folder = await tempFolder();
  const clouds = await startClouds({ now: () => now });
  const client = testUpstreamClient();
  const sources = createSources({
    env: { ...clouds.github, ...env },
    cwd: folder,
    platform: process.platform,
    now: () => now,
    fetch: () => client.fetch,
    services: clouds.services,
    vault: { ask: () => Promise.reject(new Error('no vault')), check: async () => {} },
  });
  const ask = (from: string) =>
    sources.ask({
      grant: 'id',
      revision: 1,
      credential: credentialOf(from),
      audience: [],
      isRefused: false,
      signal: new AbortController().signal,
    });
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 });
  return {
    clouds,
    ask,
    check: (from: string) => sources.check(credentialOf(from)),
    /** Writes a token of Kubernetes. */
    write,
    token: async (claims?: object, audience?: string) =>
      write('token', `${await clouds.sign(claims, audience)}\n`),
  };
}

const googleAudience = `https://iam.googleapis.com/${poolProvider}`;
const azureAudience = 'api://AzureADTokenExchange';

describe('a cloud source', () => {
  test.each<[from: string, audience: string, value: string | object]>([
    [webIdentity, 'sts.amazonaws.com', keys],
    [`aws-web-identity:${roleArn}?token=github`, '', keys],
    [`aws-web-identity:${roleArn}?token=gcp-instance`, '', keys],
    ['aws-instance', '', keys],
    [gcp, googleAudience, federatedToken],
    [`${gcp}&service_account=${account}`, googleAudience, accountToken],
    [`gcp-federation:${poolProvider}?token=github`, '', federatedToken],
    [`gcp-federation:${poolProvider}?token=azure-instance`, '', federatedToken],
    ['gcp-instance', '', accountToken],
    [`gcp-instance?service_account=${account}`, '', accountToken],
    [azure, azureAudience, azureAccessToken],
    [`azure-federation:${azureApp}?token=github&resource=${vault}`, '', azureAccessToken],
    [`azure-instance?resource=${vault}`, '', azureAccessToken],
  ])('%s gives a credential and its end', async (from, audience, value) => {
    const { ask, token } = await place();
    await token({}, audience);
    const { credential, expiresAt } = await ask(from);
    const text =
      'accessToken' in credential ? credential.accessToken : 'value' in credential ? credential.value : '';
    expect(typeof value === 'string' ? text : credential).toEqual(value);
    // Some services round the life of a token down to seconds.
    expect(ends - (expiresAt ?? 0)).toBeLessThanOrEqual(1_000);
  });

  test.each([
    [
      {
        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v1/credentials',
        AWS_CONTAINER_AUTHORIZATION_TOKEN: podToken,
      },
    ],
    [
      {
        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v1/credentials',
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: 'pod',
      },
    ],
  ])('aws-instance asks the container endpoint of its environment: %j', async (env) => {
    const { ask, clouds, write } = await place(env);
    await write('pod', `${podToken}\n`);
    expect((await ask('aws-instance')).credential).toEqual(keys);
    expect(clouds.requests).toEqual(['GET /v1/credentials']);
  });

  test('reads the file of its token for each request', async () => {
    const { ask, token } = await place();
    await token({ exp: now / 1_000 - 60 });
    await expect(ask(webIdentity)).rejects.toThrow('The token has expired');
    await token();
    expect((await ask(webIdentity)).credential).toEqual(keys);
  });

  test('is checked without a request', async () => {
    const { check, clouds, token } = await place({ ACTIONS_ID_TOKEN_REQUEST_TOKEN: '' });
    expect(await check(webIdentity)).toMatchObject({ code: 'source_failed' });
    expect(await check(`aws-web-identity:${roleArn}?token=github`)).toMatchObject({ code: 'source_failed' });
    await token();
    expect(await check(webIdentity)).toBeNull();
    expect(await check('aws-instance')).toBeNull();
    expect(clouds.requests).toEqual([]);
  });
});

type Arrange = (at: Awaited<ReturnType<typeof place>>) => Promise<void> | void;
type Case = readonly [at: string, says: string, from: string, arrange: Arrange, env?: NodeJS.ProcessEnv];

const instead =
  (pattern: RegExp, answer: Clouds['instead'][number][1]): Arrange =>
  ({ clouds }) => {
    clouds.instead.push([pattern, answer]);
  };
const xml = (code: string) =>
  `<ErrorResponse><Error><Code>${code}</Code><Message>so</Message></Error></ErrorResponse>`;
const throttled = { status: 429, body: '', headers: { 'retry-after': '7' } };
const inContainer = { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v1/credentials' };
const github = `aws-web-identity:${roleArn}?token=github`;
const stranger = { sub: 'system:serviceaccount:other:runner' };
const expired = { exp: now / 1_000 - 60 };
const azureIdentity = /metadata\/identity/;

const cases: readonly Case[] = [
  ['file', 'The token file is missing', webIdentity, () => {}],
  ['github', 'GitHub gives this job no ID token', github, () => {}, { ACTIONS_ID_TOKEN_REQUEST_URL: '' }],
  [
    'github',
    'GitHub gives this job no ID token',
    github,
    () => {},
    { ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'another' },
  ],
  ['sts', 'The role does not trust the token', webIdentity, ({ token }) => token(stranger)],
  [
    'sts',
    'The AWS account does not accept the issuer or the audience',
    webIdentity,
    ({ token }) => token({}, 'other'),
  ],
  [
    'sts',
    'The AWS account does not accept the issuer or the audience',
    webIdentity,
    ({ token }) => token({ iss: 'https://other.test' }),
  ],
  ['sts', 'The token has expired', webIdentity, ({ token }) => token(expired)],
  [
    'sts',
    'The issuer rejects its token',
    github,
    instead(/POST/, { status: 403, body: xml('IDPRejectedClaim') }),
  ],
  [
    'sts',
    'AWS cannot reach the issuer',
    github,
    instead(/POST/, { status: 400, body: xml('IDPCommunicationError') }),
  ],
  [
    'sts',
    'STS is not activated in the region',
    github,
    instead(/POST/, { status: 403, body: xml('RegionDisabledException') }),
  ],
  ['sts', 'The service is busy', github, instead(/POST/, { status: 400, body: xml('Throttling') })],
  ['sts', 'The service is busy', github, instead(/POST/, throttled)],
  ['sts', 'The service cannot be reached', github, instead(/POST/, 'drop')],
  ['ec2', 'No metadata service answers', 'aws-instance', instead(/api\/token/, 'drop')],
  [
    'ec2',
    'The metadata service of the instance is off',
    'aws-instance',
    instead(/api\/token/, { status: 403, body: '' }),
  ],
  ['ec2', 'The instance has no role', 'aws-instance', instead(/credentials\/$/, { status: 404, body: '' })],
  [
    'ec2',
    'The role of the instance does not trust EC2',
    'aws-instance',
    instead(/credentials\/agents/, {
      body: { Code: 'AssumeRoleUnauthorizedAccess', Message: 'EC2 cannot assume the role' },
    }),
  ],
  ['ec2', 'The service is busy', 'aws-instance', instead(/credentials\/$/, { status: 503, body: '' })],
  [
    'container',
    'The address of the container credentials is none of AWS',
    'aws-instance',
    () => {},
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.169.253/v1/credentials' },
  ],
  [
    'container',
    'The address of the container credentials is none of AWS',
    'aws-instance',
    () => {},
    { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '//other.test/v1/credentials' },
  ],
  [
    'container',
    'The address of the container credentials is none of AWS',
    'aws-instance',
    () => {},
    { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '//[' },
  ],
  [
    'container',
    'The address of the container credentials is none of AWS',
    'aws-instance',
    () => {},
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://127.0.0.1@other.test/v1/credentials' },
  ],
  [
    'container',
    'The container endpoint gives placeholders instead of keys',
    'aws-instance',
    () => {},
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://127.0.0.1:8377/.sidekey/aws?grant=prod' },
  ],
  ['container', 'No container endpoint answers', 'aws-instance', instead(/v1/, 'drop'), inContainer],
  [
    'container',
    'The container endpoint gives this workload no credentials',
    'aws-instance',
    () => {},
    inContainer,
  ],
  [
    'google',
    'The provider of the pool does not exist or is disabled',
    gcp.replace('/ci/', '/other/'),
    ({ token }) => token(),
  ],
  [
    'google',
    'The attribute condition of the provider rejects the token',
    gcp,
    ({ token }) => token(stranger, googleAudience),
  ],
  ['google', 'The provider of the pool does not accept the token', gcp, ({ token }) => token()],
  ['google', 'The token has expired', gcp, ({ token }) => token(expired, googleAudience)],
  [
    'google',
    'The service is busy',
    gcp,
    async (at) => {
      await at.token();
      await instead(/POST/, throttled)(at);
    },
  ],
  [
    'account',
    'The token may not act as the service account',
    `${gcp}&service_account=other@acme.iam.gserviceaccount.com`,
    ({ token }) => token({}, googleAudience),
  ],
  [
    'account',
    'The IAM Service Account Credentials API is off',
    `${gcp}&service_account=${account}`,
    async (at) => {
      await at.token({}, googleAudience);
      await instead(/generateAccessToken/, {
        status: 403,
        body: {
          error: {
            message:
              'IAM Service Account Credentials API has not been used in project 12 before or it is disabled.',
          },
        },
      })(at);
    },
  ],
  ['gce', 'No metadata service answers', 'gcp-instance', instead(/computeMetadata/, 'drop')],
  ['gce', 'The instance has no such service account', 'gcp-instance?service_account=x@y.z', () => {}],
  [
    'entra',
    'The app has no federated credential for the token',
    azure,
    ({ token }) => token(stranger, azureAudience),
  ],
  ['entra', 'The token has expired', azure, ({ token }) => token(expired, azureAudience)],
  [
    'entra',
    'The tenant or the app does not exist',
    azure.replace('0f8fad5b', '00000000'),
    ({ token }) => token(),
  ],
  [
    'entra',
    'The tenant does not know the resource',
    azure.replace('vault.', 'other.'),
    ({ token }) => token({}, azureAudience),
  ],
  [
    'azure',
    'No metadata service answers',
    `azure-instance?resource=${vault}`,
    instead(azureIdentity, 'drop'),
  ],
  ['azure', 'The VM has no such managed identity', `azure-instance?resource=${vault}&client_id=x`, () => {}],
  [
    'azure',
    'The tenant does not know the resource',
    `azure-instance?resource=${vault}`,
    instead(azureIdentity, {
      status: 400,
      body: {
        error: 'invalid_resource',
        error_description: 'AADSTS500011: The resource principal was not found.',
      },
    }),
  ],
  ['azure', 'The service is busy', `azure-instance?resource=${vault}`, instead(azureIdentity, throttled)],
];

describe('a failure', () => {
  test.each(cases.map(([at, says, ...rest]) => ({ at, says, rest })))(
    '$at: $says',
    async ({ at, says, rest }) => {
      const [from, arrange, env] = rest;
      const desk = await place(env);
      const { clouds, ask } = desk;
      await arrange(desk);
      const failure = await ask(from).then(
        () => null,
        (error: unknown) => error,
      );
      if (!(failure instanceof SidekeyError))
        throw new Error('the source gave a credential', { cause: failure });
      expect(failure).toMatchObject({ code: 'source_failed' });
      expect(failure.message).toMatch(new RegExp(`^${says}: .+\\.$`));
      const row = cloudFailures().find(
        (each) => each.says === says && new RegExp(`^(?:${each.at})$`).test(at),
      );
      const hint = hintText(failure.hint);
      const [before = '', after = ''] = row!.do.split('TOKEN');
      expect(hint.startsWith(before) && hint.endsWith(after)).toBe(true);
      if (row!.do.includes('a token with TOKEN'))
        expect(hint).toMatch(/a token with iss "https:\S+", aud \S+, sub "\S+"/);
      const told = `${failure.message} ${hint}`;
      for (const secret of [
        requestToken,
        podToken,
        temporaryKeys.secret,
        federatedToken,
        await clouds.sign(),
      ])
        expect(told).not.toContain(secret);
      expect(told).not.toMatch(/eyJ/);
    },
  );

  test('has a case for each row of the table, at each place without one of its own', () => {
    const rows = cloudFailures().map(({ at, says }) => `${at}: ${says}`);
    const covered = cloudFailures()
      .filter((row) =>
        cases.some(([at, says]) => says === row.says && new RegExp(`^(?:${row.at})$`).test(at)),
      )
      .map(({ at, says }) => `${at}: ${says}`);
    expect(covered).toEqual(rows);
  });

  test('has the delay that the service asks for', async () => {
    const desk = await place();
    await instead(/POST/, throttled)(desk);
    await expect(desk.ask(github)).rejects.toMatchObject({ retryAfterMs: 7_000 });
  });
});
