import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';
import { createAddressGuard, parseCidr } from '../../src/proxy/policy/authority.ts';

/**
 * The incident: a config key that nobody read, because it was misspelt, repeated or of another type, was
 * passed over in silence, and what it was to forbid was allowed. Every such text must be refused.
 */

const load = (text: string): Promise<Config> => parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });

describe('an unknown part of the config is an error', () => {
  test.each([
    ['a misspelt key', 'version: 1\nproxy: { agnets: required }'],
    ['a key on the wrong level', 'version: 1\nauthentication: required'],
    ['a key of a later version', 'version: 1\ndomains: { a.b: { grant: x, rules: [] } }'],
    ['a key in another case', 'version: 1\nproxy: { Agents: required }'],
    [
      'the same key again, which weakens the first',
      'version: 1\nproxy: { authentication: required, authentication: optional }',
    ],
    ['the same section again', 'version: 1\nproxy: { authentication: required }\nproxy: {}'],
    ['the same domain in another spelling', 'version: 1\ndomains: { a.b: deny, A.B.: tunnel }'],
    ['the same domain in punycode', 'version: 1\ndomains: { bücher.test: deny, xn--bcher-kva.test: tunnel }'],
    ['__proto__ as a domain', 'version: 1\ndomains: { __proto__: deny }'],
    ['__proto__ as a section', 'version: 1\n__proto__: { proxy: { authentication: required } }'],
    ['__proto__ in a section', 'version: 1\nproxy: { __proto__: { authentication: required } }'],
    ['a YAML merge key', 'version: 1\nproxy: { <<: { authentication: required } }'],
    ['a list in place of a map', 'version: 1\ndomains: [{ a.b: deny }]'],
    ['a text in place of a boolean', 'version: 1\ndomains: { a.b: { grant: x, allow_plain_http: no } }'],
    ['an empty section', 'version: 1\nproxy:'],
    ['a second YAML document', 'version: 1\n---\nproxy: { authentication: required }'],
    ['YAML 1.1, in which "no" is a boolean', '%YAML 1.1\n---\nversion: 1'],
    ['a YAML tag', 'version: 1\nproxy: !include proxy.yaml'],
    ['an unsupported version', 'version: 2'],
    ['the version as a text', 'version: "1"'],
    ['no version', 'proxy: {}'],
    ['an empty file', ''],
    ['a file with only a comment', '# version: 1'],
  ])('%s', async (_, text) => {
    await expect(load(text)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});

describe('a setting that would turn a guard off', () => {
  test.each([
    '0.0.0.0/0',
    '::/0',
    '0.0.0.0/1',
    '128.0.0.0/1',
    '::/1',
    '8000::/1',
    '::ffff:0:0/96',
    '::ffff:0.0.0.0/97',
    '::ffff:169.254.169.254',
    '::/8',
    '10.0.0.0/-1',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/',
    '0x0a.0.0.0/8',
    '*',
    'any',
    '',
  ])('private_addresses: %j is refused', async (block) => {
    const text = `version: 1\nupstream: { private_addresses: [${JSON.stringify(block)}] }`;
    await expect(load(text)).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('no accepted block permits the metadata address unless it covers the address', async () => {
    const text = `version: 1\nupstream: { private_addresses: [10.0.0.0/8, 192.168.0.0/16, 'fc00::/7', '::1'] }`;
    const { upstream } = await load(text);
    const guard = createAddressGuard(
      upstream.privateAddresses.map(parseCidr).filter((block) => block !== null),
    );
    for (const address of ['169.254.169.254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe']) {
      expect(guard(address)).toBe(false);
    }
    expect(guard('10.1.2.3')).toBe(true);
  });

  test.each(['0.0.0.0:8377', '[::]:8377', '10.1.2.3:8377', '[::ffff:127.0.0.1]:8377', '[fd00::1]:0'])(
    'a listener on %s without tokens does not start',
    async (listen) => {
      const open = `version: 1\nproxy: { listen: ${JSON.stringify(listen)} }`;
      await expect(load(open)).rejects.toMatchObject({ code: 'listener_open' });
      await expect(load(open.replace(' }', ', authentication: optional }'))).rejects.toMatchObject({
        code: 'listener_open',
      });
      await expect(load(open.replace(' }', ', authentication: required }'))).resolves.toBeDefined();
    },
  );

  test.each(['127.0.0.1:0', '127.9.9.9:1', '[::1]:8377', 'localhost:8377'])(
    'a listener on %s may start without tokens',
    async (listen) => {
      await expect(load(`version: 1\nproxy: { listen: ${JSON.stringify(listen)} }`)).resolves.toBeDefined();
    },
  );
});

describe('a secret that was written into the config', () => {
  const secret = 'hunter2-of-acme';

  test.each([
    ['as it is', `client_secret: ${secret}`],
    ['in quotes', `client_secret: '${secret}'`],
    ['with a broken quote', `client_secret: "${secret}" more`],
    ['over lines', `client_secret: |\n      ${secret}`],
    ['as a list', `client_secret: [${secret}]`],
    ['as a map', `client_secret: { value: ${secret} }`],
    ['under a misspelt key', `client_secrt: ${secret}`],
    ['with a tag', `client_secret: !secret ${secret}`],
    ['behind an unknown kind', `client_secret: vault:${secret}`],
    ['as an alias', `client_secret: *${secret}`],
    ['as the name of a variable', `client_secret: env:${secret}`],
    ['in a command', `client_secret: command:echo ${secret} | cat`],
    ['as the client', `client_id: "${secret}\\n"`],
    ['in an endpoint', `token_endpoint: https://acme:${secret}@acme.test/token`],
    ['in a scope', `scopes: ["${secret} x"]`],
    ['in a header', `inject: { header: "X: ${secret}" }`],
    ['in a prefix', `inject: { header: X-Key, prefix: "${secret}\\n" }`],
    ['in a limit', `audience: [acme.test]\nlimits: { drain: ${secret} }`],
    ['in the log level', `audience: [acme.test]\nlog: { level: ${secret} }`],
    ['in the store', `audience: [acme.test]\nstore: postgres://sidekey:${secret}@db/sidekey`],
  ])('%s is refused and never repeated', async (_, line) => {
    const text = `version: 1\nproviders:\n  acme:\n    title: Acme\n    ${line}\n`;
    const error: unknown = await load(text).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'config_invalid' });
    const said = JSON.stringify(error, Object.getOwnPropertyNames(error));
    expect(said).toContain('sidekey.yaml:');
    expect(said).not.toContain(secret);
    expect(error).not.toHaveProperty('cause');
  });
});
