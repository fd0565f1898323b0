import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { issueLeaf, makeAuthority, validFor } from '../../../examples/helpdesk/certificate.ts';
import { certificatesIn } from '../../../src/ca/trust-bundle.ts';
import { certificatesWithin, javaRoots } from '../../../src/clients/java.ts';
import { writeTrustFiles } from '../../../src/clients/trust-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { patternOf } from '../proxy/policy/policy-for-test.ts';
import { hasProgram } from '../ca/ca-for-test.ts';

const noKeytool = !hasProgram('keytool', '-help');
const made = (name: string) => makeAuthority(name, validFor(30, Date.now())).cert;
const [ours, company, extra] = [made('Ours'), made('Company'), made('Extra')];
const fingerprint = (pem: string) => new X509Certificate(pem).fingerprint256;
const fingerprintsIn = async (file: string) =>
  certificatesIn(await readFile(file, 'utf8')).map((der) => new X509Certificate(der).fingerprint256);

/** The files for a parent with an empty HOME. The user is not root by default. */
async function written(parent: Readonly<Record<string, string>> = {}, uid = 1_000) {
  const user = vi.spyOn(process, 'getuid').mockReturnValue(uid);
  onTestFinished(() => user.mockRestore());
  const home = await tempFolder();
  const folder = join(home, 'trust');
  const trust = await writeTrustFiles(folder, { authorityPem: ours, parent: { HOME: home, ...parent } });
  return { home, folder, trust };
}

async function fileWith(content: string, name = 'company.pem'): Promise<string> {
  const file = join(await tempFolder(), name);
  await writeFile(file, content);
  return file;
}

describe('the trust files', () => {
  test('are readable for everybody, complete, and in Sidekey’s folder', async () => {
    const { folder, trust } = await written();
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    for (const file of [trust.caFile, trust.bundleFile, trust.javaTrustStore.file])
      expect((await stat(file)).mode & 0o777).toBe(0o644);
    expect((await readdir(folder)).toSorted()).toEqual([
      'apt.conf',
      'bundle.pem',
      'ca.pem',
      'extra.pem',
      'hgrc',
      'java.p12',
      'node-proxy.cjs',
      'php',
      'wgetrc',
    ]);
    expect(trust.notes).toEqual([]);
  });

  test('replace roots by the roots of the machine and Sidekey’s CA, and add only Sidekey’s CA', async () => {
    const { trust } = await written();
    expect(await fingerprintsIn(trust.caFile)).toEqual([fingerprint(ours)]);
    expect(await fingerprintsIn(trust.extraFile)).toEqual([fingerprint(ours)]);
    const bundle = await fingerprintsIn(trust.bundleFile);
    expect(bundle[0]).toBe(fingerprint(ours));
    expect(bundle.length).toBeGreaterThan(50);
  });

  test('keep all roots that the parent trusted', async () => {
    const { trust } = await written({
      REQUESTS_CA_BUNDLE: await fileWith(company),
      NODE_EXTRA_CA_CERTS: await fileWith(extra),
    });
    const bundle = await fingerprintsIn(trust.bundleFile);
    expect(bundle).toEqual(expect.arrayContaining([company, extra].map(fingerprint)));
    expect(bundle.length).toBeGreaterThan(50);
    // A bundle that replaced the roots of one program is not added to those of others.
    expect(await fingerprintsIn(trust.extraFile)).toEqual([ours, extra].map(fingerprint));
    const java = certificatesWithin(await readFile(trust.javaTrustStore.file));
    expect(java.map(({ fingerprint256 }) => fingerprint256)).toEqual(
      expect.arrayContaining([ours, company, extra].map(fingerprint)),
    );
  });

  test('are made, with a note, when a file of the parent cannot be read', async () => {
    const folder = await tempFolder();
    const { trust } = await written({
      SSL_CERT_FILE: join(folder, 'missing.pem'),
      CURL_CA_BUNDLE: folder,
      PIP_CERT: await fileWith('no certificate'),
    });
    expect(trust.notes).toEqual([
      `SSL_CERT_FILE names ${folder}/missing.pem, which cannot be read (ENOENT): nothing of it is trusted.`,
      `CURL_CA_BUNDLE names ${folder}, which is not a file: nothing of it is trusted.`,
      expect.stringMatching(/^PIP_CERT names .* has no certificate in it/),
    ]);
    expect((await fingerprintsIn(trust.bundleFile)).length).toBeGreaterThan(50);
  });

  test('are the same if they are written again with their own variables set', async () => {
    const { home, folder, trust } = await written({ SSL_CERT_FILE: await fileWith(company) });
    const before = await fingerprintsIn(trust.bundleFile);
    const parent = { HOME: home, SSL_CERT_FILE: trust.bundleFile, NODE_EXTRA_CA_CERTS: trust.extraFile };
    const again = await writeTrustFiles(folder, { authorityPem: ours, parent });
    expect((await fingerprintsIn(again.bundleFile)).toSorted()).toEqual(before.toSorted());
    expect(await fingerprintsIn(again.extraFile)).toEqual([fingerprint(ours)]);
  });

  test('leave the wget settings of a person unchanged, with a note of what is missing', async () => {
    const { home, folder } = await written();
    await writeFile(join(home, '.wgetrc'), 'tries = 1\n');
    const trust = await writeTrustFiles(folder, { authorityPem: ours, parent: { HOME: home } });
    expect(trust.wgetFile).toBeNull();
    expect(trust.notes).toEqual([expect.stringContaining(`ca_certificate = ${trust.bundleFile}`)]);
  });

  test('keep the Mercurial settings that are read by default, and come last', async () => {
    const { home, folder, trust } = await written({ PATH: '/nowhere' });
    const system = ['/etc/mercurial/hgrc.d', '/etc/mercurial/hgrc'];
    const ours = join(folder, 'hgrc');
    const usual = [...system, join(home, '.hgrc'), join(home, '.config', 'hg', 'hgrc'), ours].join(':');
    expect(trust.hgrcPath).toBe(usual);
    expect(await readFile(ours, 'utf8')).toBe(`[web]\ncacerts = ${trust.bundleFile}\n`);
    const again = (parent: NodeJS.ProcessEnv) => writeTrustFiles(folder, { authorityPem, parent });
    const authorityPem = company;
    expect((await again({ HOME: home, HGRCPATH: '/own/hgrc' })).hgrcPath).toBe(`/own/hgrc:${ours}`);
    expect((await again({ HOME: home, HGRCPATH: '' })).hgrcPath).toBe(ours);
    expect((await again({ HOME: home, HGRCPATH: usual })).hgrcPath).toBe(usual);
  });

  test('include the settings that an installed Mercurial reads from its own folder', async () => {
    const prefix = await tempFolder();
    const defaults = join(prefix, 'lib', 'python3.11', 'site-packages', 'mercurial', 'defaultrc');
    await mkdir(defaults, { recursive: true });
    await mkdir(join(prefix, 'bin'));
    await writeFile(join(prefix, 'bin', 'hg'), '');
    const { trust } = await written({ PATH: `/nowhere:${join(prefix, 'bin')}` });
    expect(trust.hgrcPath?.split(':').slice(0, 3)).toEqual([
      defaults,
      join(prefix, 'etc', 'mercurial', 'hgrc.d'),
      join(prefix, 'etc', 'mercurial', 'hgrc'),
    ]);
  });

  test('have a kubeconfig before those of the user, and once, if these name a cluster of the map', async () => {
    const action = { kind: 'grant', grant: 'aws', allowPlainHttp: false } as const;
    const domains = [{ pattern: patternOf('*.eks.amazonaws.com'), origin: 'domains', action }];
    const cluster = { name: 'a', cluster: { server: 'https://a.eks.amazonaws.com' } };
    const [own, missing] = [await fileWith(JSON.stringify({ clusters: [cluster] })), '/not-there'];
    const folder = await tempFolder();
    const valueFor = async (parent: NodeJS.ProcessEnv) =>
      (await writeTrustFiles(folder, { authorityPem: ours, parent, domains })).kubeconfig;
    const value = [join(folder, 'kubeconfig'), missing, own].join(delimiter);
    expect(await valueFor({ KUBECONFIG: [missing, own].join(delimiter) })).toBe(value);
    expect(await valueFor({ KUBECONFIG: value })).toBe(value);
    expect(await readdir(folder)).toContain('kubeconfig');
    expect(await valueFor({ KUBECONFIG: missing, HOME: folder })).toBeNull();
    expect(await readdir(folder)).not.toContain('kubeconfig');
    await mkdir(join(folder, '.kube'));
    await writeFile(join(folder, '.kube', 'config'), JSON.stringify({ clusters: [cluster] }));
    const usual = [join(folder, 'kubeconfig'), join(folder, '.kube', 'config')].join(delimiter);
    expect(await valueFor({ HOME: folder })).toBe(usual);
  });

  test('include the apt settings of APT_CONFIG, even if APT_CONFIG already names the file of Sidekey', async () => {
    const own = await fileWith('APT::Color "0";', 'own apt.conf');
    const { home, folder, trust } = await written({ APT_CONFIG: own });
    const file = join(folder, 'apt.conf');
    expect(trust.aptFile).toBe(file);
    const text = `#include "${own}";\nAcquire::https::CAInfo "${trust.bundleFile}";\n`;
    expect(await readFile(file, 'utf8')).toBe(text);
    await writeTrustFiles(folder, { authorityPem: ours, parent: { HOME: home, APT_CONFIG: file } });
    expect(await readFile(file, 'utf8')).toBe(text);
    const quoted = await written({ APT_CONFIG: '/a"b' });
    expect(quoted.trust.aptFile).toBeNull();
  });

  test('contain no apt settings for root in a private folder, which the user _apt cannot enter', async () => {
    const { folder, trust } = await written({}, 0);
    expect(trust.aptFile).toBeNull();
    expect(await readdir(folder)).not.toContain('apt.conf');
  });

  test('name the file that cannot be written', async () => {
    const file = await fileWith('');
    await expect(
      writeTrustFiles(join(file, 'trust'), { authorityPem: ours, parent: {} }),
    ).rejects.toMatchObject({ code: 'file_unwritable' });
  });
});

const jdkWith = async (store: Buffer): Promise<string> => {
  const home = await tempFolder();
  await mkdir(join(home, 'lib', 'security'), { recursive: true });
  await writeFile(join(home, 'lib', 'security', 'cacerts'), store);
  return home;
};
const keystore = async (type: string): Promise<string> => {
  const [file, folder] = [await fileWith(company), await tempFolder()];
  const store = join(folder, 'store');
  const words = ['-importcert', '-noprompt', '-alias', 'company', '-file', file, '-keystore', store];
  execFileSync('keytool', [...words, '-storetype', type, '-storepass', 'changeit'], { stdio: 'ignore' });
  return store;
};

const fingerprintsOf = async (store: Buffer) =>
  certificatesWithin(store).map(({ fingerprint256 }) => fingerprint256);

describe('the roots of Java', () => {
  test.skipIf(noKeytool)('are read from a JKS file (skipped without keytool)', async () => {
    const found = await javaRoots({ JAVA_HOME: await jdkWith(await readFile(await keystore('JKS'))) });
    expect(found.roots?.map(fingerprint)).toEqual([fingerprint(company)]);
  });

  test('are read from the PKCS #12 file without encryption of a JDK', async () => {
    const { trust } = await written();
    const store = await readFile(trust.javaTrustStore.file);
    const found = await javaRoots({ JAVA_HOME: await jdkWith(store) });
    expect(found.roots?.map(fingerprint)).toEqual(await fingerprintsOf(store));
    expect(found.roots?.length).toBeGreaterThan(50);
  });

  test('come from the trust store in JAVA_TOOL_OPTIONS before the JDK', async () => {
    const { trust } = await written();
    const parent = {
      JAVA_HOME: '/nowhere',
      JAVA_TOOL_OPTIONS: `-Djavax.net.ssl.trustStore=${trust.javaTrustStore.file}`,
    };
    expect((await javaRoots(parent)).roots?.map(fingerprint)).toContain(fingerprint(ours));
  });

  test('come from the machine if a store has none, with a note if JAVA_TOOL_OPTIONS names the store', async () => {
    const file = await fileWith('encrypted', 'store.p12');
    const found = await javaRoots({ JAVA_TOOL_OPTIONS: `-Djavax.net.ssl.trustStore=${file}` });
    expect(found).toEqual({ roots: null, notes: [expect.stringContaining(file)] });
    expect(await javaRoots({ JAVA_HOME: await jdkWith(Buffer.from('0\u0082')) })).toEqual({
      roots: null,
      notes: [],
    });
    expect(await javaRoots({ PATH: '' })).toEqual({ roots: null, notes: [] });
  });

  test('are read from the JDK of the java in the PATH', async () => {
    const { trust } = await written();
    const home = await jdkWith(await readFile(trust.javaTrustStore.file));
    await mkdir(join(home, 'bin'));
    await writeFile(join(home, 'bin', 'java'), '#!/bin/sh\n');
    await chmod(join(home, 'bin', 'java'), 0o755);
    expect((await javaRoots({ PATH: `/nowhere:${join(home, 'bin')}` })).roots).not.toBeNull();
  });

  test('contain no truncated certificate', () => {
    const der = new X509Certificate(company).raw;
    const store = Buffer.concat([Buffer.from([0x30, 0x82]), der, Buffer.from('x'), der.subarray(0, -1)]);
    expect(certificatesWithin(store).map(({ fingerprint256 }) => fingerprint256)).toEqual([
      fingerprint(company),
    ]);
  });
});

test('roots and leaves are distinguished from data that only resembles them', () => {
  const authority = makeAuthority('A', validFor(30, Date.now()));
  const leaf = issueLeaf(authority, 'a.test', validFor(30, Date.now()));
  const all = [authority.cert, leaf.cert, ...rootCertificates.slice(0, 20)].map(
    (pem) => new X509Certificate(pem),
  );
  const store = Buffer.concat(all.flatMap(({ raw }) => [Buffer.from([0x30, 0x82, 0xff]), raw]));
  expect(certificatesWithin(store).map(({ fingerprint256 }) => fingerprint256)).toEqual(
    all.map(({ fingerprint256 }) => fingerprint256),
  );
});
