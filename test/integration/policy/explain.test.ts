import { describe, expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';

interface Explained {
  readonly allowed: boolean;
  readonly outcome: string;
  readonly code?: string;
  readonly hint?: string;
  readonly steps: readonly { readonly step: string; readonly ok: boolean; readonly text: string }[];
}

const secret = 'explained-secret-0123456789';

async function homeWithMap(config: object = {}): Promise<Home> {
  const at = await home({
    upstream: {
      resolve: { 'inside.example.com': '10.1.2.3', 'listed.example.com': '10.9.9.9' },
      private_addresses: ['10.9.0.0/16'],
    },
    domains: {
      'api.stripe.com': { grant: 'stripe' },
      'other.example.com': { grant: 'stripe' },
      'inside.example.com': { grant: 'wide' },
      'listed.example.com': { grant: 'wide' },
      'plain.example.com': { grant: 'wide', allow_plain_http: true },
      'api.anthropic.com': { grant: 'anthropic' },
      'both.example.com': { grant: 'many' },
      'lost.example.com': { grant: 'nobody' },
      'open.example.com': 'tunnel',
      'shut.example.com': 'deny',
    },
    ...config,
  });
  const key = { type: 'api_key', value: secret };
  await at.grant('stripe', key, ['--provider', 'stripe']);
  await at.grant('anthropic', key, ['--provider', 'anthropic']);
  await at.grant('wide', { type: 'basic', username: 'bot', password: secret }, [
    '--provider',
    'acme',
    '--audience',
    '*.example.com',
  ]);
  for (const user of ['alice', 'bob']) {
    await at.grant('many', key, ['--provider', 'acme', '--user', user, '--audience', 'both.example.com']);
  }
  return at;
}

describe('explain', () => {
  test('says which answer becomes a grant, and makes none', async () => {
    const mints = [{ name: 'session', path: '/session', member: 'token', goes_to: ['s.example.com'] }];
    const at = await homeWithMap({ domains: { 'api.stripe.com': { grant: 'stripe', mints } } });
    const { steps } = (await at.json(['explain', 'https://api.stripe.com/session'])) as Explained;
    const text = 'token becomes a grant (session) for s.example.com; the client gets a placeholder';
    expect(steps).toContainEqual({ step: 'answer', ok: true, text });
    expect(await at.json(['grant', 'list'])).not.toHaveProperty('grants.5');
  });

  test('names the member or parameter of a body that decides', async () => {
    const rules = [
      { name: 'small', paths: ['/json'], json: { '$.amount': { max: 100 }, '$.to': ['acme-*'] } },
      { name: 'charge', paths: ['/form'], form: { amount: { max: 500 } } },
    ];
    const at = await homeWithMap({ domains: { 'api.stripe.com': { grant: 'stripe', rules } } });
    const explain = async (path: string, data: string, more: readonly string[] = []) => {
      const { exit, stdout } = await at.run([
        'explain',
        `https://api.stripe.com${path}`,
        '--data',
        data,
        ...more,
      ]);
      return {
        exit,
        rules: [...stdout.matchAll(/[✓✗-]  (?:rule +)?((?:small|charge), .*)/g)].map(([, text]) => text),
      };
    };
    const form = ['--header', 'Content-Type: application/x-www-form-urlencoded'];
    const small = 'small, domains["api.stripe.com"].rules[0] (config/sidekey.yaml:14)';
    const member = 'json $.amount<=100 $.to=acme-*';
    const charge = 'charge, domains["api.stripe.com"].rules[1] (config/sidekey.yaml:22)';
    expect(await explain('/json', '{"amount":100,"to":"acme-1"}')).toEqual({
      exit: 0,
      rules: [`${small}: allow`],
    });
    for (const [amount, told] of [
      ['101', 'does not match'],
      ['"100"', 'unknown'],
    ] as const) {
      const { exit, rules: judged } = await explain('/json', `{"amount":${amount},"to":"acme-1"}`);
      expect([exit, judged[0]]).toEqual([2, `${small}: ${told}, because of ${member}`]);
    }
    expect(await explain('/form', 'amount=500', form)).toMatchObject({
      exit: 0,
      rules: [expect.anything(), `${charge}: allow`],
    });
    expect(await explain('/form', 'amount=5e2', form)).toMatchObject({
      exit: 2,
      rules: [expect.anything(), `${charge}: unknown, because of form amount<=500`],
    });
  });

  test('lists every step of an allowed request, and shows no secret', async () => {
    const at = await homeWithMap();
    const before = await at.everything();
    const ran = await at.run(['explain', 'post', 'https://API.stripe.com/v1/charges?secret=1']);
    expect(ran).toEqual({
      exit: 0,
      stderr: '',
      stdout: [
        'POST https://API.stripe.com/v1/charges',
        '  ✓  authority  https://api.stripe.com:443',
        '  ✓  agent      none; this caller needs no token',
        '  ✓  domain     api.stripe.com: domains["api.stripe.com"] (config/sidekey.yaml:11)',
        '  ✓  decision   inject: api.stripe.com uses the grant stripe',
        '  ✓  grant      stripe: provider stripe, active',
        '  ✓  token      valid, no expiry',
        '  ✓  audience   api.stripe.com is within api.stripe.com, files.stripe.com',
        '  ✓  injection  Authorization: Bearer … (set by the provider stripe)',
        '  ✓  leaks      removed from error pages and echo endpoints',
        '  ✓  address    resolved when the connection opens; only public addresses and those in upstream.private_addresses are allowed',
        '',
        'Allowed: with the credential of stripe.',
        '',
      ].join('\n'),
    });
    expect(await at.everything()).toEqual(before);
  });

  test('shows where any other request fails, with the code and a hint', async () => {
    const at = await homeWithMap();
    const ask = async (...args: string[]) => {
      const { stdout, exit } = await at.run(['explain', ...args, '--json']);
      const { allowed, code, steps, outcome } = JSON.parse(stdout) as Explained;
      expect(stdout).not.toContain(secret);
      return { exit, said: allowed ? outcome : code, at: steps.at(-1)?.step };
    };
    const answers = await Promise.all([
      ask('https://nowhere.example.com/'),
      ask('https://shut.example.com/'),
      ask('https://lost.example.com/'),
      ask('https://other.example.com/'),
      ask('https://both.example.com/'),
      ask('https://both.example.com/', '--user', 'bob'),
      ask('https://inside.example.com/'),
      ask('https://listed.example.com/'),
      ask('https://10.0.0.1/'),
      ask('http://api.stripe.com/'),
      ask('http://plain.example.com/'),
      ask('https://open.example.com/'),
      ask('open.example.com'),
      ask('https://user:password@api.stripe.com/'),
      ask('https://api.stripe.com/', '--agent', 'nobody'),
    ]);
    expect(answers).toEqual([
      { exit: 2, said: 'domain_not_allowed', at: 'decision' },
      { exit: 2, said: 'domain_not_allowed', at: 'decision' },
      { exit: 4, said: 'grant_missing', at: 'grant' },
      { exit: 2, said: 'policy_violation', at: 'audience' },
      { exit: 4, said: 'grant_missing', at: 'grant' },
      { exit: 0, said: 'with the credential of many (user bob)', at: 'address' },
      { exit: 2, said: 'address_blocked', at: 'address' },
      { exit: 0, said: 'with the credential of wide', at: 'address' },
      { exit: 2, said: 'domain_not_allowed', at: 'decision' },
      { exit: 2, said: 'insecure_transport', at: 'decision' },
      { exit: 0, said: 'with the credential of wide', at: 'address' },
      { exit: 0, said: 'unchanged, without a credential', at: 'address' },
      { exit: 0, said: 'unchanged, without a credential', at: 'address' },
      { exit: 2, said: 'bad_request', at: 'authority' },
      { exit: 3, said: 'agent_auth_required', at: 'agent' },
    ]);
  });

  test('requires a URL, and accepts nothing else in its place', async () => {
    const at = await home();
    expect(await at.run(['explain', 'GET'])).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/^sidekey: The URL is missing\.\n {2}→ sidekey explain GET https:/),
    });
    expect(await at.run(['explain', 'https://a.example.com', 'GET'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The word before the URL is not a method.'),
    });
  });

  test('names the field of the credential without its value', async () => {
    const at = await homeWithMap();
    const injection = async (url: string) =>
      ((await at.json(['explain', url])) as Explained).steps.find(({ step }) => step === 'injection')?.text;
    expect(await injection('https://api.anthropic.com/v1/messages')).toBe(
      'x-api-key: … (set by the provider anthropic)',
    );
    expect(await injection('https://plain.example.com/')).toBe(
      'Authorization: Basic … (user name and password)',
    );
  });

  test('names a credential that the client sends itself, and how the domain treats that credential', async () => {
    const key = `ghp_${'a1B2'.repeat(9)}`;
    const ask = async (domains: object, ...args: string[]) => {
      const at = await homeWithMap({ domains });
      const told = (await at.json(['explain', ...args])) as Explained;
      expect(JSON.stringify(told)).not.toContain(key);
      const step = told.steps.find(({ step }) => step === 'other credentials');
      return [told.allowed, told.code, step?.ok, step?.text];
    };
    const url = `https://api.stripe.com/v1?a=${key}`;
    const place = 'the query (ghp_…)';
    expect(await ask({ 'api.stripe.com': { grant: 'stripe' } }, url)).toEqual([
      true,
      undefined,
      true,
      `in header fields and the query: recorded; ${place}`,
    ]);
    expect(await ask({ 'api.stripe.com': { grant: 'stripe', foreign_credentials: 'strip' } }, url)).toEqual([
      true,
      undefined,
      true,
      `removed, and recorded; ${place}`,
    ]);
    expect(
      await ask(
        { 'api.stripe.com': { grant: 'stripe', foreign_credentials: 'refuse' } },
        'https://api.stripe.com/',
        '--data',
        `{"a":"${key}"}`,
      ),
    ).toEqual([false, 'foreign_credential', false, expect.stringContaining('the body (ghp_…)')]);
  });

  test('reports the state of the grant', async () => {
    const at = await homeWithMap({
      domains: { 'helpdesk.acme.test:8443': { grant: 'desk' }, 'api.stripe.com': { grant: 'stripe' } },
    });
    const url = 'https://helpdesk.acme.test:8443/tickets';
    const ended = { access_token: 'a', expires_at: Math.round(Date.now() / 1_000) - 60 };
    await at.grant('desk', ended);
    expect(await at.json(['explain', url])).toMatchObject({ code: 'grant_expired' });
    await at.grant('desk', { ...ended, refresh_token: 'r' }, ['--provider', 'acme', '--replace']);
    const due = (await at.json(['explain', url])) as Explained;
    expect(due.allowed).toBe(true);
    expect(due.steps).toContainEqual({
      step: 'token',
      ok: true,
      text: 'no valid token: a new one is fetched before the request is sent',
    });
    await at.run(['grant', 'revoke', 'desk']);
    const revoked = await at.run(['explain', url]);
    expect(revoked.exit).toBe(4);
    expect(revoked.stdout).toContain('Refused with 403 grant_revoked: The grant "desk" was revoked.');
    expect(revoked.stdout).toContain('→ sidekey connect acme --name desk');
  });

  test('refuses a due refresh whose client secret cannot be read, as the request is', async () => {
    const desk = {
      token_endpoint: 'https://id.acme.test/token',
      client_id: 'sidekey',
      client_secret: 'env:DESK_SECRET',
      audience: ['desk.acme.test'],
    };
    const at = await homeWithMap({
      providers: { desk },
      domains: { 'desk.acme.test': { grant: 'desk' } },
    });
    const ended = { access_token: 'a', expires_at: Math.round(Date.now() / 1_000) - 60, refresh_token: 'r' };
    await at.grant('desk', ended, ['--provider', 'desk']);
    const url = 'https://desk.acme.test/';
    expect(await at.json(['explain', url])).toMatchObject({
      allowed: false,
      code: 'refresh_failed',
      message: 'The token of the grant "desk" could not be refreshed: env:DESK_SECRET is not set.',
      hint: expect.stringContaining('set DESK_SECRET in the environment'),
    });
    const set = await at.run(['explain', url], { env: { DESK_SECRET: 'there' } });
    expect(set.stdout).toContain('Allowed: with the credential of desk.');
  });

  test.each([
    ['https://api.stripe.com:8443/', 'api.stripe.com is for another port', 'stripe'],
    ['https://port.example.com/', 'port.example.com:8443 is for another port', 'wide'],
    ['https://a.deep.example.com:8443/', '*.deep.example.com is for another port', 'wide'],
    ['https://deep.example.com/', '*.deep.example.com is for the names below it only', 'wide'],
    [
      'https://v2.api.stripe.com/',
      'api.stripe.com is for that host only, without the names below it',
      'stripe',
    ],
    ['https://api.strip.com/', 'api.stripe.com is one letter away', null],
    ['https://api.stirpe.com/', 'api.stripe.com is one letter away', null],
    ['https://a.deeep.example.com/', '*.deep.example.com is one letter away', null],
  ])('names the entry that almost covers %s', async (url, near, grant) => {
    const entries = {
      'api.stripe.com': { grant: 'stripe' },
      'port.example.com:8443': { grant: 'wide' },
      '*.deep.example.com': { grant: 'wide' },
      'other.example.com': 'tunnel',
    };
    const { host } = new URL(url);
    const [pattern] = near.split(' ');
    const hint =
      grant === null
        ? `if you mean ${pattern}, correct the URL`
        : grant === 'stripe'
          ? `sidekey connect stripe --allowed-domains ${host} --widen --replace`
          : `sidekey domain allow ${host} --grant ${grant}`;
    const tunnels = await homeWithMap({
      proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' },
      domains: entries,
    });
    const { stdout } = await tunnels.run(['explain', url]);
    expect(stdout).toContain(`no entry covers it; the entry ${near}\n`);
    expect(stdout).toContain(`Allowed: unchanged, without a credential.\n  → ${hint}\n`);
    expect(await tunnels.json(['explain', url])).toMatchObject({ allowed: true, hint });
    const denies = await homeWithMap({
      proxy: { listen: '127.0.0.1:0', unmatched: 'deny' },
      domains: entries,
    });
    const refused = JSON.parse((await denies.run(['explain', url, '--json'])).stdout) as object;
    expect(JSON.stringify(refused)).toContain(`the entry ${near}: ${hint}; or sidekey domain tunnel ${host}`);
  });

  test.each([
    ['an agent that may use the grant of the near entry learns of it', 'stripe', true],
    ['an agent that may not use the grant of the near entry does not learn of it', 'anthropic', false],
  ])('%s', async (_case, grant, isNamed) => {
    const at = await homeWithMap();
    await at.run(['agent', 'create', 'ci', '--grant', grant]);
    for (const host of ['api.stripe.com:8443', 'api.strip.com']) {
      const ran = await at.json(['explain', `https://${host}/`, '--agent', 'ci']);
      const { hint, steps } = ran as { readonly hint: string; readonly steps: readonly { text: string }[] };
      expect(hint.includes('the entry api.stripe.com is')).toBe(isNamed);
      expect(steps.some(({ text }) => text.includes('the entry api.stripe.com is'))).toBe(true);
    }
  });

  test('and status name the same command for a grant that was removed', async () => {
    const audience = ['desk.acme.test'];
    const at = await home({
      providers: { desk: { audience } },
      domains: { 'desk.acme.test': { grant: 'desk' } },
    });
    const { hint } = (await at.json(['explain', 'https://desk.acme.test/'])) as { readonly hint: string };
    expect(hint).toContain('sidekey connect desk;');
    expect((await at.run(['status'])).stdout).toContain('sidekey connect desk\n');
  });

  test('names no entry of another host', async () => {
    const at = await homeWithMap({ proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } });
    const { stdout } = await at.run(['explain', 'https://stripe.com:8443/']);
    expect(stdout).toContain('no entry covers it\n');
    expect(stdout).not.toContain('→');
  });

  test('requires an agent where the proxy does', async () => {
    const at = await homeWithMap({ proxy: { listen: '127.0.0.1:0', authentication: 'required' } });
    expect(await at.run(['explain', 'https://api.stripe.com/'])).toMatchObject({ exit: 3 });
    await at.run(['agent', 'create', 'ci', '--everything']);
    expect(await at.run(['explain', 'https://api.stripe.com/', '--agent', 'ci'])).toMatchObject({ exit: 0 });
  });
});
