import { describe, expect, test } from 'vitest';
import { clients, variablesOfOnly } from '../../../src/clients/programs.ts';
import { clientNames } from '../../../src/config/schema.ts';
import { clientVariables, variables } from '../../../src/clients/variables.ts';

const trust = {
  caFile: '/t/ca.pem',
  extraFile: '/t/extra.pem',
  bundleFile: '/t/bundle.pem',
  javaTrustStore: { file: '/t/java.p12', password: 'changeit' },
  nodeFile: '/t/a b/node-proxy.cjs',
  phpFolder: '/t/php',
  wgetFile: '/t/wgetrc',
  hgrcPath: '/etc/mercurial/hgrc:/t/hgrc',
  aptFile: '/t/apt.conf',
  kubeconfig: '/t/kubeconfig:/home/a/.kube/config',
};
const settings = {
  proxy: { url: 'http://a:secret-token@127.0.0.1:8377', host: '127.0.0.1', port: 8377 },
  trust,
  noProxy: ['localhost'],
};
const given = (parent: NodeJS.ProcessEnv, more: object = {}) =>
  clientVariables({ ...settings, parent, ...more });

/** Variables of git and Cargo about revocation. */
const onWindows = (parent: NodeJS.ProcessEnv, keep: readonly string[] = [], platform = 'win32') =>
  Object.entries(given(parent, { platform, keep })).filter(([name]) => /^GIT_CONFIG|REVOKE/.test(name));

describe('the tables of clients', () => {
  test('name each variable and each client once', () => {
    for (const names of [variables.map(({ name }) => name), clients.map(({ name }) => name)])
      expect(names).toEqual([...new Set(names)]);
  });

  test('name the clients and the reason for each trust variable', () => {
    const needed = new Set<string>(clients.flatMap((client) => client.variables));
    const proxies = variables.filter(({ value }) => value === 'proxy' || value === 'no-proxy');
    const usual = variables.filter(
      (variable) => !('onlyIfSet' in variable) && !proxies.some(({ name }) => name === variable.name),
    );
    expect(usual.filter(({ name }) => !needed.has(name))).toEqual([]);
    for (const { why } of variables) expect(why).toMatch(/^[A-Z].*\.$/);
    for (const { notes } of clients) for (const note of notes) expect(note).toMatch(/\.$/);
  });
});

describe('the variables for clients', () => {
  test('are in upper and lower case when programs read either', () => {
    const set = given({});
    for (const name of ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'])
      expect(set[name]).toBe(settings.proxy.url);
    expect([set['NO_PROXY'], set['no_proxy']]).toEqual(['localhost', 'localhost']);
  });

  test('set the bundle for variables that replace roots, and Sidekey’s CA for variables that add roots', () => {
    const set = given({});
    expect(set['SSL_CERT_FILE']).toBe(trust.bundleFile);
    expect(set['NODE_EXTRA_CA_CERTS']).toBe(trust.extraFile);
  });

  test('replace variables that bypass Sidekey only when the parent has them', () => {
    expect(Object.keys(given({}))).not.toEqual(expect.arrayContaining(['ALL_PROXY']));
    expect(
      given({ ALL_PROXY: 'socks5://corp', npm_config_proxy: 'http://corp', PIP_PROXY: '' }),
    ).toMatchObject({
      ALL_PROXY: settings.proxy.url,
      npm_config_proxy: settings.proxy.url,
    });
    expect(given({ PIP_PROXY: '' })['PIP_PROXY']).toBeUndefined();
  });

  test('do not change variables of no table', () => {
    const parent = { NODE_DEBUG: 'http', PATH: '/bin', LANG: 'C' };
    for (const name of Object.keys(parent)) expect(given(parent)[name]).toBeUndefined();
  });

  test('add a file to NODE_OPTIONS once, after the options that are there', () => {
    const ours = '--require "/t/a b/node-proxy.cjs"';
    expect(given({})['NODE_OPTIONS']).toBe(ours);
    for (const before of [
      '--max-old-space-size=100',
      `--max-old-space-size=100 --require "/x/node-proxy.cjs"`,
    ])
      expect(given({ NODE_OPTIONS: before })['NODE_OPTIONS']).toBe(`--max-old-space-size=100 ${ours}`);
    const windows = { ...trust, nodeFile: 'C:\\a b\\node-proxy.cjs' };
    const option = '--require "C:\\\\a b\\\\node-proxy.cjs"';
    expect(given({ NODE_OPTIONS: option }, { trust: windows })['NODE_OPTIONS']).toBe(option);
  });

  test('contain the token only in URLs of the proxy, not in the options that Java prints', () => {
    const shown = Object.entries(given({})).filter(([, value]) => value.includes('secret-token'));
    expect(shown.map(([name]) => name).filter((name) => !/proxy/i.test(name))).toEqual([]);
  });

  test('keep the folders of PHP, and add Sidekey’s once', () => {
    expect(given({})['PHP_INI_SCAN_DIR']).toBe(':/t/php');
    expect(given({ PHP_INI_SCAN_DIR: '/etc/php:/x' })['PHP_INI_SCAN_DIR']).toBe('/etc/php:/x:/t/php');
    expect(given({ PHP_INI_SCAN_DIR: ':/t/php' })['PHP_INI_SCAN_DIR']).toBe(':/t/php');
  });

  test('leave kept variables, and those that only clients need which are off', () => {
    expect(given({ JAVA_TOOL_OPTIONS: '-Xmx1g' }, { keep: ['JAVA_TOOL_OPTIONS'] })).not.toHaveProperty(
      'JAVA_TOOL_OPTIONS',
    );
    expect(variablesOfOnly(new Set(['java']))).toEqual(['JAVA_TOOL_OPTIONS']);
    // Agents need the others.
    expect(variablesOfOnly(new Set(['node']))).toEqual(['NODE_OPTIONS']);
    expect(variablesOfOnly(new Set())).toEqual([]);
    expect(clients.map(({ name }) => name).toSorted()).toEqual(clientNames.toSorted());
  });

  test('leave the wget settings of a person unchanged', () => {
    expect(given({}, { trust: { ...trust, wgetFile: null } })['WGETRC']).toBeUndefined();
  });

  test('make Mojolicious, Mercurial and apt use the proxy and trust its CA', () => {
    expect(given({})).toMatchObject({
      MOJO_PROXY: '1',
      HGRCPATH: '/etc/mercurial/hgrc:/t/hgrc',
      APT_CONFIG: '/t/apt.conf',
    });
    const without = given({}, { trust: { ...trust, hgrcPath: null, aptFile: null } });
    expect([without['HGRCPATH'], without['APT_CONFIG']]).toEqual([undefined, undefined]);
  });

  test.each(['linux', 'win32'])('are the same when they are applied twice on %s', (platform) => {
    const once = given(
      { NO_PROXY: 'corp.example', JAVA_TOOL_OPTIONS: '-Xmx1g', NODE_OPTIONS: '--no-warnings' },
      { platform },
    );
    expect(given({ ...once }, { platform })).toEqual(once);
  });

  const key = 'http.schannelCheckRevoke';
  const cargo = ['CARGO_HTTP_CHECK_REVOKE', 'false'];
  const ours = (at: number) => [
    ['GIT_CONFIG_COUNT', String(at + 1)],
    [`GIT_CONFIG_KEY_${at}`, key],
    [`GIT_CONFIG_VALUE_${at}`, 'false'],
  ];

  test.each<readonly [string, NodeJS.ProcessEnv, readonly unknown[]]>([
    ['nothing', {}, ours(0)],
    ['an empty count', { GIT_CONFIG_COUNT: '' }, ours(0)],
    ['two settings', { GIT_CONFIG_COUNT: '2', GIT_CONFIG_KEY_0: 'a.b', GIT_CONFIG_KEY_1: 'c.d' }, ours(2)],
    [
      'the setting with another value',
      { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'HTTP.schannelcheckrevoke', GIT_CONFIG_VALUE_0: 'true' },
      [],
    ],
    ['an invalid count', { GIT_CONFIG_COUNT: 'x' }, []],
  ])('turn off the revocation checks of Schannel in git and Cargo, beside %s', (_, parent, git) => {
    expect(onWindows(parent)).toEqual([...git, cargo]);
    expect(onWindows(parent, [], 'linux')).toEqual([]);
    expect(onWindows(parent, ['GIT_CONFIG_COUNT'])).toEqual([cargo]);
  });
});
