/** Programs that get a credential in an answer work with a placeholder, and never have the credential. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { startUpstream } from '../support/upstream.ts';
import { createSecret } from './support/secret.ts';
import { missing, openStage, packageMissing, programs } from './support/stage.ts';

const end = Math.floor(Date.now() / 1000) + 1_500;

const cases = [
  {
    name: 'a client of Copilot',
    program: 'copilot.mjs',
    skipped: missing('node', '--version'),
    provider: 'github',
    row: 'copilot',
    path: '/copilot_internal/v2/token',
    tokenOf: (mark: string) =>
      `tid=6d3a;exp=${end};sku=free_limited_copilot;proxy-ep=proxy.individual.githubcopilot.com;st=dotcom;rd=1:${mark}`,
    answer: {
      expires_at: end,
      refresh_in: 1_400,
      endpoints: { api: 'https://api.individual.githubcopilot.com' },
    },
    scheme: 'Bearer',
    placeholder: /^tid=6d3a;exp=\d+;sku=free_limited_copilot;.*:sidekey/,
  },
  {
    name: 'the app authentication of Octokit',
    program: 'github-app.mjs',
    skipped: packageMissing('octokit'),
    provider: 'github-app',
    row: 'installation',
    path: '/app/installations/1234/access_tokens',
    tokenOf: (mark: string) => `ghs_${mark}`,
    answer: {
      expires_at: new Date((end + 2_000) * 1000).toISOString(),
      permissions: { metadata: 'read' },
      repository_selection: 'all',
    },
    scheme: 'Bearer',
    placeholder: /^ghs_sidekey/,
  },
];

for (const { name, program, skipped, provider, row, path, tokenOf, answer, scheme, placeholder } of cases) {
  test.skipIf(skipped)(`${name} works with a placeholder`, { timeout: 120_000 }, async () => {
    const secret = createSecret();
    const token = tokenOf(secret.token);
    const seen: (readonly [path: string, authorization: string | undefined])[] = [];
    const api = await startUpstream((request, response) => {
      const { url = '', headers } = request;
      seen.push([url, headers.authorization]);
      request.resume();
      const isMint = url === path;
      response.writeHead(isMint ? 201 : 200, { 'Content-Type': 'application/json' });
      void secret
        .hold(url)
        .then(() => response.end(JSON.stringify(isMint ? { token, ...answer } : { ok: 1 })));
    });
    const text = await readFile(`config/providers/${provider}.yaml`, 'utf8');
    const { mints } = parse(text) as { mints: { name: string; hosts: unknown }[] };
    const { hosts: _, ...mint } = mints.find((each) => each.name === row)!;
    const { script, accesses } = await openStage(secret, {
      domains: { [api.authority]: { grant: 'client-test' } },
      provider: 'gh',
      definition: {
        environment: { GITHUB_TOKEN: 'ghp_sidekeyPlaceholder000000000000000000' },
        mints: [{ ...mint, goes_to: [api.authority] }],
      },
      audience: api.authority,
      credential: { type: 'api_key', value: 'the-credential-of-the-grant' },
    });
    const ran = await script([`node ${join(programs, program)} ${api.url}`]);
    const said = JSON.parse(ran.stdout) as { token: string; said: unknown };
    expect(said).toEqual({ token: expect.stringMatching(placeholder), said: { ok: 1 } });
    expect(seen[0]).toEqual([path, 'Bearer the-credential-of-the-grant']);
    expect(seen.at(-1)![1]).toBe(`${scheme} ${token}`);
    const fingerprints = new Set((await accesses()).map(({ credential }) => credential));
    expect(fingerprints.size).toBe(2);
  });
}
