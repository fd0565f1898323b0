/** Each row of the table, with real servers for the API and its login, and the connections of the proxy. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { discover } from '../../../src/grants/oauth/discovery.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { hintText } from '../../../src/lib/hint.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { startUpstream, upstreamHost, upstreamLeaf } from '../../support/upstream.ts';
import { type Answer, type DiscoveryRow, discoveryRows, resource, server } from './discovery-rows.ts';

const loginHost = 'login.acme.test';

test.each(discoveryRows)('$name', async (row) => {
  const { outcome, fill } = await outcomeOf(row);
  if (row.refuses === undefined) return expect(outcome).toMatchObject(fill(row.finds ?? {}));
  const { code, says, hint } = fill(row.refuses);
  if (!(outcome instanceof SidekeyError)) throw new Error('It was accepted.', { cause: outcome });
  expect(outcome.code).toBe(code);
  for (const part of says) expect(outcome.message).toContain(part);
  expect(hintText(outcome.hint)).toContain(hint ?? '');
});

test('of several login servers, the person chooses one', async () => {
  const row = discoveryRows.find(({ name }) => name === 'several login servers');
  if (row === undefined) throw new Error('The table has no such row.');
  const asked: (readonly string[])[] = [];
  const choose = async (servers: readonly string[]) => {
    asked.push(servers);
    return servers[1];
  };
  const { outcome, fill } = await outcomeOf(row, choose);
  expect(outcome).toMatchObject(fill({ issuer: '$login' }));
  expect(asked).toEqual([fill(['https://one.example/', '$login/'])]);
});

async function outcomeOf(
  row: DiscoveryRow,
  choose?: (servers: readonly string[]) => Promise<string | undefined>,
) {
  const {
    api: apiAnswers,
    login = { '/.well-known/oauth-authorization-server': server },
    path = '/mcp',
  } = row;
  const api = await startUpstream((request, response) => answer(request, response, apiAnswers));
  const loginServer = await startUpstream(
    (request, response) => answer(request, response, login),
    upstreamLeaf(loginHost),
  );
  const loginUrl = `https://${loginHost}:${loginServer.port}`;
  const filled = (text: string) => text.replaceAll('$api', api.url).replaceAll('$login', loginUrl);
  const fill = <T>(value: T) => JSON.parse(filled(JSON.stringify(value))) as T;

  function answer(request: IncomingMessage, response: ServerResponse, answers: DiscoveryRow['api']) {
    const { method = '', url = '' } = request;
    const found = answers[`${method} ${url}`] ?? answers[url];
    const isResponse = found !== undefined && Object.keys(found).every((name) => parts.has(name));
    const { status, headers, body }: Answer = isResponse
      ? found
      : { status: found === undefined ? 404 : 200, body: JSON.stringify(found ?? '<p>not found</p>') };
    response.writeHead(status ?? 200, {
      ...(isResponse ? {} : { 'content-type': found === undefined ? 'text/html' : 'application/json' }),
      ...fill(headers ?? {}),
    });
    if (body === '$open') return void response.write('\n');
    const text = (body ?? '').replace('$bom', '\uFEFF').replace('$resource', JSON.stringify(resource));
    response.end(filled(text));
  }

  const { fetch } = testUpstreamClient([upstreamHost, loginHost]);
  const issuer = row.issuer === undefined ? undefined : filled(row.issuer);
  const outcome: unknown = await discover(`${api.url}${path}`, { fetch }, { issuer, choose }).catch(
    (error: unknown) => error,
  );
  return { outcome, fill };
}

const parts = new Set(['status', 'headers', 'body']);
