/** Failures of the Python clients, with a service that answers as the test needs it. */
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failures } from '../../../src/lib/failures.ts';
import { interpreters, linesOf, packagesMissing, startPython } from '../../support/python-program.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startPlainUpstream } from '../../support/upstream.ts';
import { requestBytes } from '../../support/request-body.ts';

const codes = [...Object.keys(failures), 'a_newer_code'];

function refuse(response: ServerResponse, code: string, status: number, fields = {}) {
  response.writeHead(status, { 'content-type': 'application/problem+json', ...fields });
  response.end(JSON.stringify({ code, detail: 'A sentence.' }));
}

function answer(response: ServerResponse, headers: readonly (readonly string[])[] = []) {
  response.writeHead(200, { 'sidekey-answer': JSON.stringify({ status: 200, headers }) });
  return response;
}

/** Starts the service. */
async function startAnswers() {
  const heads: Record<string, Record<string, unknown>[]> = {};
  const { port } = await startPlainUpstream((request, response) => void respond(request, response));

  async function respond(request: IncomingMessage, response: ServerResponse) {
    await requestBytes(request);
    if (request.url === '/v2/me') return;
    if (request.url === '/v2/status') return void response.end('<h1>Welcome</h1>');
    if (request.url === '/v2/audit/stream?lines=2') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"event":"a"}\n\ndata: {"event":"b"}\n\ndata: {"ev', () => response.destroy());
      return;
    }
    if (request.url?.startsWith('/v2/audit/')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': \n\n');
      // Longer than the timeout of the client.
      setTimeout(() => response.end('data: {"event":"late"}\n\n'), 500);
      return;
    }
    const head = JSON.parse(String(request.headers['sidekey-relay'])) as Record<string, unknown>;
    const { pathname } = new URL(String(head['url']));
    const [, kind = '', name = ''] = pathname.split('/');
    (heads[pathname] ??= []).push(head);
    if (kind === 'code') refuse(response, name, 400);
    if (kind === 'once' && (name === 'iterable' || heads[pathname].length % 2 === 1))
      refuse(response, 'rate_limited', 429, { 'retry-after': '0' });
    else if (kind === 'once') answer(response).end();
    if (kind === 'foreign') response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>');
    if (kind === 'cut') {
      answer(response).write('part');
      response.destroy();
    }
    if (kind === 'cookie') answer(response, [['set-cookie', 'session=1']]).end();
  }
  return { heads, url: `http://127.0.0.1:${port}`, key: () => Promise.resolve('sk_1') };
}

const className = (code: string) =>
  `${code.replace(/(?:^|_)(\w)/g, (_all, letter: string) => letter.toUpperCase())}Error`;

describe.each(interpreters)('the Python clients with $name', (python) => {
  test.skipIf(packagesMissing(python, 'httpx'))(
    'fail with a class for each code and a next step',
    async () => {
      const service = await startAnswers();
      const netrc = join(await tempFolder(), 'netrc');
      await writeFile(netrc, 'machine upstream.test login alice password secret\n');
      const args = ['test/integration/sdk/programs/failures.py', JSON.stringify(codes)];
      const lines = await linesOf(await startPython(service, args, { NETRC: netrc }, python));

      const classes = codes.map((code) => [code in failures ? className(code) : 'SidekeyError', code, 400]);
      const ofBodies = {
        bytes: 200,
        iterable: ['RateLimitedError', 'rate_limited', 429],
        timeout: ['TimeoutError', 'timeout', 0],
        foreign: ['UnexpectedAnswerError', 'unexpected_answer', 502],
        page: ['UnexpectedAnswerError', 'unexpected_answer', 200],
        cut: ['UnreachableError', 'unreachable', 0],
        sentence: `The response of ${service.url} broke off.`,
      };
      const hint = 'stream again; list_audit_events(since=…) has the events of the gap';
      const cut = [
        ['a', 'b'],
        'UnreachableError',
        `The response of ${service.url} broke off. Received events: 2. (${hint})`,
      ];
      const nameless = Array.from({ length: 6 }, () => ['InputInvalidError', 'input_invalid', 0]);
      const each = [classes, ofBodies, cut, nameless, '1'];
      const late = [['late'], ['TimeoutError', 'timeout', 0]];
      expect(lines).toEqual([...each, ...each, 'OwnError', ...late, true]);
      // Each client: bytes twice, others once.
      expect(service.heads['/once/bytes']).toHaveLength(4);
      expect(service.heads['/once/iterable']).toHaveLength(2);
      expect(service.heads['/never']).toHaveLength(2);
      const fields = service.heads['/cookie']!.flatMap(({ headers }) => headers as string[][]);
      expect(fields.filter(([name]) => /^(?:cookie|authorization)$/i.test(name!))).toEqual([]);
    },
  );
});
