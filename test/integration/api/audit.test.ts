import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';

/** A service to which the agent ci has sent two requests and the agent bot has sent one. */
async function withRequests() {
  const upstream = await startUpstream((_request, response) => void response.end('{}'));
  const { authority } = upstream;
  const service = await startService({ domains: { [authority]: { grant: 'desk' } } });
  const { id } = await service.sidekey.grant([authority], { name: 'desk' });
  for (const name of ['ci', 'bot'])
    await service.call('POST /v2/agents', { body: { name, grants: ['desk'] } });
  for (const agent of ['ci', 'ci', 'bot'])
    await service.call('POST /v2/requests', {
      body: { url: `https://${authority}/x`, grant: 'desk', agent },
    });
  await expect
    .poll(async () => (await service.call('GET /v2/audit/events?event=outcome')).body.data.length)
    .toBe(3);
  const [host, port] = authority.split(':');
  return { ...service, grant: id, host: host!, port: port! };
}

interface Bucket {
  readonly exchanges: number;
}

const sum = (buckets: readonly Bucket[]) => buckets.reduce((total, { exchanges }) => total + exchanges, 0);

describe('GET /v2/metrics', () => {
  it('counts the requests that meet the conditions, and those of each agent, host or grant', async () => {
    const { call, grant, host } = await withRequests();
    const since = new Date(Date.now() - 60_000).toISOString();
    const metrics = async (query: string) => {
      const { buckets, groups } = (await call(`GET /v2/metrics?since=${since}${query}`)).body;
      const counted = groups?.map((each: { key: string | null; buckets: Bucket[] }) => [
        each.key,
        sum(each.buckets),
      ]);
      return [sum(buckets), counted?.filter(([, count]: [string, number]) => count > 0)];
    };
    expect(await metrics('')).toEqual([3, undefined]);
    expect(await metrics('&agent=ci')).toEqual([2, undefined]);
    expect(await metrics('&by=agent')).toEqual([
      3,
      [
        ['ci', 2],
        ['bot', 1],
      ],
    ]);
    expect(await metrics(`&by=host&host=${host.toUpperCase()}`)).toEqual([3, [[host, 3]]]);
    expect(await metrics(`&by=grant&agent=bot&grant=${grant}`)).toEqual([1, [[grant, 1]]]);
    expect(await metrics('&host=other.example')).toEqual([0, undefined]);
    expect((await call(`GET /v2/metrics?since=${since}&by=path`)).status).toBe(400);
    expect((await call(`GET /v2/metrics?since=${since}&grant=desk`)).status).toBe(400);
  });
});

describe('GET /v2/audit/events', () => {
  it('finds the lines of a port, also those that omit it', async () => {
    const { call, port } = await withRequests();
    const count = async (query: string) => (await call(`GET /v2/audit/events?${query}`)).body.data?.length;
    expect(await count(`event=outcome&port=${port}`)).toBe(3);
    expect(await count('event=outcome&port=443')).toBe(0);
    expect((await call('GET /v2/audit/events?port=99999')).body.detail).toContain('is not a port');
  });

  it.each(['desc', 'asc'])('continues after the first page, in order %s', async (order) => {
    const { call } = await withRequests();
    const query = `order=${order}&until=${new Date().toISOString()}`;
    const all = (await call(`GET /v2/audit/events?${query}&limit=200`)).body;
    expect(all.next_cursor).toBeNull();
    const seen: unknown[] = [];
    let cursor = '';
    for (let page = 0; page < 99; page += 1) {
      const { data, next_cursor } = (await call(`GET /v2/audit/events?${query}&limit=5${cursor}`)).body;
      seen.push(...data);
      if (next_cursor === null) break;
      cursor = `&cursor=${next_cursor}`;
    }
    expect(seen).toEqual(all.data);
  });
});

async function read(url: string, key: string, query: string): Promise<Response> {
  return fetch(`${url}/v2/audit/download?${query}`, { headers: { 'x-api-key': key } });
}

describe('GET /v2/audit/download', () => {
  it('answers the lines of the log as they are, and as CSV', async () => {
    const { url, key, sidekey } = await withRequests();
    const own = await key();
    const raw = await read(url, own, 'event=access&agent=ci');
    expect(raw.headers.get('content-type')).toContain('application/x-ndjson');
    const lines = (await raw.text()).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).agent)).toEqual(['ci', 'ci']);
    const log = await readFile(join(sidekey.folder, 'data/audit.jsonl'), 'utf8');
    for (const line of lines) expect(log).toContain(`${line}\n`);
    const csv = await (await read(url, own, 'event=access&agent=bot&format=csv')).text();
    expect(csv).toMatch(/^seq,time,[^\r]*\r\n\d+,[^\r]*,access,[^\r]*,bot,[^\r]*\r\n$/);
  });

  it('has only the lines of grants of the user to whom the caller is limited', async () => {
    const { url, key } = await withRequests();
    const own = await key({ role: 'user', user: 'alice', scopes: ['audit:read'] });
    expect(await (await read(url, own, '')).text()).toBe('');
    expect((await read(url, own, 'user=bob')).status).toBe(404);
  });

  it('breaks off when the caller may no longer read the log', async () => {
    const { url, key, sidekey, call } = await withRequests();
    const own = await key({ name: 'reader' });
    const padding = 'x'.repeat(1_000);
    const append = () =>
      sidekey.proxy.state.audit.append({ event: 'denied', code: 'not_allowed', reason: padding });
    await Promise.all(Array.from({ length: 20_000 }, append));
    const reader = (await read(url, own, '')).body!.getReader();
    await reader.read();
    expect((await call('DELETE /v2/api-keys/reader')).status).toBeLessThan(300);
    const rest = async () => {
      while (!(await reader.read()).done);
    };
    await expect(rest()).rejects.toThrow('terminated');
  });
});
