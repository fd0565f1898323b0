import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { home } from '../../support/command-line.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

test.skipIf(curlMissing)(
  'a change made at the command line applies to the next request of a running proxy (curl)',
  async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('hello');
    });
    const at = await home({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
    const { url, caFile, stop } = await at.start();

    const ask = (proxy = url) => curl('-x', proxy, '--cacert', caFile, `${upstream.url}/`);

    expect(await ask()).toMatchObject({ connectStatus: 403 });
    await at.run(['domain', 'allow', upstream.authority, '--grant', 'desk']);
    expect(await ask()).toMatchObject({ status: 403, body: expect.stringContaining('grant_missing') });
    await at.grant('desk', { type: 'api_key', value: 'token-1' }, [
      '--provider',
      'acme',
      '--audience',
      upstream.authority,
    ]);
    expect(await ask()).toMatchObject({ status: 200, body: 'hello' });
    await at.grant('desk', { type: 'api_key', value: 'token-2' }, [
      '--provider',
      'acme',
      '--audience',
      upstream.authority,
      '--replace',
    ]);
    expect(await ask()).toMatchObject({ status: 200 });
    expect(seen).toEqual(['Bearer token-1', 'Bearer token-2']);

    const agent = (await at.json(['agent', 'create', 'ci', '--grant', 'desk'])) as {
      token: string;
      proxy_url: string;
    };
    expect(agent.token).toMatch(/^sidekey_agent_[A-Za-z0-9_-]{43}$/);
    expect(agent.proxy_url).toBe(`http://ci:${agent.token}@127.0.0.1:PORT`);
    const asAgent = url.replace('//', `//ci:${agent.token}@`);
    expect(await ask(asAgent)).toMatchObject({ status: 200 });
    await at.run(['agent', 'remove', 'ci']);
    expect(await ask(asAgent)).toMatchObject({ connectStatus: 407 });
    await at.run(['grant', 'revoke', 'desk']);
    expect(await ask()).toMatchObject({ status: 403, body: expect.stringContaining('grant_revoked') });

    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
    expect(await stop()).toMatchObject({ exit: 0 });
  },
);
