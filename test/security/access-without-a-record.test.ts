/** No credential leaves that the audit file does not know of: the probe of `connect` went out unrecorded. */
import { expect, test } from 'vitest';
import type { AuditEvent } from '../../src/domain/event.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { aProvider } from '../support/provider.ts';
import { testUpstreamClient } from '../support/upstream-fetch.ts';
import { startUpstream } from '../support/upstream.ts';
import { assertWorks } from '../../src/grants/verify.ts';

async function probed(record: (event: AuditEvent, seen: readonly string[]) => Promise<void>) {
  const seen: string[] = [];
  const noted: AuditEvent[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.url ?? '');
    response.end('{}');
  });
  const probe = {
    url: `${upstream.url}/bot/getMe?a=1`,
    headers: {},
    json: null,
    okField: null,
    accountFields: [],
  };
  const audience = [upstream.authority];
  const client = testUpstreamClient();
  const works = assertWorks(
    {
      state: {
        audit: { append: (event) => record(event, seen), note: (event) => void noted.push(event) },
      },
      provider: aProvider({
        audience,
        probe,
        inject: [{ hosts: null, paths: null, as: { kind: 'path', prefixes: ['/bot'] } }],
      }),
      user: 'alice',
      upstream: client,
      signal: AbortSignal.timeout(5_000),
    },
    { credential: { type: 'api_key', value: '123:Secret' }, audience },
    { isIssued: false, isWanted: true },
  );
  return { works: await works.catch((error: unknown) => error), seen, noted, port: upstream.port };
}

test('a probe is recorded before it is sent, without the credential', async () => {
  const events: AuditEvent[] = [];
  const { works, seen, noted, port } = await probed(async (event, seenBefore) => {
    expect(seenBefore).toEqual([]);
    events.push(event);
  });
  expect(works).toMatchObject({ verified: true });
  expect(seen).toEqual(['/bot123:Secret/getMe?a=1']);
  const facts = {
    user: 'alice',
    provider: 'acme',
    method: 'GET',
    host: 'api.acme.test',
    port,
    path: '/bot/getMe',
  };
  expect(events).toEqual([expect.objectContaining({ event: 'access', outcome: 'allow', ...facts })]);
  expect(noted).toEqual([
    expect.objectContaining({ event: 'outcome', outcome: 'ok', status: 200, ...facts }),
  ]);
  expect(JSON.stringify([events, noted])).not.toContain('Secret');
});

test('a probe is not sent if it cannot be recorded', async () => {
  const { works, seen } = await probed(() =>
    Promise.reject(new SidekeyError('audit_unavailable', 'The audit file cannot be written.')),
  );
  expect(works).toMatchObject({ code: 'audit_unavailable' });
  expect(seen).toEqual([]);
});
