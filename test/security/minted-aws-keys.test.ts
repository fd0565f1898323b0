/**
 * Keys that AWS hands out reach the client as placeholders only, in whatever form the answer has them. The
 * rows are those of the catalog.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { secretPlaceholder } from '../../src/proxy/schemes/sigv4/eks.ts';
import { awsDefinition, awsMinting } from '../support/aws/catalog-mints.ts';
import { makeTestAuthority } from '../support/certificates.ts';
import { seenBy } from '../support/minting.ts';
import { startSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startUpstream } from '../support/upstream.ts';

const id = 'ASIAREALREALREAL2345';
const secret = 'the/real+secret/of/the/role+0123456789abc';
const token = 'the/real+session/token/of/the/role+0123456789==';
const end = '2999-01-01T00:00:00Z';
const region = 'eu-west-1.amazonaws.com';

const authority = makeTestAuthority('AWS Test Root');
const hosts = [
  ...'sts sts-fips portal.sso cognito-identity ssm gamelift codepipeline lakeformation datazone s3 bucket.s3'
    .split(' ')
    .concat(
      'management.deadline',
      '123456789012.s3-control',
      'finspace-api',
      'sts.s3',
      'dynamodb',
      'api.ecr-public',
    )
    .map((name) => `${name}.${region}`),
  'sts.amazonaws.com',
  'sts.cn-north-1.amazonaws.com.cn',
  'sts.eu-west-1.api.aws',
  'sts.cn-north-1.api.amazonwebservices.com.cn',
  'eks-auth.eu-west-1.api.aws',
];

/** A double of hosts of AWS, and a proxy with a grant for them. */
async function start(answer: (request: IncomingMessage, response: ServerResponse) => void, region?: string) {
  const api = await startUpstream((request, response) => {
    request.resume().once('end', () => answer(request, response));
  }, authority.issue(hosts));
  const folder = await tempFolder();
  await writeFile(join(folder, 'aws-ca.pem'), authority.cert);
  const everywhere = (await awsDefinition()).audience.map((host) => `${host}:${api.port}`);
  const sidekey = await startSidekey({
    folder,
    domains: Object.fromEntries(everywhere.map((host) => [host, { grant: 'aws' }])),
    config: {
      providers: { aws: await awsMinting(api.port) },
      upstream: {
        ca: ['aws-ca.pem'],
        resolve: Object.fromEntries(hosts.map((host) => [host, '127.0.0.1'])),
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  const keys = {
    accessKeyId: 'AKIAPARENTPARENTPARE',
    secretAccessKey: 'the-secret-of-the-parent',
    sessionToken: null,
  };
  const credential = { ...keys, type: 'aws', region: region ?? null } as const;
  await sidekey.grant(everywhere, { name: 'aws', provider: 'aws', credential });
  return {
    minted: () => sidekey.proxy.state.store.grants.minted({ limit: 9 }),
    sidekey,
    get: (host: string, path = '/', options?: Parameters<typeof seenBy>[2]) =>
      seenBy(sidekey.url, `https://${host}:${api.port}${path}`, options),
  };
}

/** Expects that nothing of the keys is in what the client received. */
function expectNothing(all: string, name: string): void {
  for (const text of [id, secret, token])
    for (const form of [
      text,
      encodeURIComponent(text),
      Buffer.from(text).toString('hex'),
      Buffer.from(text).toString('base64').slice(0, -4),
      Array.from(text, (character) => `&#${character.charCodeAt(0)};`).join(''),
      Array.from(text, (character) => `&#x${character.charCodeAt(0).toString(16)};`).join(''),
    ])
      expect(all, name).not.toContain(form);
}

const credentials = `<AccessKeyId>${id}</AccessKeyId><SecretAccessKey>${secret}</SecretAccessKey><SessionToken>${token}</SessionToken>`;
const expiration = `<Expiration>${end}</Expiration>`;
const metadata =
  '<ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata>';
const user =
  '<AssumedRoleUser><AssumedRoleId>AROA123:x</AssumedRoleId><Arn>arn:aws:sts::12:assumed-role/a/x</Arn></AssumedRoleUser>';
const sts = (action: string, inner: string) =>
  `<${action}Response><${action}Result>${inner}</${action}Result>${metadata}</${action}Response>`;
const keysOf = (more: string) => `<Credentials>${credentials}${expiration}</Credentials>${more}`;
const upper = { AccessKeyId: id, SecretAccessKey: secret, SessionToken: token };
const lower = { accessKeyId: id, secretAccessKey: secret, sessionToken: token };
const target = (name: string) => ({ 'x-amz-target': name, 'content-type': 'application/x-amz-json-1.1' });
const job = {
  id: 'j1',
  data: {
    actionTypeId: { category: 'Build' },
    inputArtifacts: [{ name: 'a', location: { s3Location: { bucketName: 'b', objectKey: 'k' } } }],
    artifactCredentials: lower,
    encryptionKey: { id: 'arn:aws:kms:x', type: 'KMS' },
  },
  accountId: '123456789012',
};

/** Answers with keys: host, path, fields of the request, answer. All else in them is kept. */
const answers: readonly (readonly [string, string, string, Record<string, string>, string | object])[] = [
  [
    'AssumeRole',
    `sts.${region}`,
    '/',
    {},
    sts(
      'AssumeRole',
      keysOf(`${user}<PackedPolicySize>6</PackedPolicySize><SourceIdentity>Bob</SourceIdentity>`),
    ),
  ],
  ['AssumeRole of FIPS', `sts-fips.${region}`, '/', {}, sts('AssumeRole', keysOf(user))],
  ['AssumeRole of China', 'sts.cn-north-1.amazonaws.com.cn', '/', {}, sts('AssumeRole', keysOf(user))],
  [
    'AssumeRole of IPv6 in China',
    'sts.cn-north-1.api.amazonwebservices.com.cn',
    '/',
    {},
    sts('AssumeRole', keysOf(user)),
  ],
  ['AssumeRole of IPv6', 'sts.eu-west-1.api.aws', '/', {}, sts('AssumeRole', keysOf(user))],
  [
    'AssumeRoleWithWebIdentity',
    `sts.${region}`,
    '/',
    {},
    sts(
      'AssumeRoleWithWebIdentity',
      `<SubjectFromWebIdentityToken>me</SubjectFromWebIdentityToken><Audience>c</Audience>${user}${keysOf('<Provider>www.amazon.com</Provider>')}`,
    ),
  ],
  [
    'AssumeRoleWithSAML',
    `sts.${region}`,
    '/',
    {},
    sts(
      'AssumeRoleWithSAML',
      `<Issuer>https://i/saml</Issuer>${user}${keysOf('<Subject>s</Subject><SubjectType>t</SubjectType><NameQualifier>q</NameQualifier>')}`,
    ),
  ],
  ['AssumeRoot', `sts.${region}`, '/', {}, sts('AssumeRoot', keysOf(''))],
  [
    'GetDelegatedAccessToken',
    `sts.${region}`,
    '/',
    {},
    sts('GetDelegatedAccessToken', keysOf('<AssumedPrincipal>arn:aws:iam::12:x</AssumedPrincipal>')),
  ],
  [
    'GetFederationToken',
    'sts.amazonaws.com',
    '/?Action=GetFederationToken',
    {},
    sts(
      'GetFederationToken',
      keysOf('<FederatedUser><FederatedUserId>12:b</FederatedUserId></FederatedUser>'),
    ),
  ],
  ['GetSessionToken', `sts.${region}`, '/?Action=GetSessionToken', {}, sts('GetSessionToken', keysOf(''))],
  ['an action that is not known yet', `sts.${region}`, '/v9/x', {}, sts('GetMoreKeys', keysOf(''))],
  [
    'AssumeRole in JSON',
    `sts.${region}`,
    '/',
    { accept: 'application/json' },
    {
      AssumeRoleResponse: {
        AssumeRoleResult: {
          Credentials: { ...upper, Expiration: 3.2e10 },
          AssumedRoleUser: { Arn: 'arn:aws:sts::12:x' },
          PackedPolicySize: 6,
        },
        ResponseMetadata: { RequestId: 'c6104cbe' },
      },
    },
  ],
  [
    'GetRoleCredentials',
    `portal.sso.${region}`,
    '/federation/credentials?role_name=a',
    {},
    { roleCredentials: { ...lower, expiration: Date.parse(end) } },
  ],
  [
    'AssumeRoleForPodIdentity',
    'eks-auth.eu-west-1.api.aws',
    '/clusters/c/assume-role-for-pod-identity',
    {},
    {
      subject: { namespace: 'n' },
      audience: 'pods.eks.amazonaws.com',
      podIdentityAssociation: { associationId: 'a' },
      assumedRoleUser: { arn: 'x' },
      credentials: { ...lower, expiration: 3.2e10 },
    },
  ],
  [
    'AssumeQueueRoleForUser',
    `management.deadline.${region}`,
    '/2023-10-12/farms/f/queues/q/user-roles',
    {},
    { credentials: { ...lower, expiration: end } },
  ],
  [
    'AssumeFleetRoleForWorker',
    `management.deadline.${region}`,
    '/2023-10-12/farms/f/fleets/q/workers/w/fleet-roles',
    {},
    { credentials: { ...lower, expiration: end } },
  ],
  [
    'GetEnvironmentCredentials',
    `datazone.${region}`,
    '/v2/domains/d/environments/e/credentials',
    {},
    { ...lower, expiration: end },
  ],
  [
    'GetConnection',
    `datazone.${region}`,
    '/v2/domains/d/connections/c?withSecret=true',
    {},
    {
      connectionCredentials: { ...lower, expiration: end },
      connectionId: 'c',
      name: 'n',
      type: 'IAM',
      props: { s3Properties: { s3Uri: 's3://b' } },
    },
  ],
  [
    'GetProgrammaticAccessCredentials',
    `finspace-api.${region}`,
    '/credentials/programmatic',
    {},
    { credentials: lower, durationInMinutes: 60 },
  ],
  [
    'GetTemporaryGlueTableCredentials',
    `lakeformation.${region}`,
    '/GetTemporaryGlueTableCredentials',
    {},
    { ...upper, Expiration: 3.2e10, VendedS3Path: ['s3://b/t'] },
  ],
  [
    'GetTemporaryDataLocationCredentials',
    `lakeformation.${region}`,
    '/GetTemporaryDataLocationCredentials',
    {},
    {
      Credentials: { ...upper, Expiration: 3.2e10 },
      AccessibleDataLocations: ['s3://b'],
      CredentialsScope: 'READ',
    },
  ],
  [
    'GetDataAccess',
    `123456789012.s3-control.${region}`,
    '/v20180820/accessgrantsinstance/dataaccess?target=s3://b',
    {},
    `<GetDataAccessResult>${keysOf('<MatchedGrantTarget>s3://b/*</MatchedGrantTarget><Grantee><GranteeType>IAM</GranteeType></Grantee>')}</GetDataAccessResult>`,
  ],
  [
    'GetCredentialsForIdentity',
    `cognito-identity.${region}`,
    '/',
    target('AWSCognitoIdentityService.GetCredentialsForIdentity'),
    {
      IdentityId: 'eu-west-1:1',
      Credentials: { AccessKeyId: id, SecretKey: secret, SessionToken: token, Expiration: 3.2e10 },
    },
  ],
  [
    'GetAccessToken',
    `ssm.${region}`,
    '/',
    target('AmazonSSM.GetAccessToken'),
    { Credentials: { ...upper, ExpirationTime: 3.2e10 }, AccessRequestStatus: 'Approved' },
  ],
  [
    'RequestUploadCredentials',
    `gamelift.${region}`,
    '/',
    target('GameLift.RequestUploadCredentials'),
    { UploadCredentials: upper, StorageLocation: { Bucket: 'b', Key: 'k' } },
  ],
  [
    'PollForJobs',
    `codepipeline.${region}`,
    '/',
    target('CodePipeline_20150709.PollForJobs'),
    { jobs: [{ ...job, nonce: '3' }] },
  ],
  [
    'GetJobDetails',
    `codepipeline.${region}`,
    '/',
    target('CodePipeline_20150709.GetJobDetails'),
    { jobDetails: job },
  ],
];

test('each answer has placeholders instead of the keys, and all else of it', async () => {
  const written = new Map(answers.map(([name, , , , answer]) => [name, answer]));
  const { get, minted } = await start((request, response) => {
    const answer = written.get(request.headers['x-case'] as string)!;
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  for (const [name, host, path, headers, answer] of answers) {
    const seen = await get(host, path, {
      method: 'POST',
      headers: { ...headers, 'x-case': name },
      body: 'a=b',
    });
    expect(seen.status, `${name} ${seen.body}`).toBe(200);
    expectNothing(seen.all, name);
    const found = /ASIASIDE[A-Z2-7]{12}/.exec(seen.body)![0];
    const [placeholder] = /sidekey[A-Za-z0-9]{12}0/.exec(seen.body)!;
    const texts = [found, id, secretPlaceholder, secret, placeholder, token];
    let again = seen.body;
    for (let i = 0; i < texts.length; i += 2) again = again.replace(texts[i]!, texts[i + 1]!);
    if (typeof answer === 'string') expect(again, name).toBe(answer);
    else expect(JSON.parse(again), name).toEqual(JSON.parse(JSON.stringify(answer)));
    expect(seen.headers['content-type'], name).toBe(
      typeof answer === 'string' ? 'text/xml' : 'application/json',
    );
  }
  const rows = new Set((await minted()).map(({ mint, type }) => `${mint} ${type}`));
  expect([...rows].toSorted()).toEqual(
    ['access', 'cognito', 'lake', 'pipeline', 'role', 's3-access', 'sts'].map((row) => `${row} aws`),
  );
});

const asResult = (inner: string) => `<A><B><Credentials>${inner}</Credentials></B></A>`;

type Respond = (request: IncomingMessage, response: ServerResponse) => void;
const says =
  (text: string | Buffer): Respond =>
  (_, response) =>
    void response.end(text);

/** Answers of STS that some program could read the keys from. */
const mutations: Readonly<Record<string, Respond>> = {
  'a comment in the secret': says(asResult(credentials.replace('real+', 'real<!-- -->+'))),
  'a comment': says(asResult(`<!-- ${secret} -->${credentials}`)),
  CDATA: says(asResult(credentials.replace(secret, `<![CDATA[${secret}]]>`))),
  'an entity': says(`<!DOCTYPE a [<!ENTITY k "${secret}">]>${asResult(credentials.replace(secret, '&k;'))}`),
  'an instruction': says(`<?k ${secret}?>${asResult(credentials)}`),
  'an attribute': says(asResult(`<K v="${secret}"/>${credentials}`)),
  'a namespace of keys': says(`<A xmlns="${secret}"><B><Credentials>${credentials}</Credentials></B></A>`),
  'a prefix': says(asResult(credentials.replaceAll(/(<\/?)/g, '$1x:'))),
  'an element twice': says(asResult(`<SecretAccessKey>placeholder-1</SecretAccessKey>${credentials}`)),
  'credentials twice': says(
    `<A><B><Credentials>${credentials}</Credentials><Credentials>${credentials}</Credentials></B></A>`,
  ),
  'another case': says(asResult(credentials.replaceAll('SecretAccessKey', 'secretaccesskey'))),
  'another place': says(`<A><B>${credentials}</B></A>`),
  'a deeper place': says(`<A><B><C><Credentials>${credentials}</Credentials></C></B></A>`),
  'kept elements': says(
    `<A><B><Arn>${secret}</Arn><Account>${token}</Account><Credentials>${credentials}</Credentials></B></A>`,
  ),
  'the session token in a kept element': says(
    `<A><B><Account>${token}</Account><Credentials>${credentials}</Credentials></B></A>`,
  ),
  'the name of an error': (_, response) => response.writeHead(403, { 'x-amzn-ErrorType': secret }).end(),
  'a request ID': says(
    `<A><B><Credentials>${credentials}</Credentials></B><ResponseMetadata><RequestId>${secret}</RequestId></ResponseMetadata></A>`,
  ),
  'an element in the secret': says(asResult(credentials.replace(secret, `<X>${secret}</X>`))),
  'no session token': says(asResult(credentials.replace(/<SessionToken>.*/, ''))),
  'no key ID': says(asResult(credentials.replace(id, ''))),
  'a line break in the secret': says(asResult(credentials.replace(secret, `${secret}\n`))),
  'a colon in the secret': says(asResult(credentials.replace('real+', 'real:'))),
  'character references': says(
    asResult(credentials.replace(secret, Array.from(secret, (c) => `&#${c.charCodeAt(0)};`).join(''))),
  ),
  'a byte order mark': says(`\uFEFF${asResult(credentials)}`),
  'UTF-16': says(Buffer.from(asResult(credentials), 'utf16le')),
  'UTF-7': says(`<?xml version="1.0" encoding="UTF-7"?>${asResult(credentials)}`),
  'two roots': says(asResult(credentials).repeat(2)),
  'text after it': says(`${asResult(credentials)} ${secret}`),
  HTML: says(`<html>${secret}</html>`),
  text: says(secret),
  'a form': says(`SecretAccessKey=${encodeURIComponent(secret)}`),
  'JSON of another form': says(JSON.stringify({ Credentials: upper })),
  'JSON with a name twice': says(
    `{"A":{"B":{"Credentials":{"SecretAccessKey":"x","SecretAccessKey":"${secret}"}}}}`,
  ),
  'JSON in XML': says(`<A><B><Credentials>${JSON.stringify(upper)}</Credentials></B></A>`),
  'half of it': says(asResult(credentials).slice(0, -20)),
  'too much': says(asResult(`${credentials}<Pad>${'x'.repeat(300_000)}</Pad>`)),
  'many levels': says(`${'<a>'.repeat(20_000)}${credentials}${'</a>'.repeat(20_000)}`),
  gzip: (_, response) => response.setHeader('Content-Encoding', 'gzip').end(gzipSync(asResult(credentials))),
  'an error with keys': (_, response) => response.writeHead(400).end(asResult(credentials)),
  'an error that repeats them': (_, response) =>
    response
      .writeHead(403)
      .end(
        `<ErrorResponse><Error><Code>${secret}</Code><Message>The token ${token} of ${id} (${secret})</Message></Error></ErrorResponse>`,
      ),
  fields: (_, response) =>
    response.setHeader('X-Key', secret).setHeader('x-amzn-ErrorType', secret).end(asResult(credentials)),
};

/** Names of the mutations that are refused, because no program should get half of an answer. */
const refused: ReadonlySet<string> = new Set([
  'a comment',
  'an attribute',
  'an element twice',
  'credentials twice',
  'kept elements',
  'the session token in a kept element',
  'no session token',
  'no key ID',
  'a line break in the secret',
  'a colon in the secret',
  'HTML',
  'text',
]);

test('no mutation of an answer of STS shows the keys', async () => {
  const { get } = await start((request, response) =>
    mutations[decodeURIComponent(request.url!.split('?')[1]!)]!(request, response),
  );
  for (const name of Object.keys(mutations)) {
    const seen = await get(`sts.${region}`, `/?${encodeURIComponent(name)}`);
    expect(seen.all.length, name).toBeGreaterThan(0);
    expectNothing(seen.all, name);
    if (refused.has(name)) expect(seen.body, name).toContain('mint_unreadable');
  }
});

test('no spelling of a request to STS shows the keys', async () => {
  const { get } = await start((_, response) => response.end(asResult(credentials)));
  const requests = [
    ['GET', '/?Action=AssumeRole', undefined],
    ['GET', '/?action=assumerole', undefined],
    ['GET', '/?x=y&%41ction=%41ssumeRole', undefined],
    ['POST', '/', 'Action=AssumeRole'],
    ['POST', '//', '%41ction=AssumeRole'],
    ['POST', '/a/../b.php;x', '{"Action":"AssumeRole"}'],
    ['POST', '/%2e', undefined],
    ['PUT', '/other', 'Action=GetCallerIdentity&Action=AssumeRole'],
    ['DELETE', '/?Action=GetCallerIdentity', 'Action=AssumeRole'],
  ] as const;
  for (const [method, path, body] of requests) {
    const seen = await get(`STS.${region}`, path, { method, ...(body && { body }) });
    expectNothing(seen.all, `${method} ${path}`);
  }
});

/** Requests that some service of AWS may read as the named operation: host, path, and fields. */
const spelledOperations: readonly (readonly [
  host: string,
  path: string,
  headers?: Record<string, string>,
])[] = [
  ['api.ecr-public', '/', { 'x-amz-target': 'SpencerFrontendService.GetAuthorizationToken' }],
  ['codepipeline', '/', { 'x-amzn-target': 'CodePipeline_20150709.PollForJobs' }],
  ['codepipeline', '/', { 'x-amz-target': 'PollForJobs' }],
  ['codepipeline', '/', { 'X-Amz-Target': ' codepipeline_20150709.pollforjobs ' }],
  ['ssm', '/', { 'x-amz-target': 'AmazonSSM.GetParameter, AmazonSSM.GetAccessToken' }],
  ['ssm', '/', { 'x-amz-target': 'AmazonSSM.GetAccessToken, AmazonSSM.GetParameter' }],
  ['ssm', '/', { 'x-amz-target': '"AmazonSSM.GetAccessToken"' }],
  ['ssm', '/', { 'x-amz-target': 'AmazonSSM.GetParameter', 'x-amzn-target': 'AmazonSSM.GetAccessToken' }],
  ['cognito-identity', '/', { x_amz_target: 'AWSCognitoIdentityService.GetCredentialsForIdentity' }],
  ['codepipeline', '/service/CodePipeline_20150709/operation/PollForJobs'],
  ['codepipeline', '/service/CodePipeline_20150709/operation/GetJobDetails'],
  ['gamelift', '/v1/service/GameLift/operation/CreateBuild'],
  ['cognito-identity', '/a/b/service/AWSCognitoIdentityService/operation/GetCredentialsForIdentity'],
];

test('no spelling of an operation shows the keys', async () => {
  const keys = { accessKeyId: id, secretAccessKey: secret, sessionToken: token };
  const upper = { AccessKeyId: id, SecretAccessKey: secret, SecretKey: secret, SessionToken: token };
  const artifacts = [{ data: { artifactCredentials: keys } }];
  const body = JSON.stringify({
    Credentials: upper,
    UploadCredentials: upper,
    jobs: artifacts,
    jobDetails: keys,
    authorizationData: { authorizationToken: secret },
  });
  const { get } = await start((_, response) => response.end(body));
  for (const [host, path, headers = {}] of spelledOperations) {
    const seen = await get(`${host}.${region}`, path, { method: 'POST', headers, body: '{}' });
    expectNothing(seen.all, `${path} ${JSON.stringify(headers)}`);
  }
  const other = { method: 'POST', headers: { 'x-amz-target': 'AmazonSSM.GetParameter' }, body: '{}' };
  expect((await get(`ssm.${region}`, '/', other)).body).toBe(body);
});

test('answers of other services are left as they are, also of a bucket that is called sts', async () => {
  const { get, minted } = await start((_, response) =>
    response.setHeader('ETag', '"x"').end(asResult(credentials)),
  );
  for (const host of [`sts.s3.${region}`, `bucket.s3.${region}`, `dynamodb.${region}`])
    expect(await get(host)).toMatchObject({
      status: 200,
      headers: { etag: '"x"' },
      body: asResult(credentials),
    });
  expect(await minted()).toEqual([]);
});

describe('answers of STS without keys', () => {
  const identity = sts(
    'GetCallerIdentity',
    '<Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>AIDA</UserId><Account>123456789012</Account>',
  );
  test('are passed on', async () => {
    const { get, minted } = await start((_, response) =>
      response.end(
        `<?xml version="1.0"?>\n${identity.replace('Response', 'Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"')}\n`,
      ),
    );
    expect(await get(`sts.${region}`)).toMatchObject({ status: 200, body: identity });
    expect(await minted()).toEqual([]);
  });

  test('say why a request was refused', async () => {
    const error =
      '<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to perform: sts:AssumeRole</Message></Error><RequestId>c6104cbe-af31</RequestId></ErrorResponse>';
    const { get } = await start((_, response) => response.writeHead(403).end(error));
    expect(await get(`sts.${region}`)).toMatchObject({ status: 403, body: error });
  });

  test('have no body if a refusal cannot be read', async () => {
    const { get } = await start((_, response) => response.writeHead(503).end('<p>busy'));
    expect(await get(`sts.${region}`)).toMatchObject({ status: 503, body: '' });
  });

  test('name the error of JSON in a field', async () => {
    const { get } = await start((_, response) =>
      response
        .writeHead(401, { 'x-amzn-ErrorType': 'UnauthorizedException' })
        .end('{"message":"Session token not found"}'),
    );
    expect(await get(`portal.sso.${region}`, '/federation/credentials')).toMatchObject({
      status: 401,
      headers: { 'x-amzn-errortype': 'UnauthorizedException' },
      body: '{"message":"Session token not found"}',
    });
  });

  test('have no token for services of others', async () => {
    const { get } = await start((_, response) =>
      response.end(sts('GetWebIdentityToken', `<WebIdentityToken>${token}</WebIdentityToken>${expiration}`)),
    );
    expect(await get(`sts.${region}`)).toMatchObject({ status: 200, body: sts('GetWebIdentityToken', '') });
  });
});

test('the keys are for no more regions than those of the parent', async () => {
  const { get, minted, sidekey } = await start(
    (_, response) => response.end(asResult(credentials)),
    'eu-west-1',
  );
  await get(`sts.${region}`);
  const [{ id: child } = { id: '' }] = await minted();
  const { sealed } = (await sidekey.proxy.state.grants.read(child))!;
  expect(sealed.credential).toMatchObject({ type: 'aws', accessKeyId: id, region: 'eu-west-1' });
});
