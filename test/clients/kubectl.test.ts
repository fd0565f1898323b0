/** kubectl with a cluster of EKS below `sidekey run`: its plugin is the real `aws eks get-token`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type AwsDouble, startAwsDouble } from '../support/aws/aws-double.ts';
import { realKeys } from '../support/aws/aws-proxy.ts';
import { urlOfAuthenticator } from '../support/aws/eks.ts';
import { botocoreMissing, python } from '../support/aws/python.ts';
import { makeTestAuthority } from '../support/certificates.ts';
import { findClient } from '../support/client-program.ts';
import { checkout, home, runProgram } from '../support/command-line.ts';
import { startUpstream } from '../support/upstream.ts';

const kubectl = await findClient('kubectl', ['version', '--client']);
const aws = await findClient('aws', ['--version']);
const missing = [botocoreMissing, kubectl.missing, aws.missing].find((why) => why !== false) ?? false;

const endpoint = 'abcdef0123456789.gr7.eu-west-1.eks.amazonaws.com';
const clusterCa = makeTestAuthority('kubernetes');

const answers: Readonly<Record<string, object>> = {
  '/version': { major: '1', minor: '32', gitVersion: 'v1.32.0-eks' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
  '/api/v1': {
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [{ name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get', 'list'] }],
  },
  '/api/v1/namespaces/default/pods': {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: {},
    columnDefinitions: [{ name: 'Name', type: 'string', format: 'name', description: '', priority: 0 }],
    rows: [{ cells: ['the-only-pod'], object: { kind: 'PartialObjectMetadata', metadata: { name: 'a' } } }],
  },
};

/** Sends the request of a token to STS, with the name of the cluster; returns the status. */
function askSts(url: URL, { port, ca }: AwsDouble): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { host: url.host, 'x-k8s-aws-id': 'prod' };
    const path = `${url.pathname}${url.search}`;
    const options = { host: '127.0.0.1', port, ca, servername: url.host, path, headers };
    httpsRequest(options, (answer) => resolve(answer.resume().statusCode ?? 0))
      .on('error', reject)
      .end();
  });
}

/** Starts the API of a cluster that authenticates as EKS does, with a certificate of its own CA. */
async function startCluster(sts: AwsDouble) {
  const refused: string[] = [];
  const { port, url } = await startUpstream(
    (request, response) => {
      const [, token = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
      const checked = urlOfAuthenticator(token, Date.now());
      void (typeof checked === 'string' ? Promise.resolve(401) : askSts(checked, sts)).then((status) => {
        if (status !== 200) refused.push(typeof checked === 'string' ? checked : `STS: ${status}`);
        const answer = answers[(request.url ?? '').replace(/\?.*/, '')];
        response.statusCode = status !== 200 ? 401 : answer === undefined ? 404 : 200;
        response.setHeader('Content-Type', 'application/json').end(JSON.stringify(answer ?? {}));
      });
    },
    clusterCa.issue([endpoint]),
  );
  return { port, refused, url };
}

/** @param env variables of the plugin: `update-kubeconfig` writes them only with a profile */
async function setup(env?: readonly object[]) {
  const sts = await startAwsDouble(realKeys);
  const cluster = await startCluster(sts);
  const authority = `${endpoint}:${cluster.port}`;
  const at = await home({
    upstream: {
      host_ca: { [endpoint]: 'cluster-ca.pem' },
      resolve: { [endpoint]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
  });
  await writeFile(at.at('config', 'cluster-ca.pem'), clusterCa.cert);
  const keys = { type: 'aws', access_key_id: realKeys.id, secret_access_key: realKeys.secret };
  await at.grant('aws', keys, ['--provider', 'aws', '--audience', authority]);
  const allowed = await at.run(['domain', 'allow', authority, '--grant', 'aws', '--eks-cluster', 'prod']);
  expect(allowed.stdout).toContain(`Added ${authority} to`);
  expect(allowed.stdout).toContain('grant aws, EKS cluster prod.');
  const plugin = {
    apiVersion: 'client.authentication.k8s.io/v1beta1',
    command: 'aws',
    args: ['--region', 'eu-west-1', 'eks', 'get-token', '--cluster-name', 'prod', '--output', 'json'],
    env,
    interactiveMode: 'IfAvailable',
  };
  const entry = {
    server: `https://${authority}`,
    'certificate-authority-data': Buffer.from(clusterCa.cert).toString('base64'),
  };
  // The file that `aws eks update-kubeconfig` writes.
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'prod', cluster: entry }],
    contexts: [{ name: 'prod', context: { cluster: 'prod', user: 'prod' } }],
    'current-context': 'prod',
    users: [{ name: 'prod', user: { exec: plugin } }],
  };
  await mkdir(at.at('.kube'));
  await mkdir(at.at('work'));
  await writeFile(at.at('.kube', 'config'), JSON.stringify(kubeconfig));
  const shown = ['--show', checkout, '--show', dirname(dirname(python))];
  return {
    cluster,
    sts,
    run: (command: readonly string[], options: readonly string[] = []) =>
      runProgram(['run', '--config', at.configFile, ...shown, ...options, '--', ...command], at.at('work'), {
        env: { HOME: at.folder },
      }),
  };
}

const profile = [{ name: 'AWS_PROFILE', value: 'of-the-person' }];

describe.skipIf(missing !== false)(`kubectl${missing === false ? '' : ` (${missing})`}`, () => {
  test.each([
    ['confined', [], undefined],
    ['confined, with a profile', [], profile],
    ['not confined', ['--no-isolate'], undefined],
    ['not confined, with a profile', ['--no-isolate'], profile],
  ])('reads pods with no key on the machine, %s', { timeout: 120_000 }, async (_how, options, env) => {
    const { run, cluster, sts } = await setup(env);
    const version = await run(['kubectl', 'get', '--raw', '/version'], options);
    if (version.exit !== 0) throw new Error(version.stderr);
    expect(version.stdout).toContain('v1.32.0-eks');
    const pods = await run(['kubectl', 'get', 'pods'], options);
    if (pods.exit !== 0) throw new Error(pods.stderr);
    expect(pods.stdout).toMatch(/^NAME\nthe-only-pod/);
    expect(cluster.refused).toEqual([]);
    expect(sts.seen.map(({ id, refused }) => refused ?? id)).toContain(realKeys.id);
    expect(JSON.stringify([version, pods])).not.toContain(realKeys.id);
  });

  test('receives nothing that opens the cluster by itself', { timeout: 120_000 }, async () => {
    const { run, cluster, sts } = await setup();
    const words = ['aws', '--region', 'eu-west-1', 'eks', 'get-token', '--cluster-name', 'prod'];
    const script = `${words.join(' ')}; echo; printenv AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY`;
    const ran = await run(['sh', '-c', script]);
    const [, token = ''] = /"token": *"([^"]+)"/.exec(ran.stdout) ?? [];
    const values = [token, ...ran.stdout.trim().split(/\n+/).slice(-2)];
    expect(values).toEqual([
      expect.stringMatching(/^k8s-aws-v1\./),
      expect.stringMatching(/^ASIASIDE/),
      expect.stringContaining('sidekey'),
    ]);
    const statuses = values.map(
      (value) =>
        new Promise((resolve, reject) => {
          const headers = { authorization: `Bearer ${value}` };
          const options = { host: '127.0.0.1', servername: endpoint, ca: clusterCa.cert, headers };
          httpsRequest({ ...options, port: cluster.port, path: '/version' }, (answer) =>
            resolve(answer.resume().statusCode),
          )
            .on('error', reject)
            .end();
        }),
    );
    expect(await Promise.all(statuses)).toEqual([401, 401, 401]);
    expect(cluster.refused.toSorted()).toEqual([
      'STS: 403',
      'token is missing expected prefix',
      'token is missing expected prefix',
    ]);
    expect(sts.seen.map(({ refused }) => refused)).toEqual(['InvalidAccessKeyId']);
  });
});
