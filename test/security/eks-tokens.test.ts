/**
 * An EKS token is a signed request that a client sends as data. Sidekey signs nothing for a cluster, action
 * or host other than those of the domain map, and only for a token that was made with a placeholder.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/domain/credential.ts';
import { mintGrant } from '../../src/grants/mint.ts';
import { isWithin } from '../../src/proxy/policy/domain-map.ts';
import { anyone, placeholderCodes, plainForm, readForm } from '../../src/proxy/placeholders/codes.ts';
import { secretPlaceholder } from '../../src/proxy/schemes/sigv4/eks.ts';
import { shippedFile } from '../../src/lib/package-files.ts';
import { readFile } from 'node:fs/promises';
import { awsDefinition } from '../support/aws/catalog-mints.ts';
import { eksUrl, type EksTokenFacts, tokenOf, urlOfAuthenticator } from '../support/aws/eks.ts';
import { makeTestAuthority } from '../support/certificates.ts';
import { openTunnel, problemOf } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startUpstream } from '../support/upstream.ts';
import { patternOf } from '../unit/proxy/policy/policy-for-test.ts';

const now = Date.parse('2026-11-28T10:20:37Z');
const realKeys = { id: 'AKIAREALREALREALREAL', secret: 'the/real+secret/of/the/grant+0123456789a' };
const placeholder = { id: 'ASIASIDE000000000000', secret: secretPlaceholder };
const clusterCa = makeTestAuthority('kubernetes');
const endpoint = 'ABCDEF0123456789.gr7.eu-west-1.eks.amazonaws.com'.toLowerCase();
const usual: EksTokenFacts = { keys: placeholder, cluster: 'prod', at: now };

interface Setup {
  readonly entry?: object;
  readonly host?: string;
  readonly token?: string;
  readonly region?: string;
  /** True: the cluster repeats the token in its answer, with this status and to this path. */
  readonly echoes?: boolean;
  readonly status?: number;
  readonly path?: string;
}

async function setup({
  entry = { eks_cluster: 'prod' },
  host = endpoint,
  token,
  region,
  ...echo
}: Setup = {}) {
  const seen: string[] = [];
  const upstream = await startUpstream(
    (request, response) => {
      seen.push(request.headers.authorization ?? 'none');
      const { authorization = '' } = request.headers;
      if (echo.echoes !== true) return void response.end('{"items":[]}');
      response.writeHead(echo.status ?? 200, { 'x-echo': authorization });
      response.end(`${authorization} ${urlIn(authorization)}`);
    },
    clusterCa.issue([host]),
  );
  const authority = `${host}:${upstream.port}`;
  const folder = await tempFolder();
  await writeFile(join(folder, 'cluster-ca.pem'), clusterCa.cert);
  const sidekey = await startSidekey({
    folder,
    now: () => now,
    domains: { [authority]: { grant: 'aws', ...entry } },
    config: {
      upstream: {
        host_ca: { [host]: 'cluster-ca.pem' },
        resolve: { [host]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  const credential: Credential = {
    type: 'aws',
    accessKeyId: realKeys.id,
    secretAccessKey: realKeys.secret,
    sessionToken: token ?? null,
    region: region ?? null,
  };
  const add = (name: string, audience = [authority]) =>
    sidekey.grant(audience, { name, provider: 'aws', credential });
  const grant = await add('aws');
  const client = await openTunnel(sidekey, authority, { servername: host });
  return {
    seen,
    authority,
    sidekey,
    grant,
    add,
    ask: async (...authorizations: readonly string[]) => {
      const fields = authorizations.map((each) => `Authorization: ${each}\r\n`).join('');
      client.send(`GET ${echo.path ?? '/api/v1/pods'} HTTP/1.1\r\nHost: ${authority}\r\n${fields}\r\n`);
      return client.response();
    },
  };
}

const bearer = (url: string) => `Bearer ${tokenOf(url)}`;
/** The token that EKS gets: signed with the real keys, at the last quarter of a minute. */
const signed = (facts: Partial<EksTokenFacts> = {}) =>
  eksUrl({ ...usual, keys: realKeys, at: Date.parse('2026-11-28T10:20:30Z'), ...facts });
const urlIn = (authorization: string) =>
  Buffer.from(authorization.replace('Bearer k8s-aws-v1.', ''), 'base64url').toString();
const parts = (url: string) => url.split(/[?&]/).toSorted();

describe('an EKS token that was made with a placeholder', () => {
  test.each<readonly [what: string, facts: Partial<EksTokenFacts>]>([
    ['as by the AWS command line', {}],
    ['for the global STS host', { host: 'sts.amazonaws.com', region: 'us-east-1' }],
    ['for STS in another region', { region: 'us-east-2' }],
    ['for STS in China', { region: 'cn-north-1', host: 'sts.cn-north-1.amazonaws.com.cn' }],
    ['for 15 minutes', { expires: 900 }],
    ['14 minutes ago', { at: now - 14 * 60_000 }],
    ['with the session token of the endpoint', { keys: { ...placeholder, token: secretPlaceholder } }],
    ['with another key ID', { keys: { ...placeholder, id: 'AKIAANYTHINGANYTHING' } }],
  ])('%s is signed anew for the cluster and the region of the host', async (_what, facts) => {
    const { ask, seen } = await setup();
    expect((await ask(bearer(eksUrl({ ...usual, ...facts })))).status).toBe(200);
    expect(seen.map((each) => parts(urlIn(each)))).toEqual([parts(signed())]);
    expect(urlOfAuthenticator(seen[0]!.replace('Bearer ', ''), now)).toBeInstanceOf(URL);
  });

  test('is signed anew with the session token of the grant', async () => {
    const { ask, seen } = await setup({ token: 'the/session+token=' });
    await ask(bearer(eksUrl(usual)));
    const expected = signed({ keys: { ...realKeys, token: 'the/session+token=' } });
    expect(seen.map((each) => parts(urlIn(each)))).toEqual([parts(expected)]);
  });

  test('is added to a request that has none', async () => {
    const { ask, seen } = await setup();
    expect((await ask()).status).toBe(200);
    expect(seen.map((each) => parts(urlIn(each)))).toEqual([parts(signed())]);
  });

  test('selects the grant that its key ID names', async () => {
    const { ask, seen, sidekey, grant } = await setup();
    const form = readForm('ASIASIDE000000000000')!;
    const codes = placeholderCodes(sidekey.proxy.state.vault);
    const id = codes.make(form, anyone, grant.id);
    expect((await ask(bearer(eksUrl({ ...usual, keys: { ...placeholder, id } })))).status).toBe(200);
    const other = codes.make(form, anyone, '00000000-0000-4000-8000-000000000000');
    const answer = await ask(bearer(eksUrl({ ...usual, keys: { ...placeholder, id: other } })));
    expect(problemOf(answer).code).toBe('placeholder_misused');
    expect(seen.length).toBe(1);
  });

  test('of a role that the program assumed is signed with the keys of that role', async () => {
    const { ask, seen, sidekey, grant, authority } = await setup();
    const { state } = sidekey.proxy;
    const keys = {
      id: 'ASIAROLEROLEROLEROLE',
      secret: 'the/secret+of/the/role0123456789',
      token: 'of/a+role',
    };
    const minted = await mintGrant(
      {
        parent: grant,
        mint: 'sts',
        secret: { accessKeyId: keys.id, secretAccessKey: keys.secret, sessionToken: keys.token },
        expiresAt: null,
        maxMs: 60_000,
        audience: [authority],
        isRevocable: false,
        lease: null,
        by: {},
      },
      { ...state, now: () => now },
    );
    const codes = placeholderCodes(state.vault);
    const id = codes.make(readForm(placeholder.id)!, anyone, minted.grant.id);
    const token = codes.make(plainForm, anyone, minted.grant.id);
    const answer = await ask(bearer(eksUrl({ ...usual, keys: { ...placeholder, id, token } })));
    expect(answer.status, answer.body).toBe(200);
    expect(seen.map((each) => parts(urlIn(each)))).toEqual([parts(signed({ keys }))]);
  });

  test('is recorded neither as a credential of the client nor with any part of it', async () => {
    const { ask, sidekey, seen } = await setup({
      entry: { eks_cluster: 'prod', foreign_credentials: 'refuse' },
    });
    expect((await ask(bearer(eksUrl(usual)))).status).toBe(200);
    const told = `${JSON.stringify(await sidekey.audit())}${sidekey.logged()}`;
    for (const secret of [realKeys.secret, realKeys.id, seen[0]!.slice(20)])
      expect(told).not.toContain(secret);
  });

  const clusters = [
    [
      'eu-west-1.eks.amazonaws.com',
      'ab.sk1.us-gov-west-1.eks.amazonaws.com',
      'sts.us-gov-west-1.amazonaws.com',
    ],
    ['China', 'ab.yl4.cn-north-1.eks.amazonaws.com.cn', 'sts.cn-north-1.amazonaws.com.cn'],
    ['a dual-stack endpoint', 'ab.eks-cluster.ap-south-2.api.aws', 'sts.ap-south-2.amazonaws.com'],
    [
      'a dual-stack endpoint in China',
      'ab.eks-cluster.cn-north-1.api.amazonwebservices.com.cn',
      'sts.cn-north-1.amazonaws.com.cn',
    ],
  ] as const;
  test.each(clusters)(
    'in %s may use a grant of the provider aws, and keys of its roles',
    async (_what, host) => {
      const { audience, mints } = await awsDefinition();
      const roles = mints.find(({ name }) => name === 'sts')!.goes_to;
      for (const hosts of [audience, roles]) expect(isWithin(hosts, patternOf(host))).toBe(true);
    },
  );

  test.each(clusters)('is for STS in the region of %s', async (_what, host, sts) => {
    const { ask, seen } = await setup({ host });
    await ask();
    expect(urlIn(seen[0]!)).toContain(`https://${sts}/?`);
    expect(urlIn(seen[0]!)).toContain(`%2F${sts.split('.')[1]}%2Fsts%2Faws4_request`);
  });
});

const changed = (from: string | RegExp, to: string) => eksUrl(usual).replace(from, to);
const unread = 'has no EKS token that Sidekey reads';
const another = 'is for another cluster than prod, or was not signed with the placeholder keys';

/** Each with a part of the sentence of its refusal. */
const forged: Readonly<
  Record<string, readonly [authorization: string | readonly string[], sentence: string]>
> = {
  'for another cluster': [bearer(eksUrl({ ...usual, cluster: 'other' })), another],
  'for the cluster in upper case': [bearer(eksUrl({ ...usual, cluster: 'PROD' })), another],
  'for another action': [bearer(eksUrl({ ...usual, action: 'GetSessionToken' })), another],
  'for a second action': [bearer(eksUrl({ ...usual, more: '&Action=AssumeRole' })), another],
  'with one more parameter': [bearer(eksUrl({ ...usual, more: '&DurationSeconds=900' })), another],
  'with one more field signed': [bearer(eksUrl({ ...usual, fields: { 'x-amz-a': 'b' } })), another],
  'with one more parameter after signing': [bearer(`${eksUrl(usual)}&a=b`), another],
  'with a parameter twice': [bearer(`${eksUrl(usual)}&Version=2011-06-15`), another],
  'with another action after signing': [bearer(changed('GetCallerIdentity', 'GetSessionToken')), another],
  'with another signature': [bearer(changed(/Signature=..../, 'Signature=0000')), another],
  'without a signature': [bearer(changed(/&X-Amz-Signature=[0-9a-f]+/, '')), another],
  'with real keys': [bearer(eksUrl({ ...usual, keys: realKeys })), another],
  'for another service': [bearer(eksUrl({ ...usual, service: 'iam' })), another],
  'with a credential of another region': [bearer(changed('%2Feu-west-1%2F', '%2Fus-east-1%2F')), another],
  'with a fragment': [bearer(`${eksUrl(usual)}#a`), another],
  'for another host': [bearer(eksUrl({ ...usual, host: 'iam.amazonaws.com' })), unread],
  'for a host of somebody': [
    bearer(eksUrl({ ...usual, host: 'sts.eu-west-1.amazonaws.com.evil.test' })),
    unread,
  ],
  'for a name below STS': [bearer(eksUrl({ ...usual, host: 'a.sts.eu-west-1.amazonaws.com' })), unread],
  'for STS in a place that is no region': [
    bearer(eksUrl({ ...usual, host: 'sts.evil.amazonaws.com' })),
    another,
  ],
  'with a user in the URL': [bearer(changed('https://', 'https://a@')), unread],
  'with a port': [bearer(changed('amazonaws.com/', 'amazonaws.com:8443/')), unread],
  'over plain http': [bearer(changed('https:', 'http:')), unread],
  'for another path': [bearer(changed('/?', '/a?')), unread],
  'for longer than 15 minutes': [bearer(eksUrl({ ...usual, expires: 901 })), unread],
  'for no time': [bearer(eksUrl({ ...usual, expires: 0 })), unread],
  'for a time that is no number': [bearer(eksUrl({ ...usual, expires: 'x' })), unread],
  'without a date': [bearer(changed(/&X-Amz-Date=[0-9TZ]+/, '')), unread],
  'of 16 minutes ago': [
    bearer(eksUrl({ ...usual, at: now - 16 * 60_000 })),
    'not made within the last 15 minutes',
  ],
  'of a later time': [
    bearer(eksUrl({ ...usual, at: now + 16 * 60_000 })),
    'not made within the last 15 minutes',
  ],
  'with padding': [`${bearer(eksUrl(usual))}=`, unread],
  'of another version': [`Bearer k8s-aws-v2.${tokenOf(eksUrl(usual)).slice(11)}`, unread],
  'that is empty': ['Bearer k8s-aws-v1.', unread],
  'that is no URL': [bearer('hello'), unread],
  'beside another one': [[bearer(eksUrl(usual)), bearer(eksUrl(usual))], unread],
  'in another scheme': [`Basic ${tokenOf(eksUrl(usual))}`, unread],
  'of a service account': ['Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln', unread],
};

test.each([
  ['an error page', { status: 401 }],
  ['an echo endpoint', { path: '/headers' }],
  ['any answer, if the domain wants that', { entry: { eks_cluster: 'prod', leak_guard: 'redact' } }],
])('a token that a cluster repeats is removed from %s', async (_what, facts) => {
  const { ask, seen } = await setup({ echoes: true, ...facts });
  const answer = await ask(bearer(eksUrl(usual)));
  const token = seen[0]!.replace('Bearer k8s-aws-v1.', '');
  const all = JSON.stringify([answer.headers, answer.body]);
  for (const text of [token, urlIn(seen[0]!).slice(-64)]) expect(all).not.toContain(text);
  expect(all).toContain('x-echo');
});

describe('nothing is signed for an EKS token', () => {
  test.each(Object.entries(forged))('%s', async (_what, [authorization, sentence]) => {
    const { ask, seen, sidekey } = await setup();
    const answer = await ask(...[authorization].flat());
    expect(answer.status).toBe(403);
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: expect.stringContaining(sentence),
      hint: expect.stringMatching(/--cluster-name prod|get a new one/),
    });
    expect(seen).toEqual([]);
    expect(JSON.stringify(await sidekey.audit())).not.toContain('X-Amz');
  });

  test.each([
    ['a token', [bearer(eksUrl(usual))]],
    ['no token', []],
  ])('to a cluster without a name: %s', async (_what, authorizations) => {
    const { ask, seen } = await setup({ entry: {} });
    const answer = await ask(...authorizations);
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: expect.stringMatching(/^The entry of abcdef.* names no EKS cluster/),
      hint: expect.stringContaining('--eks-cluster'),
    });
    expect(seen).toEqual([]);
  });

  test('of a grant for another region', async () => {
    const { ask, seen } = await setup({ region: 'us-east-1' });
    expect(problemOf(await ask()).detail).toContain('for the region us-east-1, not for eu-west-1');
    expect(seen).toEqual([]);
  });
});

test('the placeholder of the secret is the one of the provider', async () => {
  const definition = await readFile(shippedFile('providers/aws.yaml'), 'utf8');
  expect(definition).toContain(`AWS_SECRET_ACCESS_KEY: ${secretPlaceholder}\n`);
});
