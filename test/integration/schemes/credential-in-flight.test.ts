import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

describe.skipIf(curlMissing)('a request through the proxy (curl)', () => {
  test('reaches the upstream with the credential of the grant, and the client gets the response', async () => {
    const seen: string[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization ?? 'none');
      response.end('{"tickets":[]}');
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);

    const answer = await curl(
      '-x',
      sidekey.url,
      '--cacert',
      sidekey.caFile,
      `${upstream.url}/tickets?assignee=me`,
    );

    expect(answer).toMatchObject({ status: 200, connectStatus: 200, body: '{"tickets":[]}' });
    expect(seen).toEqual([`Bearer ${bearerToken}`]);
    const access = await sidekey.audited((line) => line.event === 'access');
    expect(access).toMatchObject({
      method: 'GET',
      host: 'api.acme.test',
      path: '/tickets',
      outcome: 'allow',
    });
    expect(JSON.stringify(await sidekey.audit())).not.toContain(bearerToken);
  });
});
