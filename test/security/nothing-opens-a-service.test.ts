/**
 * A program below `sidekey run` works with three clouds and with a credential that a response mints. Each
 * value that the program sees is then sent to each service directly, without Sidekey.
 */
import { RequestSigner } from 'aws4';
import { mkdir, writeFile } from 'node:fs/promises';
import { Agent, request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { startAwsDouble } from '../support/aws/aws-double.ts';
import { botocoreMissing } from '../support/aws/python.ts';
import { checkout, home, runProgram } from '../support/command-line.ts';
import { podToken, requestToken, startClouds } from '../support/clouds.ts';
import { createMarks, filesBelow } from '../support/marks.ts';
import { startUpstream, upstreamCa, upstreamHost, upstreamLeaf } from '../support/upstream.ts';

const region = 'eu-west-1';
const awsHost = `dynamodb.${region}.amazonaws.com`;
const hosts = { google: 'storage.googleapis.com', azure: 'acme.vault.azure.net', acme: upstreamHost };

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;

/** Calls each endpoint and each service, and writes all heads and bodies of the answers. */
const program = `
import aws4 from '${pathToFileURL(join(checkout, 'node_modules/aws4/aws4.js')).href}';
const { env } = process;
const at = JSON.parse(env.SERVICES);
async function ask(url, init = {}) {
  const answer = await fetch(url, init);
  const body = await answer.text();
  console.log(JSON.stringify({ url, status: answer.status, headers: [...answer.headers], body }));
  return answer.ok && body.startsWith('{') ? JSON.parse(body) : {};
}
const bearer = (token) => ({ headers: { Authorization: 'Bearer ' + token } });
console.log(JSON.stringify({ env }));
const keys = await ask(env.AWS_CONTAINER_CREDENTIALS_FULL_URI, {
  headers: { Authorization: env.AWS_CONTAINER_AUTHORIZATION_TOKEN },
});
const pairs = [
  { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
  { accessKeyId: keys.AccessKeyId, secretAccessKey: keys.SecretAccessKey },
];
for (const pair of pairs) {
  const headers = { 'X-Amz-Target': 'DynamoDB_20120810.ListTables', 'Content-Type': 'application/x-amz-json-1.0' };
  const { host } = new URL(at.aws);
  const signed = aws4.sign({ service: 'dynamodb', region: '${region}', host, method: 'POST', path: '/', headers, body: '{}' }, pair);
  delete signed.headers.Host;
  delete signed.headers['Content-Length'];
  await ask(at.aws, { method: 'POST', body: '{}', headers: signed.headers });
}
const google = 'http://' + env.GCE_METADATA_HOST + '/computeMetadata/v1/instance/service-accounts/default/';
const headers = { 'Metadata-Flavor': 'Google' };
for (const path of ['', 'email', 'scopes', 'identity?audience=https://a.test']) await ask(google + path, { headers });
await ask(at.google, bearer((await ask(google + 'token', { headers })).access_token));
const azure = await ask(env.IDENTITY_ENDPOINT + '?api-version=2019-08-01&resource=https://vault.azure.net', {
  headers: { 'X-IDENTITY-HEADER': env.IDENTITY_HEADER },
});
await ask(at.azure, bearer(azure.access_token));
const minted = await ask(at.acme + '/token', { method: 'POST' });
await ask(at.acme + '/use', bearer(minted.token));
await ask('http://sidekey.internal/');
for (const url of Object.values(at)) await ask(url);
`;

test.skipIf(botocoreMissing !== false)(
  'no value that a program sees opens a service directly',
  { timeout: 60_000 },
  async () => {
    const marks = createMarks();
    const aws = { id: `AKIA${marks.mark('key ID')}`, secret: marks.mark('secret key') };
    /** Values that the services accept. */
    const issued = {
      google: [marks.mark('token of Google')],
      azure: [marks.mark('token of Azure')],
      acme: [marks.mark('token of the parent'), marks.mark('minted token')],
    };
    /** Names and paths of services that accepted a request. */
    const used = new Set<string>();
    const services = await Promise.all(
      (['google', 'azure', 'acme'] as const).map(async (name) => {
        const host = hosts[name];
        const upstream = await startUpstream((request, response) => {
          request.resume();
          const { authorization = '' } = request.headers;
          const [, scheme = '', shown = ''] = /^(\w+) (.*)$/.exec(authorization) ?? [];
          const pair = scheme === 'Basic' ? Buffer.from(shown, 'base64').toString().split(':') : [shown];
          const { pathname, searchParams } = new URL(request.url ?? '', `https://${host}`);
          const values = [...pair, ...searchParams.values()];
          const isAllowed = values.some((value) => issued[name].includes(value));
          response.statusCode = isAllowed ? 200 : 401;
          if (isAllowed) used.add(name + pathname);
          const isMint = isAllowed && pathname === '/token';
          response.setHeader('Content-Type', 'application/json');
          response.end(
            JSON.stringify(isMint ? { token: issued.acme[1], expires_in: 600 } : { ok: isAllowed }),
          );
        }, upstreamLeaf(host));
        return { name, host, port: upstream.port, authority: `${host}:${upstream.port}` };
      }),
    );
    const double = await startAwsDouble(aws);
    const clouds = await startClouds();
    const awsAt = `${awsHost}:${double.port}`;
    const [google, azure, acme] = services.map(({ authority }) => authority);
    const resolved = [awsHost, ...services.map(({ host }) => host)];
    const at = await home({
      upstream: {
        ca: ['ca.pem'],
        resolve: Object.fromEntries(resolved.map((host) => [host, '127.0.0.1'])),
        private_addresses: ['127.0.0.1/32'],
      },
      domains: {
        [awsAt]: { grant: 'aws' },
        [google!]: { grant: 'google' },
        [azure!]: { grant: 'azure' },
        [acme!]: { grant: 'acme' },
      },
      providers: {
        acme: {
          audience: [acme],
          mints: [
            { name: 'token', path: '/token', member: 'token', goes_to: [acme], expires_member: 'expires_in' },
          ],
        },
      },
    });
    await writeFile(at.at('config', 'ca.pem'), upstreamCa + double.ca);
    const grant = (name: string, audience: string, credential: object) =>
      at.grant(name, credential, ['--provider', name, '--audience', audience]);
    await grant('aws', awsAt, { type: 'aws', access_key_id: aws.id, secret_access_key: aws.secret });
    for (const { name, authority } of services)
      await grant(name, authority, { type: 'api_key', value: issued[name][0] });
    const room = at.at('room');
    const user = at.at('user');
    for (const folder of [room, user]) await mkdir(folder);
    await writeFile(join(room, 'program.mjs'), program);
    const urls = {
      aws: `https://${awsAt}/`,
      google: `https://${google}/`,
      azure: `https://${azure}/`,
      acme: `https://${acme}`,
    };
    const args = [
      'run',
      '--config',
      at.configFile,
      '--show',
      checkout,
      '--',
      process.execPath,
      'program.mjs',
    ];
    const ran = await runProgram(args, room, {
      env: {
        HOME: user,
        SERVICES: JSON.stringify(urls),
        // Identities of the parent.
        ...clouds.github,
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `${clouds.services.container}/v1/credentials`,
        AWS_CONTAINER_AUTHORIZATION_TOKEN: podToken,
      },
    });
    if (ran.exit !== 0) throw new Error(ran.stderr + ran.stdout);

    // Every service was used.
    expect([...used].toSorted()).toEqual(['acme/', 'acme/token', 'acme/use', 'azure/', 'google/']);
    expect(double.seen.filter(({ refused }) => refused === undefined)).toHaveLength(3);

    const files = [...(await filesBelow(user)), ...(await filesBelow(room))];
    const seen = [
      ran.stdout,
      ran.stderr,
      ...files.map(([name, bytes]) => name + bytes.toString('latin1')),
    ].join('\n');
    expect(marks.findIn(Buffer.from(seen))).toEqual([]);
    for (const value of [podToken, requestToken]) expect(seen).not.toContain(value);

    /** Sends values directly to each service in each place. Returns the names of services that accept one. */
    const opened = async (values: readonly string[]): Promise<readonly string[]> => {
      const to = { rejectUnauthorized: false };
      const agents = [
        new Agent({ ...to, keepAlive: true, maxSockets: 8 }),
        new Agent({ ...to, maxSockets: 2 }),
      ];
      const send = (port: number, host: string, path: string, headers: object) =>
        new Promise<number>((resolve, reject) => {
          const options = {
            host: '127.0.0.1',
            servername: host.split(':')[0],
            port,
            path,
            agent: agents[port === double.port ? 1 : 0]!,
          };
          httpsRequest({ ...options, headers: { host, ...headers } }, (response) => {
            response.resume().once('end', () => resolve(response.statusCode ?? 0));
          })
            .once('error', (error: NodeJS.ErrnoException) => {
              // The stand-in of AWS closes the connection of a request that it refuses.
              if (error.code === 'ECONNRESET') resolve(403);
              else reject(error);
            })
            .end();
        });
      const tries = values.flatMap((value) =>
        services.flatMap(({ name, port, authority }) =>
          [`Bearer ${value}`, basic(`${value}:x`), basic(`x:${value}`)].map(
            async (authorization) =>
              [
                name,
                await send(port, authority, `/?access_token=${encodeURIComponent(value)}`, { authorization }),
              ] as const,
          ),
        ),
      );
      const ids = values.filter((value) => /^A[KS]IA\w{12,}$/.test(value));
      const signed = ids.flatMap((id) =>
        values.map(async (secret) => {
          const request = { service: 'dynamodb', region, host: awsAt, path: '/', headers: {} as object };
          const signer = new RequestSigner(request, { accessKeyId: id, secretAccessKey: secret });
          const { headers } = signer.sign();
          return ['aws', await send(double.port, awsAt, '/', headers)] as const;
        }),
      );
      const answers = await Promise.all([...tries, ...signed]);
      for (const agent of agents) agent.destroy();
      expect(answers.filter(([, status]) => ![401, 403].includes(status) && status >= 300)).toEqual([]);
      return [...new Set(answers.filter(([, status]) => status < 300).map(([name]) => name))].toSorted();
    };
    const pieces = seen.split(/[^!-~]+|["'`,;&<>(){}[\]\\=]+/);
    const tokens = [...new Set(pieces)].filter((each) => each.length >= 8 && each.length < 2_000);

    expect(tokens.length).toBeGreaterThan(50);
    expect(await opened(tokens)).toEqual([]);
    expect(await opened([aws.id, aws.secret, ...Object.values(issued).flat()])).toEqual([
      'acme',
      'aws',
      'azure',
      'google',
    ]);
  },
);
