/** Libraries of services that call them by the `fetch` of `@sidekey/client`: they hold no credential. */
import { execFile } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { bearerToken } from '../support/sidekey.ts';
import { startService } from '../support/service.ts';
import { startUpstream } from '../support/upstream.ts';
import { packageMissing, programs } from './support/stage.ts';
import { requestBytes } from '../support/request-body.ts';

type Answer = (request: IncomingMessage, body: Buffer, response: ServerResponse) => unknown;

/** Runs a program whose requests go to an upstream with these answers. Returns what it tells. */
async function told(program: string, answers: Readonly<Record<string, Answer>>, domain: object = {}) {
  const refused: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await requestBytes(request);
    const { method, url = '', headers } = request;
    const call = `${method} ${url}`;
    // Without the credential of the grant, a call fails.
    if (headers.authorization !== `Bearer ${bearerToken}` || answers[call] === undefined) {
      refused.push(call);
      return void response.writeHead(401).end();
    }
    const json: unknown = await answers[call](request, body, response);
    if (json !== undefined) response.setHeader('content-type', 'application/json').end(JSON.stringify(json));
  };
  const upstream = await startUpstream((...parts) => void answer(...parts));
  const service = await startService({ domains: { [upstream.authority]: { grant: 'desk', ...domain } } });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  const ran = await promisify(execFile)(process.execPath, [`${programs}client/${program}.mjs`], {
    env: {
      SIDEKEY_CLIENT: join(import.meta.dirname, '../../src/sdk/client/node.ts'),
      SIDEKEY_API_URL: service.url,
      SIDEKEY_API_KEY: await service.key(),
      UPSTREAM: upstream.url,
    },
  });
  expect(refused).toEqual([]);
  expect((await service.sidekey.audit()).map(({ reason }) => reason)).toContain('ticket 7');
  return { facts: JSON.parse(ran.stdout) as unknown, connections: upstream.connections() };
}

const write = (response: ServerResponse, event: object) =>
  response.write(
    `event: ${(event as { type?: string }).type ?? 'message'}\ndata: ${JSON.stringify(event)}\n\n`,
  );

/** Sends two events, the second one after `POST /seen`. */
function twoEvents(first: object, second: object): Readonly<Record<'begin' | 'seen', Answer>> {
  const seen = Promise.withResolvers<void>();
  return {
    async begin(_request, _body, response) {
      response.setHeader('content-type', 'text/event-stream');
      for (const event of Array.isArray(first) ? first : [first]) write(response, event as object);
      await seen.promise;
      for (const event of Array.isArray(second) ? second : [second]) write(response, event as object);
      response.end('data: [DONE]\n\n');
    },
    seen(_request, _body, response) {
      seen.resolve();
      response.end();
    },
  };
}

test.skipIf(packageMissing('octokit'))('Octokit reads, lists pages, writes and fails', async () => {
  const list = '/repos/acme/tools/issues';
  const { facts } = await told('octokit', {
    'GET /user': () => ({ login: 'octocat' }),
    [`GET ${list}`]: ({ headers }, _body, response) => {
      response.setHeader('link', `<https://${headers.host}${list}?page=2>; rel="next"`);
      return [{ number: 1 }, { number: 2 }];
    },
    [`GET ${list}?page=2`]: () => [{ number: 3 }],
    [`POST ${list}/1/comments`]: (_request, body, response) => {
      response.statusCode = 201;
      return JSON.parse(body.toString()) as object;
    },
    [`GET ${list}/9`]: (_request, _body, response) => {
      response.statusCode = 404;
      return { message: 'Not Found' };
    },
  });
  expect(facts).toEqual({
    login: 'octocat',
    issues: [1, 2, 3],
    comment: [201, 'é'],
    missing: ['HttpError', 404],
  });
});

const chunk = (content: string) => ({ choices: [{ index: 0, delta: { content } }] });

test.skipIf(packageMissing('openai'))('the SDK of OpenAI chats, streams and uploads a file', async () => {
  const events = twoEvents(chunk('hel'), chunk('lo'));
  const { facts } = await told('openai', {
    'POST /v1/chat/completions': (request, body, response) =>
      (JSON.parse(body.toString()) as { stream?: boolean }).stream === true
        ? events.begin(request, body, response)
        : { choices: [{ message: { role: 'assistant', content: 'hello' } }] },
    'POST /seen': events.seen,
    'POST /v1/files': async ({ headers }, body) => {
      const type = headers['content-type'] ?? '';
      const form = await new Response(body, {
        headers: { 'content-type': type },
      }).formData();
      const file = form.get('file') as File;
      return { id: `${file.name} ${file.type} ${(await file.bytes()).join()}` };
    },
  });
  expect(facts).toEqual({ answer: 'hello', events: ['hel', 'lo'], id: 'ü.bin application/x-own 0,255' });
});

const delta = (text: string) => ({
  type: 'content_block_delta',
  index: 0,
  delta: { type: 'text_delta', text },
});

test.skipIf(packageMissing('@anthropic-ai/sdk'))('the SDK of Anthropic streams', async () => {
  const message = {
    id: 'm',
    type: 'message',
    role: 'assistant',
    content: [],
    model: 'some-model',
    usage: {},
  };
  const events = twoEvents(
    [
      { type: 'message_start', message },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      delta('hel'),
    ],
    [
      delta('lo'),
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: {} },
      { type: 'message_stop' },
    ],
  );
  const { facts } = await told('anthropic', { 'POST /v1/messages': events.begin, 'POST /seen': events.seen });
  expect(facts).toEqual({ events: ['hel', 'lo'], text: 'hello' });
});

test.skipIf(packageMissing('@googleapis/gmail'))(
  'the Gmail SDK of Google reads, and sends a stream',
  async () => {
    const { facts } = await told('gmail', {
      'GET /gmail/v1/users/me/profile': () => ({ emailAddress: 'me@acme.test' }),
      'POST /upload/gmail/v1/users/me/messages/send?uploadType=multipart': ({ headers }, body) => {
        const parts = /^multipart\/related; ?boundary=(\S+)$/.exec(headers['content-type'] ?? '');
        expect(body.toString().split(`--${parts?.[1]}`)).toHaveLength(4);
        expect(body.toString()).toContain('Subject: é\r\n\r\nhello');
        return { id: 'sent' };
      },
    });
    expect(facts).toEqual({ address: 'me@acme.test', sent: 'sent' });
  },
);

test.skipIf(packageMissing('googleapis'))('the whole package googleapis reads two services', async () => {
  const { facts } = await told('googleapis', {
    'GET /drive/v3/about?fields=user': () => ({ user: { displayName: 'Alice' } }),
    'GET /calendar/v3/calendars/primary/events': () => ({ items: [{ summary: 'é' }] }),
  });
  expect(facts).toEqual({ user: 'Alice', events: ['é'] });
});

test.skipIf(packageMissing('octokit'))(
  'a denied request fails with its status, and no library repeats it',
  async () => {
    const { facts, connections } = await told('denied', {}, { rules: [{ methods: ['GET'] }] });
    const denied = [403, 1, expect.stringContaining('The request is matched by no rule.')];
    expect(facts).toEqual({ octokit: denied, openai: denied, anthropic: denied, gmail: denied });
    expect(connections).toBe(0);
  },
);
