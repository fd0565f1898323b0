import { writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { kubeconfigFor } from '../../../src/clients/kubeconfig.ts';
import type { Domain } from '../../../src/proxy/policy/domain-map.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { patternOf } from '../proxy/policy/policy-for-test.ts';

const pem = '-----BEGIN CERTIFICATE-----\n';
const domain = (pattern: string, kind: 'grant' | 'tunnel' = 'grant'): Domain => ({
  pattern: patternOf(pattern),
  origin: 'domains',
  action: kind === 'tunnel' ? { kind } : { kind, grant: 'aws', allowPlainHttp: false },
});
const domains = [domain('*.eks.amazonaws.com'), domain('tunnel.test', 'tunnel')];

const cluster = (name: string, server: string, more: object = {}) => ({ name, cluster: { server, ...more } });
const context = (name: string, of: string, user = of) => ({ name, context: { cluster: of, user } });
const exec = {
  apiVersion: 'client.authentication.k8s.io/v1beta1',
  command: 'aws',
  args: ['eks', 'get-token'],
};

/** Returns what is written for files; null: nothing. */
async function written(...files: readonly (object | string)[]) {
  const folder = await tempFolder();
  const paths = files.map((_, index) => join(folder, String(index)));
  for (const [index, file] of files.entries())
    await writeFile(paths[index]!, typeof file === 'string' ? file : stringify(file));
  const parent = { KUBECONFIG: paths.join(delimiter), HOME: folder };
  const found = kubeconfigFor(join(folder, 'ours'), parent, domains, pem);
  return found === null ? null : (JSON.parse(found.text) as Readonly<Record<string, unknown>>);
}

/** A file with one cluster, and two contexts. */
const fileWith = (server: string, current: string) => ({
  clusters: [cluster('eks', server)],
  contexts: [context('a', 'eks'), context('b', 'eks')],
  'current-context': current,
});

describe('the kubeconfig of a run', () => {
  test('has the intercepted clusters with the CA of Sidekey alone, and what belongs to them', async () => {
    const theirs = {
      'certificate-authority-data': 'dGhlaXJz',
      'proxy-url': 'http://p.test',
      'tls-server-name': 'other.test',
    };
    const file = {
      clusters: [
        cluster('eks', 'https://a.gr7.eu-west-1.eks.amazonaws.com', theirs),
        cluster('insecure', 'https://b.eks.amazonaws.com:443', { 'insecure-skip-tls-verify': true }),
        cluster('port', 'https://b.eks.amazonaws.com:8443'),
        cluster('plain', 'http://b.eks.amazonaws.com:443'),
        cluster('tunnel', 'https://tunnel.test'),
        cluster('local', 'https://127.0.0.1:6443'),
      ],
      contexts: [context('at-eks', 'eks'), context('more', 'insecure'), context('at-local', 'local')],
      users: [
        { name: 'eks', user: { exec: { ...exec, env: [{ name: 'AWS_PROFILE', value: 'me' }] }, token: 'a' } },
        { name: 'insecure', user: { exec } },
        { name: 'local', user: { exec } },
      ],
      'current-context': 'at-eks',
    };
    const ours = { 'certificate-authority-data': Buffer.from(pem).toString('base64') };
    expect(await written(file)).toEqual({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        cluster('eks', 'https://a.gr7.eu-west-1.eks.amazonaws.com', ours),
        cluster('insecure', 'https://b.eks.amazonaws.com:443', ours),
      ],
      contexts: [context('at-eks', 'eks'), context('more', 'insecure')],
      users: ['eks', 'insecure'].map((name) => ({ name, user: { exec } })),
      'current-context': 'at-eks',
    });
  });

  test('has no credential of a file', async () => {
    const secrets = { token: 'SECRET', password: 'SECRET', 'client-key-data': 'SECRET', username: 'SECRET' };
    const file = {
      clusters: [cluster('eks', 'https://a.eks.amazonaws.com')],
      contexts: [
        context('one', 'eks', 'static'),
        context('two', 'eks', 'plugin'),
        context('three', 'eks', 'other'),
      ],
      users: [
        { name: 'static', user: secrets },
        {
          name: 'other',
          user: { exec: { ...exec, command: 'kubelogin', args: ['--client-secret=SECRET'] } },
        },
        {
          name: 'plugin',
          user: { ...secrets, exec: { ...exec, env: [{ name: 'A', value: 'SECRET' }], ...secrets } },
        },
      ],
    };
    expect(await written(file)).toMatchObject({ users: [{ name: 'plugin' }], 'current-context': '' });
    expect(JSON.stringify(await written(file))).not.toContain('SECRET');
  });

  test('takes each entry from the first file that has it, also beside files that cannot be read', async () => {
    const [first, second] = [
      fileWith('https://a.eks.amazonaws.com', ''),
      fileWith('https://b.eks.amazonaws.com', 'b'),
    ];
    expect(await written('', 'clusters: 5', '{', first, second)).toMatchObject({
      clusters: [{ cluster: { server: 'https://a.eks.amazonaws.com' } }],
      'current-context': 'b',
    });
    // A cluster of an earlier file hides one of a later file.
    expect(await written(fileWith('https://127.0.0.1:6443', 'a'), second)).toBeNull();
  });

  test('has the plugin of a user without more members, and nothing of a circular one', async () => {
    const file = stringify({ ...fileWith('https://a.eks.amazonaws.com', 'a'), users: [] });
    const users = (member: string) =>
      file.replace('users: []', `users: [{ name: eks, user: { exec: &e { command: aws, ${member} } } }]`);
    const plain = { users: [{ name: 'eks', user: { exec: { command: 'aws' } } }] };
    expect(await written(users('env: null'))).toMatchObject(plain);
    expect(await written(users('other: *e'))).toMatchObject(plain);
    expect(await written(users('args: *e'))).toMatchObject({ users: [] });
    expect(await written(users('args: [5]'))).toMatchObject({ users: [] });
  });

  test('is not written without such a cluster', async () => {
    expect(await written({ clusters: [cluster('local', 'https://127.0.0.1:6443')] })).toBeNull();
    expect(await written()).toBeNull();
  });

  test('is not searched for if no entry of the map has a grant', () => {
    const parent = {
      get KUBECONFIG(): string {
        throw new Error('read');
      },
    };
    expect(kubeconfigFor('/ours', parent, [domain('a.eks.amazonaws.com', 'tunnel')], pem)).toBeNull();
    expect(() => kubeconfigFor('/ours', parent, domains, pem)).toThrow('read');
  });
});
