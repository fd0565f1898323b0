/** Keys and tokens that a person has already: pasted, proved, imported. */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { obtainTokens } from '../../../examples/helpdesk/authorization-code.ts';
import { acmeHome, alice, secret } from '../../support/connect-home.ts';
import { home, type Home } from '../../support/command-line.ts';
import { homeWithProvider } from '../../support/provider-home.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

/** An API that knows one key, at a provider that says how it is proved. */
async function keyed(
  provider: object,
  isGood: (headers: NodeJS.Dict<string | string[]>, url: string) => boolean,
) {
  const upstream = await startUpstream((request, response) => {
    response.statusCode = isGood(request.headers, request.url ?? '') ? 200 : 401;
    response.end(JSON.stringify({ ok: response.statusCode === 200, echo: request.headers.authorization }));
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      corp: { audience: [upstream.authority], probe: { url: `${upstream.url}/me` }, ...provider },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return { at, upstream };
}

const stored = async (at: Home) => (await at.json(['grant', 'list'])) as readonly object[];

describe('connect --token', () => {
  test('stores a key, and allows the provider’s hosts', async () => {
    const { at, upstream } = await keyed({}, () => true);
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'the-key\n' });
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('Connected corp.') });
    expect(ran.stdout + ran.stderr).not.toContain('the-key');
    expect(await readFile(at.configFile, 'utf8')).toContain(`${upstream.authority}: { grant: corp }`);
  });

  test('is the default for a provider without another flow', async () => {
    const { at } = await keyed({}, () => true);
    expect(await at.run(['connect', 'corp'], { input: 'the-key' })).toMatchObject({ exit: 0 });
  });

  test('stores signing keys, and shows that the keys sign', async () => {
    const parts = { access_key_id: { label: 'id', secret: false }, secret_access_key: { label: 'secret' } };
    const provider = {
      token: { label: 'key', parts, inject: 'aws' },
      inject: { aws_sigv4: { service: 's3' } },
    };
    const { at } = await keyed(provider, ({ authorization }) =>
      /^AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE\/\d{8}\/eu-west-3\/s3\/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=[0-9a-f]{64}$/.test(
        String(authorization),
      ),
    );
    const input = 'access_key_id=AKIAIOSFODNN7EXAMPLE\nsecret_access_key=the/real+secret\n';
    const command = ['connect', 'corp', '--token', '--region', 'eu-west-3'];
    const ran = await at.run(command, { input });
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('accepts the credential (HTTP 200)'),
    });
    expect(ran.stdout + ran.stderr).not.toContain('real+secret');
    expect(await stored(at)).toMatchObject([{ name: 'corp', type: 'aws' }]);
  });

  test('stores keys that assume a role, and caches the keys of the role', async () => {
    const parts = { access_key_id: { label: 'id', secret: false }, secret_access_key: { label: 'secret' } };
    const asked: string[] = [];
    const sts = await startUpstream((request, response) => {
      let body = '';
      request.on('data', (text: Buffer) => (body += text.toString()));
      request.on('end', () => {
        asked.push(body);
        const keys = {
          AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
          SecretAccessKey: 'of/the+role',
          SessionToken: 'token==',
        };
        const end = new Date(Date.now() + 3_600_000).toISOString();
        const elements = Object.entries({ ...keys, Expiration: end });
        response.end(`<a>${elements.map(([name, text]) => `<${name}>${text}</${name}>`).join('')}</a>`);
      });
    });
    const { at } = await keyed(
      {
        token: { label: 'key', parts, inject: 'aws' },
        inject: { aws_sigv4: { service: 's3' } },
        flows: ['aws_role'],
        token_endpoint: sts.url,
      },
      ({ authorization, 'x-amz-security-token': token }) =>
        String(authorization).includes('Credential=ASIAIOSFODNN7EXAMPLE/') && token === 'token==',
    );
    const input = 'access_key_id=AKIAIOSFODNN7EXAMPLE\nsecret_access_key=the/real+secret\n';
    const role = 'arn:aws:iam::123456789012:role/agents';
    const ran = await at.run(['connect', 'corp', '--assume-role', role, '--external-id', 'x1'], {
      input,
    });
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('accepts the credential (HTTP 200)'),
    });
    expect(ran.stdout + ran.stderr).not.toMatch(/real\+secret|of\/the\+role|token==/);
    expect(new URLSearchParams(asked[0])).toEqual(
      new URLSearchParams({
        Action: 'AssumeRole',
        Version: '2011-06-15',
        RoleArn: role,
        RoleSessionName: 'sidekey',
        ExternalId: 'x1',
      }),
    );
    expect(await stored(at)).toMatchObject([{ type: 'oauth2', refreshable: true }]);
    const wrong = await at.run(['connect', 'corp', '--replace', '--assume-role', 'agents'], { input });
    expect(wrong).toMatchObject({ exit: 2, stderr: expect.stringContaining('not the ARN of a role') });
  });

  test('puts the parts of a credential where the provider expects them', async () => {
    const parts = { sid: { label: 'account', secret: false }, auth: { label: 'token' } };
    const carry = { basic: { username: '{sid}', password: '{auth}' } };
    const { at } = await keyed(
      { token: { label: 'key pair', parts, inject: carry } },
      ({ authorization }) => {
        return authorization === `Basic ${Buffer.from('AC1:s3cret').toString('base64')}`;
      },
    );
    const input = 'sid=AC1\nauth=s3cret\n';
    expect(await at.run(['connect', 'corp', '--token'], { input })).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('accepts the credential (HTTP 200)'),
    });
  });

  test('names the user in its suggestions', async () => {
    const { at } = await keyed({}, () => true);
    const wide = ['--allowed-domains', 'other.example.com', '--widen', '--user', 'alice'];
    expect(await at.run(['connect', 'corp', ...wide], { input: 'the-key' })).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining('sidekey grant remove corp --user alice'),
    });
  });

  test.each([
    [
      ['allow', 'x.example.com:8443', '--grant', 'old'],
      'used the grant old',
      'allow x.example.com:8443 --grant old',
    ],
    [
      ['allow', 'x.example.com:8443', '--grant', 'old', '--allow-plain-http'],
      'used the grant old, also over plain http',
      'allow x.example.com:8443 --grant old --allow-plain-http',
    ],
    [
      ['allow', 'x.eu-west-1.eks.amazonaws.com', '--grant', 'old', '--eks-cluster', 'prod'],
      'used the grant old, EKS cluster prod',
      'allow x.eu-west-1.eks.amazonaws.com --grant old --eks-cluster prod',
    ],
    [['deny', 'x.example.com:8443'], 'was refused', 'deny x.example.com:8443'],
    [
      ['tunnel', 'x.example.com:8443'],
      'was set to tunnel (blind, no credential)',
      'tunnel x.example.com:8443',
    ],
    [
      ['allow', '*.example.com:8443', '--grant', 'old'],
      'used the grant old (by *.example.com:8443)',
      'remove x.example.com:8443',
    ],
  ])(
    'reports an entry that --allowed-domains changes, and how to undo that: %j',
    async (entry, was, undo) => {
      const { at } = await keyed({}, () => true);
      await at.run(['domain', ...entry]);
      const before = await at.json(['domain', 'list']);
      const host = undo.split(' ')[1]!;
      const named = ['--allowed-domains', host, '--widen', '--replace'];
      const connect = () => at.run(['connect', 'corp', ...named], { input: 'the-key' });
      expect((await connect()).stderr).toContain(
        `Note: ${host} ${was}, and now uses the grant corp.\n  → if that is not meant: sidekey domain ${undo}\n`,
      );
      expect((await connect()).stderr).not.toContain('now uses');
      expect((await readFile(at.configFile, 'utf8')).includes('eks_cluster: prod')).toBe(
        entry.includes('prod'),
      );
      expect(await at.run(['domain', ...undo.split(' ')])).toMatchObject({ exit: 0 });
      expect(await at.json(['domain', 'list'])).toEqual(before);
    },
  );

  test('suggests another flow for a provider without keys', async () => {
    const at = await acmeHome();
    expect(await at.run(['connect', 'acme', '--token'], { input: 'x' })).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('→ sidekey connect acme'),
    });
  });

  test.each(['line\nbreak', 'umläut'])(
    'refuses characters that are invalid in any header: %j',
    async (input) => {
      const { at } = await keyed({}, () => true);
      const ran = await at.run(['connect', 'corp', '--token'], { input });
      expect(ran.exit).toBe(2);
      expect(ran.stderr).not.toContain(input);
      expect(await stored(at)).toEqual([]);
    },
  );
});

describe('the verification of a new credential', () => {
  test('stores nothing that the provider refuses', async () => {
    const { at } = await keyed({}, ({ authorization }) => authorization === 'Bearer good');
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'bad' });
    expect(ran).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('does not accept the credential (HTTP 401)'),
    });
    expect(await stored(at)).toEqual([]);
    expect(await at.run(['connect', 'corp', '--token'], { input: 'good' })).toMatchObject({
      exit: 0,
    });
    expect(await stored(at)).toHaveLength(1);
  });

  test('checks the response body if the status is not conclusive', async () => {
    const { at, upstream } = await keyed({}, () => true);
    expect(upstream.connections()).toBe(0);
    const probe = { url: `${upstream.url}/me`, ok_field: 'user.active' };
    const text = await readFile(at.configFile, 'utf8');
    await writeFile(at.configFile, text.replace(/probe:\n\s+url: .*\n/, `probe: ${JSON.stringify(probe)}\n`));
    expect(await at.run(['connect', 'corp', '--token'], { input: 'key' })).toMatchObject({
      exit: 5,
    });
  });

  test('stores nothing if the provider is unreachable, and suggests --no-verify', async () => {
    const { at, upstream } = await keyed({}, () => true);
    await upstream.close();
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'key' });
    expect(ran).toMatchObject({ exit: 6, stderr: expect.stringContaining('--no-verify') });
    expect(await stored(at)).toEqual([]);
    const blind = await at.run(['connect', 'corp', '--token', '--no-verify'], { input: 'key' });
    expect(blind).toMatchObject({ exit: 0, stdout: expect.stringContaining('not verified: --no-verify') });
    expect(await stored(at)).toHaveLength(1);
  });

  test('is skipped if the provider has no request for verification', async () => {
    const { at, upstream } = await keyed({}, () => true);
    const text = await readFile(at.configFile, 'utf8');
    await writeFile(at.configFile, text.replace(/probe:\n\s+url: .*\n/, '\n'));
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'key' });
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('not verified: corp has no request to check with'),
    });
    expect(upstream.connections()).toBe(0);
  });

  test('accepts a key from a variable, and explains how to unset the variable', async () => {
    const { at } = await keyed({}, ({ authorization }) => authorization === 'Bearer good-key');
    const ran = await at.run(['connect', 'corp', '--from-env', 'CORP_KEY'], {
      env: { CORP_KEY: 'good-key' },
    });
    expect(ran).toMatchObject({ exit: 0, stderr: expect.stringContaining('unset CORP_KEY') });
    expect(ran.stdout + ran.stderr).not.toContain('good-key');
    expect(await at.run(['connect', 'corp', '--from-env', 'NOT_SET'])).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/NOT_SET is not set in this shell\.\n {2}→ export the variable/),
    });
  });

  test('sends no key that has the format of another provider', async () => {
    const { at } = await keyed({}, () => true);
    const ran = await at.run(['connect', 'github', '--token'], { input: 'sk-ant-api03-0000' });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('connect anthropic --token') });
    expect(await stored(at)).toEqual([]);
  });

  test('names the cause of a request that was not sent, and what helps', async () => {
    const { at, upstream } = await keyed({}, () => true);
    const text = await readFile(at.configFile, 'utf8');
    await writeFile(at.configFile, text.replace('127.0.0.1/32', '127.0.0.2/32'));
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'key' });
    expect(ran).toMatchObject({
      exit: 6,
      stderr: expect.stringMatching(/→ .*private_addresses.*; or store it/),
    });
    expect(upstream.connections()).toBe(0);
  });

  test.each([
    ['abc def', 'has spaces'],
    ['Bearer abc', 'has spaces'],
    ['"abc"', 'has quotes around it'],
    ["'abc'", 'has quotes around it'],
    ['CORP_KEY=abc', 'has the name of a variable before it'],
  ])('stores no key with something around it: %j', async (input, reason) => {
    const { at } = await keyed({}, () => true);
    const ran = await at.run(['connect', 'corp', '--token'], { input });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(reason) });
    expect(ran.stderr).not.toContain('abc');
    expect(await stored(at)).toEqual([]);
  });

  test.each(['SID=abc', 'CORP_KEY==', '"', 'a"b"'])(
    'stores a key that resembles those: %j',
    async (input) => {
      const { at } = await keyed({}, () => true);
      expect(await at.run(['connect', 'corp', '--token'], { input })).toMatchObject({ exit: 0 });
    },
  );

  test('repeats no key that is an argument, and says where it belongs', async () => {
    const { at } = await keyed({}, () => true);
    const ran = await at.run(['connect', 'corp', '--token', 'secret-key']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('leave the key out') });
    expect(ran.stderr).not.toContain('secret-key');
  });

  test('sends the credential only to its audience', async () => {
    const { at, upstream } = await keyed({ audience: ['api.example.com'] }, () => true);
    const ran = await at.run(['connect', 'corp', '--token'], { input: 'key' });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('Wrong audience') });
    expect(ran.stderr).toContain(
      `→ add ${upstream.authority} to the audience of the provider, under "providers" in the config file: sidekey config edit`,
    );
    expect(upstream.connections()).toBe(0);
    expect(await stored(at)).toEqual([]);
  });
});

async function tokens() {
  const at = await acmeHome();
  const { helpdesk } = at;
  const connection = {
    issuer: helpdesk.issuer,
    ca: helpdesk.caCertificate,
    connectTo: { host: helpdesk.host, port: helpdesk.port },
  };
  const client = { clientId: helpdesk.clientId, clientSecret: secret };
  return { at, got: await obtainTokens(connection, client, alice, { scope: 'openid read:tickets' }) };
}

/** A provider that rotates refresh tokens, with a probe at its API. `type`: `token_type` of its answers. */
async function rotating(check: number | 'unreachable', type: string) {
  const at = await homeWithProvider(
    ({ path }, count) =>
      path === '/token'
        ? [200, { access_token: 'new', refresh_token: `refresh-${count + 1}`, token_type: type }]
        : [Number(check), {}],
    (url) => ({
      client_id: 'desk',
      flows: ['authorization_code'],
      authorization_endpoint: `${url}/authorize`,
      audience: [new URL(url).host, 'nobody.acme.test'],
      probe: { url: check === 'unreachable' ? 'https://nobody.acme.test/me' : `${url}/me` },
    }),
  );
  return { at, forms: () => at.asked.filter(({ path }) => path === '/token').map(({ form }) => form) };
}

describe('connect --import', () => {
  test('accepts a refresh token without an access token, and verifies it at once', async () => {
    const { at, got } = await tokens();
    const ran = await at.run(['connect', 'acme', '--import'], { input: `${got.refresh_token}\n` });
    expect(ran).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining('must not use this refresh token'),
    });
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({
      state: 'active',
      scopes: ['openid', 'read:tickets'],
    });
    // The one that was rotated is kept: the old one is dead.
    expect(await at.json(['grant', 'refresh', 'acme', '--force'])).toMatchObject({ renewed: true });
  });

  test('accepts a complete token response, and uses its access token first', async () => {
    const { at, got } = await tokens();
    const before = at.helpdesk.tokenRequestCount();
    expect(await at.run(['connect', 'acme', '--import'], { input: JSON.stringify(got) })).toMatchObject({
      exit: 0,
    });
    expect(at.helpdesk.tokenRequestCount()).toBe(before);
  });

  test('does not store an invalid refresh token', async () => {
    const { at } = await tokens();
    const ran = await at.run(['connect', 'acme', '--import'], { input: 'dead-refresh-token' });
    expect(ran.exit).toBe(5);
    expect(ran.stderr).not.toContain('dead-refresh-token');
    expect(await stored(at)).toEqual([]);
  });

  test.each([
    [401, 'Bearer', 'not verified: The Desk issued the token, and answered the check with HTTP 401'],
    [503, 'Bearer', 'not verified: The Desk issued the token, and answered the check with HTTP 503'],
    ['unreachable', 'Bearer', 'not verified: the check failed: '],
    [200, 'mac', 'not verified: there is no usable access token'],
  ] as const)('stores a rotated refresh token after %s and a token of type %s', async (check, type, says) => {
    const { at, forms } = await rotating(check, type);
    const ran = await at.run(['connect', 'desk', '--import'], { input: 'refresh-1' });
    expect(ran, ran.stderr).toMatchObject({ exit: 0, stdout: expect.stringContaining(says) });
    expect(ran.stdout + ran.stderr).not.toMatch(/nothing was stored|refresh-\d/);
    if (type === 'mac') {
      expect(ran.stderr).toMatch(/type mac.*Its new refresh token was stored/);
      expect(ran.stderr).toMatch(/add "mac" to providers\.desk\.dialect\.token_response\.token_types/);
    }
    await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(forms()).toMatchObject([{ refresh_token: 'refresh-1' }, { refresh_token: 'refresh-2' }]);
  });

  test('stores nothing after a failed check if the refresh token of the input is still valid', async () => {
    const at = await homeWithProvider(
      ({ path }) => (path === '/token' ? [200, { access_token: 'new' }] : [401, {}]),
      (url) => ({ client_id: 'desk', audience: [new URL(url).host], probe: { url: `${url}/me` } }),
    );
    const ran = await at.run(['connect', 'desk', '--import'], { input: 'refresh-1' });
    expect(ran).toMatchObject({ exit: 5, stderr: expect.stringContaining('nothing was stored') });
    expect(await stored(at)).toEqual([]);
  });

  test.each([
    ['{"type":"api_key","value":"k"}', /no refresh token/],
    ['{"access_token":"a"}', /no refresh token/],
    ['', /empty/],
  ])('reports what is missing in %j', async (input, sentence) => {
    const { at } = await tokens();
    expect(await at.run(['connect', 'acme', '--import'], { input })).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(sentence),
    });
  });
});
