import { describe, expect, test } from 'vitest';
import { javaOption, javaOptions, nonProxyHosts } from '../../../src/clients/java.ts';

const settings = {
  trustStore: { file: '/t/java.p12', password: 'changeit' },
  proxy: { host: '127.0.0.1', port: 8377 },
  noProxy: ['localhost'],
};

describe('JAVA_TOOL_OPTIONS', () => {
  test('has trust store, proxy and tunnelling, and no secret', () => {
    expect(javaOptions('', settings).split(' ')).toEqual([
      '-Djavax.net.ssl.trustStore=/t/java.p12',
      '-Djavax.net.ssl.trustStoreType=PKCS12',
      '-Djavax.net.ssl.trustStorePassword=changeit',
      '-Dhttp.proxyHost=127.0.0.1',
      '-Dhttp.proxyPort=8377',
      '-Dhttps.proxyHost=127.0.0.1',
      '-Dhttps.proxyPort=8377',
      '-Dhttp.nonProxyHosts=localhost|*.localhost',
      '-Daether.connector.http.useSystemProperties=true',
      '-Djdk.http.auth.tunneling.disabledSchemes=',
    ]);
  });

  test('keeps the existing value in front', () => {
    expect(javaOptions(`-Xmx1g '-Dx=a b'  -javaagent:/a.jar`, settings)).toMatch(
      /^-Xmx1g '-Dx=a b' -javaagent:\/a\.jar -Djavax\.net/,
    );
  });

  test('replaces its own options, however they are quoted, so that it can be applied twice', () => {
    const before = `-Dhttps.proxyHost=corp '-Djavax.net.ssl.trustStore=/a b' -Dhttp."proxyPort"=1 -Xss1m`;
    const once = javaOptions(before, settings);
    expect(once).not.toMatch(/corp|\/a b|=1 /);
    expect(javaOptions(once, settings)).toBe(once);
  });

  test.each([`/a b/c`, `/it's`, `/"q"`, `/both ' and "`])('contains the path %s', (file) => {
    const text = javaOptions('', { ...settings, trustStore: { file, password: 'x' } });
    expect(javaOption(text, 'javax.net.ssl.trustStore')).toBe(file);
    expect(javaOption(text, 'http.proxyHost')).toBe('127.0.0.1');
  });

  test('uses the last of two options with the same name', () => {
    expect(javaOption('-Da=1 -Da=2', 'a')).toBe('2');
    expect(javaOption('-Dab=1', 'a')).toBeNull();
  });
});

test('NO_PROXY is translated to the syntax of Java', () => {
  const entries = [
    'localhost',
    '127.0.0.1',
    '::1',
    '.corp.example',
    '*.x.example',
    '10.0.0.0/8',
    'h:8080',
    'a|b',
  ];
  expect(nonProxyHosts(entries)).toBe(
    'localhost|*.localhost|127.*|[::1]|corp.example|*.corp.example|x.example|*.x.example',
  );
  expect(nonProxyHosts(['*'])).toBe('*');
});
