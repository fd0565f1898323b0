/**
 * Encoded request bodies are read by rules, approvals and searches. No piece of an answer passes the leak
 * guard.
 */
import { deflateSync, gzipSync, inflateRawSync, inflateSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { decodedBody } from '../../../src/lib/content-coding.ts';
import { startApprovalProxy } from '../../support/approval-proxy.ts';
import { grantedTo } from '../../support/granted.ts';
import { startInjectProxy, valuesIn } from '../../support/inject-proxy.ts';
import { startPlaceholderProxy } from '../../support/placeholder-proxy.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';
import { askingFields, type CodingRow, codingRows, maxBytes, partRows } from './codings-table.ts';

const key = `ghp_${'a1B2'.repeat(9)}`;
const jsonType = ['Content-Type', 'application/json'];
const formType = ['Content-Type', 'application/x-www-form-urlencoded'];

const fieldsOf = ({ codings }: Pick<CodingRow, 'codings'>, type: readonly string[] = jsonType) => [
  ...type,
  ...codings.flatMap((coding) => ['Content-Encoding', coding]),
];
const post = (path: string, row: CodingRow, body: string | Buffer, type?: readonly string[]) => ({
  method: 'POST',
  path,
  fields: fieldsOf(row, type),
  body: row.encode(Buffer.from(body)).toString('latin1'),
});
/** Results of the rows, by their names. */
const byName = <T>(of: (row: CodingRow) => T) =>
  Object.fromEntries(codingRows.map((row) => [row.name, of(row)]));

const rules = [
  { paths: ['/json'], json: { '$.amount': { max: 500 } } },
  { paths: ['/form'], form: { amount: { max: 500 } } },
  { paths: ['/deny'], json: { '$.admin': ['true'] }, outcome: 'deny' },
  { paths: ['/deny', '/open'] },
];
const limits = { rule_body_bytes: maxBytes, placeholder_body_bytes: maxBytes };

const ruled = (domain: object = {}) =>
  startInjectProxy('bearer', { domain: { rules, ...domain }, config: { limits } });

/** A row of gzip with a file name, which a server reads that takes the bytes for the form. */
function withFileName(name: string): CodingRow {
  const encode = (body: Buffer) => {
    const plain = gzipSync(body);
    plain[3] = 8;
    return Buffer.concat([plain.subarray(0, 10), Buffer.from(`${name}\0`), plain.subarray(10)]);
  };
  return { name, codings: ['gzip'], encode };
}

describe('an encoded request body', () => {
  test('is judged by its decoded bytes, and its original bytes are forwarded', async () => {
    const { ask, seen } = await ruled();
    const outcomes: Record<string, unknown> = {};
    for (const row of codingRows) {
      const asked = post('/json', row, '{"amount":500}');
      const before = seen.length;
      const { status, body, headers } = await ask('HTTP/1.1', asked);
      const sent = seen[before];
      const isRead = row.problem === undefined;
      expect([row.name, status, headers['sidekey-error'], seen.length - before]).toEqual(
        isRead ? [row.name, 200, undefined, 1] : [row.name, 403, 'rule_denied', 0],
      );
      if (sent !== undefined) {
        expect(sent.body.toString('latin1'), row.name).toBe(asked.body);
        expect(valuesIn(sent, 'content-encoding'), row.name).toEqual(row.codings);
      }
      outcomes[row.name] = isRead ? body : problemOf({ body });
    }
    expect(outcomes).toEqual(
      byName(({ problem }) =>
        problem === undefined
          ? 'ok'
          : expect.objectContaining({
              detail: expect.stringMatching(new RegExp(`the rules cannot judge: it .*${problem}`)),
              hint: expect.stringMatching(/send|compress|name the coding|raise limits\.rule_body_bytes/),
            }),
      ),
    );
  });

  test('is refused by a bound and by a denial that it breaks, and where a denial cannot read it', async () => {
    const { ask, seen } = await ruled();
    const codes: Record<string, unknown> = {};
    for (const row of codingRows) {
      const [tooMuch, isAdmin, isNone] = [
        await ask('HTTP/1.1', post('/json', row, '{"amount":501}')),
        await ask('HTTP/1.1', post('/deny', row, '{"admin":true}')),
        row.problem === undefined ? null : await ask('HTTP/1.1', post('/deny', row, '{"admin":false}')),
      ];
      codes[row.name] = [tooMuch.status, isAdmin.status, isNone?.status];
    }
    expect(codes).toEqual(byName(({ problem }) => [403, 403, problem === undefined ? undefined : 403]));
    expect(seen).toEqual([]);
  });

  test('passes unread where no rule is about the body', async () => {
    const { ask, seen } = await ruled();
    for (const row of codingRows) expect((await ask('HTTP/1.1', post('/open', row, '{}'))).status).toBe(200);
    expect(seen).toHaveLength(codingRows.length);
  });

  test.each(['gzip', 'gzip without compression', 'zstd', 'deflate of zlib', 'br'])(
    'of a form in %s is judged',
    async (name) => {
      const { ask } = await ruled();
      const row = codingRows.find((each) => each.name === name)!;
      const statusOf = async (body: string) =>
        (await ask('HTTP/2', post('/form', row, body, formType))).status;
      const forms = [
        'amount=500',
        'amount=500&to=bob',
        'to=J%C3%B6rg+B&amount=500',
        `${'b=xyz&'.repeat(40)}amount=5&c=${'x'.repeat(900)}`,
      ];
      for (const form of forms) {
        expect([await statusOf(form), await statusOf(form.replace('amount=5', 'amount=999'))]).toEqual([
          200, 403,
        ]);
      }
    },
  );

  test('of a form is refused if a server that ignores the coding reads another parameter', async () => {
    const { ask, seen } = await ruled();
    const codeOf = async (text: string) =>
      (await ask('HTTP/1.1', post('/form', withFileName(`&${text}&`), 'amount=1', formType))).status;
    expect([await codeOf('amount=9000'), await codeOf('amount=2'), await codeOf('name=1')]).toEqual([
      403, 403, 200,
    ]);
    expect(seen).toHaveLength(1);
  });

  test('of a form cannot hide another method from an approval', async () => {
    const { ask, seen } = await ruled({ rules: [{ methods: ['POST'], outcome: 'approve' }] });
    for (const row of codingRows.filter(({ codings }) => codings.length > 0)) {
      const { status, headers } = await ask('HTTP/1.1', post('/form', row, '_method=DELETE', formType));
      expect([row.name, status, headers['sidekey-error']]).toEqual([row.name, 403, 'policy_violation']);
    }
    expect(seen).toEqual([]);
  });

  test('is shown to a person as text', async () => {
    const { sidekey, seen, send, told } = await startApprovalProxy();
    const body = zstdCompressSync('to: bob\nall of them');
    const client = await send('DELETE /tickets', ['Content-Type: text/plain', 'Content-Encoding: zstd', `Content-Length: ${body.length}`]);
    client.send(body.toString('latin1'));
    const { message } = await told();
    const page = await (await fetch(message.link!)).text();
    expect(page).toContain('all of them');
    expect(page).toContain('Content-Encoding: zstd');
    expect(sidekey.logged()).not.toContain('all of them');
    expect(seen).toEqual([]);
  }); // prettier-ignore

  test.each(['refuse', 'strip'])('is searched for credentials of the client by %s', async (setting) => {
    const { ask, seen } = await ruled({ rules: [{}], foreign_credentials: setting });
    const codes: Record<string, unknown> = {};
    for (const row of codingRows.filter(({ codings }) => codings.join() !== '')) {
      const { body } = await ask('HTTP/1.1', post('/', row, JSON.stringify({ key })));
      codes[row.name] = body === 'ok' ? 'stripped' : problemOf({ body });
    }
    const wanted = ({ name, problem }: CodingRow) => {
      if (problem !== undefined) return { code: expect.stringMatching('policy_violation|body_too_large'), detail: expect.stringMatching(problem), hint: expect.any(String) };
      if (setting === 'strip' && name.startsWith('identity')) return 'stripped';
      return { code: 'foreign_credential', detail: expect.stringContaining('in the body (ghp_') };
    };
    for (const row of codingRows) {
      const want = wanted(row);
      if (row.name in codes && row.name !== 'identity, then zstd')
        expect(codes[row.name], row.name).toEqual(typeof want === 'string' ? want : expect.objectContaining(want));
    }
    for (const { body } of seen) expect(body.toString()).toBe(JSON.stringify({ key: '*'.repeat(key.length) }));
    const named = await ask('HTTP/1.1', post('/', withFileName(`&key=${key}&`), 'a=1', formType));
    expect([named.status, named.headers['sidekey-error']]).toEqual([403, 'foreign_credential']);
    const clean = codingRows.filter(({ problem }) => problem === undefined);
    for (const row of clean) expect((await ask('HTTP/1.1', post('/', row, '{"a":1}'))).status).toBe(200);
  }); // prettier-ignore

  test('has its placeholder replaced, and is then sent without its coding', async () => {
    const { sidekey, api, asked, placeholder } = await startPlaceholderProxy({ placeholders: ['body'] });
    const client = await openTunnel(sidekey, api.authority);
    for (const row of codingRows.filter(({ problem, codings }) => problem === undefined && codings.length > 0)) {
      const body = row.encode(Buffer.from(JSON.stringify({ token: placeholder })));
      const fields = fieldsOf(row).map((text, i, all) => (i % 2 === 0 ? `${text}: ${all[i + 1]}\r\n` : ''));
      client.send(`POST / HTTP/1.1\r\nHost: ${api.authority}\r\n${fields.join('')}Content-Length: ${body.length}\r\n\r\n`);
      client.send(body.toString('latin1'));
      expect((await client.response()).status, row.name).toBe(200);
      const { body: sent, headers } = asked.at(-1)!;
      expect([row.name, sent]).toEqual([row.name, JSON.stringify({ token: bearerToken })]);
      const isPlain = ['', 'identity'].includes(row.codings.join().toLowerCase());
      expect(headers['content-encoding']).toBe(isPlain ? row.codings.join() : undefined);
    }
  }); // prettier-ignore
});

test('deflate that is both zlib and raw is not read', () => {
  const [header, content] = [Buffer.from([0x78, 0x01, 8, 0xfe, 0xf7, 0x01, 8]), Buffer.alloc(0xf7fe, 'a')];
  // A reader of raw deflate finds a stored block of 0x801 bytes, and a second one with the rest.
  const rest = content.length + 9 - (2 + 0x801 - 2) - 5;
  content[0x801 - 2] = 1;
  content.writeUInt16LE(rest, 0x801 - 1);
  content.writeUInt16LE(0xffff - rest, 0x801 + 1);
  const both = Buffer.concat([header, content, Buffer.from([1, 0, 0, 0xff, 0xff]), deflateSync(content).subarray(-4)]);
  expect([inflateSync(both).length, inflateRawSync(both).length]).toEqual([0xf7fe, 0x801 + rest]);
  const limit = { name: 'rule_body_bytes', bytes: 100_000 } as const;
  expect(decodedBody(both, ['deflate'], limit)).toMatchObject({ problem: expect.stringContaining('is damaged') });
}); // prettier-ignore

describe('with leak_guard: redact', () => {
  test.each(partRows)('an answer of $name', async ({ status, fields, isForwarded }) => {
    const upstream = await startUpstream((_request, response) => {
      response.writeHead(status, fields).end('abcd');
    });
    const domain = { grant: 'acme', leak_guard: 'redact' };
    const { sidekey } = await grantedTo(upstream, { domains: { [upstream.authority]: domain } });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nRange: bytes=0-3\r\n\r\n`);
    const answer = await client.response();
    if (isForwarded === true) expect([answer.status, answer.body]).toEqual([status, 'abcd']);
    else {
      expect([answer.status, answer.headers['sidekey-error']]).toEqual([502, 'upstream_protocol']);
      expect(problemOf(answer)).toMatchObject({
        detail: expect.stringContaining('only a part of a body'),
        hint: expect.stringContaining('without Range'),
      });
    }
  });

  test('no field that asks for a part is forwarded, and no such trailer', async () => {
    const seen: string[] = [];
    const upstream = await startUpstream((request, response) => {
      request.resume().on('end', () => {
        seen.push(...[...request.rawHeaders, ...request.rawTrailers].filter((_, i) => i % 2 === 0));
        response.end('abcd');
      });
    });
    const domain = { grant: 'acme', leak_guard: 'redact' };
    const { sidekey } = await grantedTo(upstream, { domains: { [upstream.authority]: domain } });
    const client = await openTunnel(sidekey, upstream.authority);
    for (const field of askingFields) {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${field}\r\n\r\n`);
      expect((await client.response()).body, field).toBe('abcd');
    }
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\nTrailer: Range\r\n\r\n`);
    client.send('1\r\na\r\n0\r\nRange: bytes=0-3\r\nIf-Range: "1"\r\nX-Mine: yes\r\n\r\n');
    expect((await client.response()).body).toBe('abcd');
    expect(seen).toContain('X-Mine');
    const names = seen.map((text) => text.toLowerCase().replaceAll('_', '-'));
    for (const name of ['range', 'request-range', 'x-ms-range', 'if-range', 'a-im']) expect(names).not.toContain(name);
    expect(names.filter((name) => name === 'accept-encoding')).toHaveLength(askingFields.length + 1);
  }); // prettier-ignore
});
