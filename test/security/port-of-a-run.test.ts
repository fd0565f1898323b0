import { expect, test } from 'vitest';
import { curl, curlMissing } from '../support/curl.ts';
import { granted } from '../support/granted.ts';

test.skipIf(curlMissing)(
  'a caller on this machine that is none of ours is told to show a token, for CONNECT and plain requests alike (curl)',
  async () => {
    let isOurs = true;
    const { upstream, sidekey } = await granted((_request, response) => response.end('hello'), {
      isTrustedPeer: () => isOurs,
    });
    const ask = (url: string) => curl('-x', sidekey.url, '--cacert', sidekey.caFile, url);
    expect(await ask(`${upstream.url}/`)).toMatchObject({ status: 200 });
    isOurs = false;
    expect(await ask(`${upstream.url}/`)).toMatchObject({ connectStatus: 407 });
    expect(await ask('http://sidekey.internal/')).toMatchObject({ status: 407 });
  },
);
