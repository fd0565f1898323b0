/** Requests and answers of the Python clients, byte by byte, with the packages that programs use. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  type Interpreter,
  interpreters,
  linesOf,
  packagesMissing,
  startPython,
  systemPython,
} from '../../support/python-program.ts';
import { startService } from '../../support/service.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';
import { requestBytes } from '../../support/request-body.ts';

/** A request as the upstream received it. */
interface Received {
  readonly path: string;
  readonly fields: IncomingMessage['headers'];
  readonly body: Buffer;
}

const bytes = Buffer.from(Array.from({ length: 256 * 300 }, (_, at) => at % 256));

function sendBig(response: ServerResponse, mebibytes: number) {
  const chunk = Buffer.alloc(1_048_576, 'x');
  let left = mebibytes;
  const more = () => {
    while (left > 0) {
      left -= 1;
      if (!response.write(chunk)) return void response.once('drain', more);
    }
    response.end();
  };
  more();
}

const chatChunk = (content: string) =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 0, model: 'm', choices: [{ index: 0, delta: { content } }] })}\n\n`;
const chat = { id: 'c', object: 'chat.completion', created: 0, model: 'm' };
const claudeEvent = (type: string, rest: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`;
const claudeText = (text: string) =>
  claudeEvent('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });

/** Starts a service with the grant `desk` for the host of an upstream. */
async function startEcho() {
  const received: Received[] = [];
  let release: (() => void) | null = null;
  const upstream = await startUpstream((request, response) => void respond(request, response));

  /** Sends the first part; the other when there is a request for /release. */
  function hold(response: ServerResponse, first: string, last: string) {
    response.setHeader('content-type', 'text/event-stream').write(first);
    release = () => response.end(last);
  }

  async function respond(request: IncomingMessage, response: ServerResponse) {
    const body = await requestBytes(request);
    const path = request.url ?? '';
    if (request.headers.authorization !== `Bearer ${bearerToken}`) return void response.writeHead(401).end();
    received.push({ path, fields: request.headers, body });
    if (path === '/gzip') response.setHeader('content-encoding', 'gzip').end(gzipSync('packed'));
    else if (path === '/missing') response.writeHead(404).end('not here');
    else if (path === '/redirect') response.writeHead(302, { location: '/elsewhere' }).end();
    else if (path === '/cookies')
      response.setHeader('set-cookie', ['a=1; Path=/; Secure', 'b=2']).end('baked');
    else if (path === '/empty') response.writeHead(204).end();
    else if (path.startsWith('/big/')) sendBig(response, Number(path.slice(5)));
    else if (path === '/cut') {
      response.writeHead(200, { 'content-length': '9' }).write('part');
      setImmediate(() => response.destroy());
    } else if (path === '/events') hold(response, 'data: 1\n\n', 'data: 2\n\n');
    else if (path === '/release') {
      release?.();
      response.end();
    } else if (path === '/v1/files')
      response.end(
        JSON.stringify({
          id: 'f',
          object: 'file',
          bytes: 10,
          created_at: 0,
          filename: 'a.txt',
          purpose: 'batch',
          status: 'processed',
        }),
      );
    else if (path === '/v1/messages') {
      hold(
        response,
        `${claudeEvent('message_start', { message: { id: 'm', type: 'message', role: 'assistant', content: [], model: 'm', stop_reason: null, stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } } })}${claudeEvent('content_block_start', { index: 0, content_block: { type: 'text', text: '' } })}${claudeText('Hel')}`,
        `${claudeText('lo')}${claudeEvent('message_stop', {})}`,
      );
    } else if (path === '/v1/chat/completions') {
      if (body.includes('"stream"')) hold(response, chatChunk('Hel'), `${chatChunk('lo')}data: [DONE]\n\n`);
      else {
        const choices = [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'Hi' } }];
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ ...chat, choices }));
      }
    } else if (path !== '/never') response.end();
  }

  const service = await startService({ domains: { [upstream.authority]: { grant: 'desk' } } });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  const run = async (program: string, python: Interpreter, more = {}) => {
    const args = [`test/integration/sdk/programs/${program}.py`];
    return linesOf(
      await startPython(service, args, { UPSTREAM: `https://${upstream.authority}`, ...more }, python),
    );
  };
  return { service, received, run };
}

/** Returns the parts of a form, without their boundary. */
function partsOf({ fields, body }: Received): readonly string[] {
  const [, boundary = ''] = /^multipart\/form-data; boundary=(\S+)$/.exec(fields['content-type'] ?? '') ?? [];
  return body.toString('latin1').split(`--${boundary}`);
}

function summaryOf({ body, fields }: Received) {
  const { 'content-type': type, 'content-length': length, 'transfer-encoding': coding } = fields;
  return { body: body.toString('latin1'), type, length: length ?? coding };
}

/** Returns the summary of a body with a length. */
function whole(body: Buffer | string, type?: string) {
  const length = String(Buffer.byteLength(body));
  return { body: Buffer.from(body).toString('latin1'), type, length };
}

const file = `Content-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: image/png\r\n\r\n${bytes.toString('latin1')}`;
const parts = ['', '\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n', `\r\n${file}\r\n`, '--\r\n'];

describe.each(interpreters)('the Python clients with $name', (python) => {
  const isWithout = packagesMissing(python, 'httpx', 'requests');

  test.skipIf(isWithout)('send each kind of body unchanged', async () => {
    const { received, run } = await startEcho();
    expect(await run('bodies', python)).toEqual([]);
    const chunked = Buffer.concat([Buffer.from('one,'), bytes, Buffer.from('two')]);
    for (const name of ['sync', 'transport', 'requests', 'async', 'transport-async']) {
      const at = (kind: string) => received.find(({ path }) => path.startsWith(`/echo/${name}/${kind}`))!;
      expect(summaryOf(at('none')), name).toEqual(whole(''));
      expect(summaryOf(at('empty')), name).toEqual(whole(''));
      expect(summaryOf(at('text')), name).toEqual(whole('é', 'text/plain'));
      expect(summaryOf(at('bytes')), name).toEqual(whole(bytes));
      expect(summaryOf(at('json')), name).toEqual(whole('[1]', 'application/json'));
      expect(summaryOf(at('form')), name).toEqual(
        whole('a=1&b=2&b=%26', 'application/x-www-form-urlencoded'),
      );
      expect(partsOf(at('files')), name).toEqual(parts);
      expect(at('files').fields['content-length'], name).toBe(String(at('files').body.length));
      expect(summaryOf(at('iterable')), name).toEqual({
        body: chunked.toString('latin1'),
        type: undefined,
        length: 'chunked',
      });
      expect(at('params').path, name).toBe(`/echo/${name}/params?q=1&q=%26`);
      const { 'x-own': own, 'x-bytes': own2 } = at('fields').fields;
      expect([own, own2], name).toEqual(['1, 2', Buffer.from('é').toString('latin1')]);
    }
  });

  test.skipIf(isWithout)('read answers of any size and as they arrive', async () => {
    const { received, run } = await startEcho();
    // The others prove the same with less.
    const mebibytes = python === systemPython ? 200 : 64;
    const facts = {
      gzip: [200, 'packed', null, {}],
      missing: [404, 'not here', null, {}],
      redirect: [302, '', '/elsewhere', {}],
      cookies: [200, 'baked', null, { a: '1', b: '2' }],
      empty: [204, '', null, {}],
      head: [200, ''],
      events: ['data: 1', 'data: 2'],
      big: [mebibytes * 1_048_576, true],
    };
    // None, numbers, tuples, and objects of urllib3: seconds to connect and to read.
    const equal = [
      [null, null],
      [3, 3],
      [3, 3],
    ];
    const timeouts = [...equal, [1, 2], [null, 2], [1, null], [1, 2], [3, 3], [null, 2], [3, 2]];
    expect(await run('answers', python, { BIG: String(mebibytes) })).toEqual([
      { ...facts, exchange: ['exchange', 'grant'] },
      { ...facts, raw: 'packed', timeout: timeouts, cut: true },
      facts,
    ]);
    // A session of requests keeps cookies. Requests of the clients may be those of different users.
    const agents = received
      .filter(({ fields }) => fields.cookie !== undefined)
      .map(({ fields }) => fields['user-agent']);
    expect(agents.filter((agent) => !agent?.startsWith('python-requests/'))).toEqual([]);
  });

  test.skipIf(isWithout)('carry no credential to another host that a redirect leads to', async () => {
    const keys: (string | undefined)[] = [];
    const other = await startUpstream(({ headers }, response) => {
      keys.push(headers.authorization);
      response.end('elsewhere');
    });
    const upstream = await startUpstream((_request, response) => {
      response.writeHead(302, { location: `${other.url}/` }).end();
    });
    const service = await startService({
      domains: { [upstream.authority]: { grant: 'desk' } },
      config: { proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } },
    });
    await service.sidekey.grant([upstream.authority], { name: 'desk' });
    const args = ['test/integration/sdk/programs/redirects.py'];
    const [told] = await linesOf(await startPython(service, args, { UPSTREAM: `${upstream.url}/` }, python));
    const refused = [403, 'grant_missing'];
    const answered = [200, 'elsewhere'];
    expect(told).toEqual([refused, refused, refused, answered, answered, answered]);
    // The hosts differ in their port: httpx and requests drop what the caller wrote.
    expect(keys).toEqual([undefined, undefined, undefined]);
  });

  const isWithoutModels = packagesMissing(python, 'openai', 'anthropic', 'google.auth');
  test.skipIf(isWithoutModels)('serve the SDKs of OpenAI, Anthropic and Google', async () => {
    const { service, received, run } = await startEcho();
    const told = {
      chat: 'Hi',
      words: ['Hel', 'lo'],
      file: 'f',
      refused: 'domain_not_allowed',
      claude: ['Hel', 'lo'],
    };
    expect(await run('models', python)).toEqual([told, 'm', told]);
    const uploads = received.filter(({ path }) => path === '/v1/files');
    expect(uploads.map((each) => partsOf(each).some((part) => part.includes('\r\nsome\0bytes\r\n')))).toEqual(
      [true, true],
    );
    const events = await service.sidekey.audit();
    // An SDK repeats requests without an answer, but no refusal.
    expect(events.filter((each) => 'code' in each && each.code === 'domain_not_allowed')).toHaveLength(2);
  });
});
