/**
 * A path that begins with two slashes is a host to whoever resolves it as a reference (RFC 3986 §4.2): the
 * probe of `--verify` must go to the authority that the audience was checked for.
 */
import { expect, test } from 'vitest';
import { aProvider } from '../support/provider.ts';
import { testUpstreamClient } from '../support/upstream-fetch.ts';
import { startUpstream } from '../support/upstream.ts';
import { verify } from '../../src/grants/verify.ts';

test('a probe is sent to the host of the checked audience for any path', async () => {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(`${request.headers.host} ${request.url} ${request.headers.authorization}`);
    response.end('{}');
  });
  const probe = {
    url: `${upstream.url}//elsewhere.test/me`,
    headers: {},
    json: null,
    okField: null,
    accountFields: [],
  };
  const verified = await verify(
    aProvider({ audience: [upstream.authority], probe }),
    { credential: { type: 'api_key', value: 'key' }, audience: [upstream.authority] },
    { upstream: testUpstreamClient(), signal: AbortSignal.timeout(5_000) },
  );
  expect(seen).toEqual([`${upstream.authority} //elsewhere.test/me Bearer key`]);
  expect(verified).toEqual({ kind: 'works', status: 200, details: {} });
});
