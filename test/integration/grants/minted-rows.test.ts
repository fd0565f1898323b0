// oxlint-disable typescript/no-explicit-any -- answers of many services
/** The rows of the catalog, each with an answer as its service writes it. */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { startMinting } from '../../support/minting.ts';

const jwt = (claims: object) =>
  [{ alg: 'RS256', typ: 'JWT' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
const mac = '4fa103af62a4515b728c6f8c3af554caadacd74d95ff9b7aaa52aa327a918100f';
const copilot = `tid=6d3a1dc4;exp=32503680000;sku=free_limited_copilot;proxy-ep=proxy.individual.githubcopilot.com;st=dotcom;chat=1;8kp=1;rd=1749254400:${mac}`;
const installation = 'ghs_RealInstallationToken0123456789ABCD';
const registryToken = `${jwt({ access: [{ name: 'acme/app', actions: ['pull'] }] })}.SignatureOfTheRegistry0123456789`;
const password = 'eyJQYXNzd29yZE9mVGhlUmVnaXN0cnkwMTIzNDU2Nzg5';

interface Row {
  readonly provider: string;
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly status?: number;
  readonly answer: (host: string) => object;
  readonly secret: string;
  /** Returns the parts of the answer that the client reads. */
  readonly read: (answer: any, host: string) => unknown;
  readonly expected: unknown;
  /** The `Authorization` of a later request of the client, and what the service gets. */
  readonly use: (answer: any) => string;
  readonly received: string;
}

const rows: readonly Row[] = [
  {
    provider: 'github',
    name: 'copilot',
    path: '/copilot_internal/v2/token',
    answer: () => ({
      token: copilot,
      expires_at: 32_503_680_000,
      refresh_in: 1500,
      chat_enabled: true,
      sku: 'free_limited_copilot',
      endpoints: { api: 'https://api.individual.githubcopilot.com' },
      limited_user_quotas: { chat: 50 },
    }),
    secret: copilot,
    read: ({ token, endpoints, refresh_in: seconds, chat_enabled: chat }) => [
      /(?:^|;)exp=([^;:]+)/.exec(token)?.[1],
      /(?:^|;)\s*proxy-ep=([^;\s]+)/.exec(token)?.[1],
      endpoints.api,
      seconds,
      chat,
    ],
    expected: [
      '32503680000',
      'proxy.individual.githubcopilot.com',
      'https://api.individual.githubcopilot.com',
      1500,
      true,
    ],
    use: ({ token }) => `Bearer ${token}`,
    received: `Bearer ${copilot}`,
  },
  {
    provider: 'github-app',
    name: 'installation',
    path: '/app/installations/1234/access_tokens',
    method: 'POST',
    status: 201,
    answer: () => ({
      token: installation,
      expires_at: '2999-01-01T00:00:00Z',
      permissions: { contents: 'read' },
      repository_selection: 'selected',
      repositories: [{ id: 7, name: 'app', full_name: 'acme/app', temp_clone_token: 'secret-of-a-clone' }],
    }),
    secret: installation,
    read: ({ token, ...rest }) => [token.slice(0, 4), token.length, rest],
    expected: [
      'ghs_',
      40,
      {
        expires_at: '2999-01-01T00:00:00Z',
        permissions: { contents: 'read' },
        repository_selection: 'selected',
        repositories: [{ id: 7, name: 'app', full_name: 'acme/app' }],
      },
    ],
    use: ({ token }) => `token ${token}`,
    received: `Bearer ${installation}`,
  },
  {
    provider: 'dockerhub',
    name: 'registry',
    path: '/token?service=registry.docker.io&scope=repository:acme/app:pull',
    answer: () => ({ token: registryToken, access_token: registryToken, expires_in: 300, issued_at: 'now' }),
    secret: registryToken,
    read: ({ token, access_token: same, expires_in: seconds }) => [
      JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).access[0].name,
      same === token,
      seconds,
    ],
    expected: ['acme/app', true, 300],
    use: ({ token }) => `Bearer ${token}`,
    received: `Bearer ${registryToken}`,
  },
  {
    provider: 'aws',
    name: 'ecr',
    path: '/',
    method: 'POST',
    headers: { 'x-amz-target': 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' },
    answer: (host) => ({
      authorizationData: [
        {
          authorizationToken: Buffer.from(`AWS:${password}`).toString('base64'),
          expiresAt: 32_503_680_000.123,
          proxyEndpoint: `https://${host}`,
        },
      ],
    }),
    secret: password,
    read: ({ authorizationData: [{ authorizationToken, proxyEndpoint, expiresAt }] }, host) => [
      Buffer.from(authorizationToken, 'base64').toString().slice(0, 11),
      proxyEndpoint === `https://${host}`,
      expiresAt,
    ],
    expected: ['AWS:sidekey', true, 32_503_680_000.123],
    use: ({ authorizationData: [{ authorizationToken }] }) => `Basic ${authorizationToken}`,
    received: `Basic ${Buffer.from(`AWS:${password}`).toString('base64')}`,
  },
];

/** Returns a row of the catalog for a service of the test. */
async function rowOf({ provider, name }: Row): Promise<object> {
  const { mints } = parse(await readFile(`config/providers/${provider}.yaml`, 'utf8')) as {
    mints: { name: string; hosts?: string[]; service?: string; goes_to?: string[] }[];
  };
  const found = mints.find((each) => each.name === name)!;
  const { hosts: _hosts, service: _service, goes_to: _goesTo, ...row } = found;
  return row;
}

const ecr = rows.find(({ name }) => name === 'ecr')!;

test.each([...rows, { ...ecr, path: '/any/path' }])(
  'the program gets a placeholder: $name of $provider, $path',
  async (row) => {
    const { method = 'GET', headers = {}, status = 200 } = row;
    const minting = await startMinting([await rowOf(row)], (request, response) => {
      if (request.url === '/use') response.end(JSON.stringify({ repeats: request.headers.authorization }));
      else response.writeHead(status).end(JSON.stringify(row.answer(minting.api.authority)));
    });
    const { get, api, asked, sidekey } = minting;
    const seen = await get(row.path, { method, headers });
    expect(seen.status, seen.body).toBe(status);
    expect(seen.all).not.toContain(row.secret);
    expect(seen.all).not.toContain('secret-of-a-clone');
    const answer = JSON.parse(seen.body) as unknown;
    expect(row.read(answer, api.authority)).toEqual(row.expected);
    await get('/use', { headers: { authorization: row.use(answer) } });
    expect(asked.at(-1)!.headers.authorization).toBe(row.received);
    const minted = await sidekey.audited(({ event }) => event === 'grant.minted');
    expect(minted).toMatchObject({ reason: `${row.name} of acme` });
  },
);
