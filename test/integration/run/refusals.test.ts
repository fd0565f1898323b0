import { stringify } from 'yaml';
import { readFile, writeFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { describe, expect, test } from 'vitest';
import { curlMissing } from '../../support/curl.ts';
import { runHome, withoutConfinement } from '../../support/run-command.ts';

const status = (...args: readonly string[]) => [
  'curl',
  '-sk',
  '-o',
  '/dev/null',
  '-w',
  '%{http_code}',
  ...args,
];

describe.skipIf(curlMissing)('refusals of sidekey run (curl)', () => {
  test('unlisted hosts are tunnelled and counted, or refused with a hint, depending on the config or --unmatched', async () => {
    const { at, run, upstream, seen } = await runHome(undefined, () => ({ domains: {} }));
    const tunnelled = await run(['--', ...status(`${upstream.url}/`)]);
    expect(tunnelled.stdout).toBe('200');
    expect(withoutConfinement(tunnelled.stderr)).toBe(
      'sidekey: no request with a credential, 1 host tunnelled\n',
    );
    expect(seen).toEqual([undefined]);
    const denied = await run(['--unmatched', 'deny', '--', ...status(`${upstream.url}/`)]);
    expect(denied.stdout).toBe('000');
    expect(withoutConfinement(denied.stderr)).toBe(
      `sidekey: no request with a credential, 1 refused\n  ${upstream.authority} domain_not_allowed → sidekey domain tunnel ${upstream.authority} (no credential), or sidekey domain allow ${upstream.authority} --grant GRANT; an agent proposes it: POST http://sidekey.internal/proposals\n`,
    );
    const elsewhere = await run(['--policy', 'read-only', '--', 'true']);
    expect(elsewhere).toMatchObject({ exit: 2, stderr: expect.stringContaining('no policy of that name') });
    await writeFile(at.configFile, (await readFile(at.configFile, 'utf8')).replace(': tunnel', ': deny'));
    expect(await run(['--', ...status(`${upstream.url}/`)])).toMatchObject({
      stdout: '000',
      stderr: denied.stderr,
    });
    const asJson = await run(['--json', '--unmatched', 'deny', '--', ...status(`${upstream.url}/`)]);
    expect(JSON.parse(asJson.stderr)).toMatchObject({
      run: {
        requests: 0,
        refused: 1,
        refusals: [{ code: 'domain_not_allowed', hint: expect.stringContaining('sidekey domain tunnel') }],
      },
    });
  });

  test('requests that failed, and clients that do not trust the CA, are named with the next step', async () => {
    const { run, upstream } = await runHome(undefined, ({ authority }) => ({
      domains: { [authority]: { grant: 'desk', rules: [{ methods: ['POST'], outcome: 'approve' }, {}] } },
      approvals: { timeout: '1s' },
    }));
    const url = `${upstream.url}/`;
    const failed = await run(['--', ...status('https://gone.invalid:1/')]);
    expect(failed.stderr).toContain(
      '\n  gone.invalid:1 upstream_unreachable → check the host name and the network\n',
    );
    const unanswered = await run(['--', ...status('-d', 'a', url)]);
    expect(unanswered.stderr).toContain('approval_missing → send the request again, and approve it with "');
    const distrustful = await run([
      '--',
      'curl',
      '-sS',
      '--cacert',
      '/etc/ssl/certs/ca-certificates.crt',
      url,
    ]);
    expect(distrustful.stderr).toContain(`does not trust the CA of Sidekey for ${upstream.authority}`);
  });

  test('a policy option refuses requests in addition to the rules of the domain', async () => {
    const { run, upstream, seen } = await runHome(undefined, ({ authority }) => ({
      policies: {
        'read-only': [{ methods: ['GET'] }],
        'no-admin': [{ paths: ['/admin/**'], outcome: 'deny' }, {}],
      },
      domains: { [authority]: { grant: 'desk', rules: [{ paths: ['/a/**', '/admin/**'] }] } },
    }));
    const both = (method: string, path: string) => [
      '--policy',
      'read-only',
      'no-admin',
      '--',
      ...status('-X', method, upstream.url + path),
    ];
    expect(await run(both('GET', '/a/1'))).toMatchObject({ stdout: '200' });
    const refused = await run(both('DELETE', '/a/1'));
    expect(refused).toMatchObject({
      stdout: '403',
      stderr: expect.stringContaining('rule_denied → add to policies'),
    });
    expect(await run(both('GET', '/admin/1'))).toMatchObject({ stdout: '403' });
    expect(await run(both('GET', '/b'))).toMatchObject({ stdout: '403' });
    expect(seen).toHaveLength(1);
    const unknown = await run(['--policy', 'read-onyl', '--', 'echo', 'began']);
    expect(unknown).toMatchObject({
      exit: 2,
      stdout: '',
      stderr: expect.stringContaining('did you mean read-only?'),
    });
  });

  test('an edit of the config applies to a running command, and the flags of the command still apply', async () => {
    const place = await runHome(undefined, () => ({
      domains: {},
      policies: { 'read-only': [{ methods: ['GET'] }] },
    }));
    const ask = (method: string) =>
      `curl -sk -o /dev/null -w '%{http_code}' -X ${method} ${place.upstream.url}/`;
    const script = `echo first=$(${ask('GET')}); read line; echo get=$(${ask('GET')}); echo post=$(${ask('POST')}); ${ask('GET')} --noproxy ''; exit 0`;
    const command = place.start(['--unmatched', 'deny', '--policy', 'read-only', '--', 'sh', '-c', script]);
    expect(await command.told('first')).toBe('000');
    const config = parse(await readFile(place.at.configFile, 'utf8')) as object;
    await writeFile(
      place.at.configFile,
      stringify({ ...config, domains: { [place.upstream.authority]: { grant: 'desk' } } }),
    );
    command.write('\n');
    const { stdout } = await command.ended;
    expect(stdout).toContain('get=200\npost=403\n');
  });
});
