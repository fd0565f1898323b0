/**
 * Cost of the HTTP/1.1 codec beside Node's own parser, measured in turns in one run: nanoseconds per head of
 * a usual request and response, microseconds per megabyte of a chunked body. A part of `npm run bench`;
 * alone: `npm run bench -- --section h1`.
 */
import { createDisplay, table } from '../../src/cli/display.ts';
import { requestFields, responseFields, valuesOf } from '../../src/proxy/http/fields.ts';
import { createBodyReader } from '../../src/proxy/http/h1/body.ts';
import {
  framingOf,
  isReusable,
  persists,
  requestFraming,
  responseFraming,
} from '../../src/proxy/http/framing.ts';
import { NameSet, type RequestHeadBytes, type ResponseHeadBytes } from '../../src/proxy/http/head.ts';
import { createRequestReader, createResponseReader } from '../../src/proxy/http/h1/read-head.ts';
import { Malformed, type Whose } from '../../src/proxy/http/h1/scan.ts';
import { fieldLines, ownHead } from '../../src/proxy/http/h1/write.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import { createNodeParser, type NodeHead } from '../unit/proxy/http/h1/node-parser.ts';
import { headBytes } from '../unit/proxy/http/h1/read-messages.ts';

const limits = { head_bytes: 65_536, head_fields: 200 };

const request = Buffer.from(
  [
    'POST /v1/repos/acme/widgets/issues/4711/comments?per_page=50&page=2 HTTP/1.1',
    'Host: api.example.com',
    'User-Agent: example-sdk/4.12.0 (linux; x64) node/26.1.0',
    'Accept: application/json',
    'Accept-Encoding: gzip, deflate, br',
    'Accept-Language: en-GB,en;q=0.9',
    'Authorization: Bearer placeholder-0123456789abcdef',
    'Content-Type: application/json; charset=utf-8',
    'Content-Length: 0',
    'X-Request-Id: 7b1d2c64-6b60-4c0a-9a55-0f5a4c1c2d3e',
    'X-Client-Version: 2026-11-01',
    'Sidekey-Reason: comment on an issue',
    'Connection: keep-alive',
    '',
    '',
  ].join('\r\n'),
);

const response = Buffer.from(
  [
    'HTTP/1.1 200 OK',
    'Server: example-edge/1.9',
    'Date: Sun, 22 Nov 2026 08:00:00 GMT',
    'Content-Type: application/json; charset=utf-8',
    'Content-Length: 0',
    'Connection: keep-alive',
    'Cache-Control: private, max-age=60, s-maxage=60',
    'Vary: Accept, Authorization, Cookie, Accept-Encoding',
    'ETag: "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"',
    'X-RateLimit-Limit: 5000',
    'X-RateLimit-Remaining: 4987',
    'X-RateLimit-Reset: 1795000000',
    'Strict-Transport-Security: max-age=31536000; includeSubDomains; preload',
    'X-Content-Type-Options: nosniff',
    'X-Request-Id: C0DE:1A2B:3C4D5E:6F7081:65F0A1B2',
    '',
    '',
  ].join('\r\n'),
);

const ofProxy = new NameSet(['proxy-*', 'sidekey-*', 'expect', 'host', 'authorization']);

const ofUpstream = new NameSet(['proxy-*', 'sidekey-*', 'alt-svc']);

/** Steps of a relay for each request. */
function passRequest(head: RequestHeadBytes): number {
  const plan = requestFraming(head);
  if (plan instanceof Malformed || !persists(head)) throw new Error('the request was not read as it is');
  const asked = [
    head.method,
    head.target,
    head.first('host'),
    head.first('proxy-authorization'),
    head.first('sidekey-grant'),
    head.first('sidekey-reason'),
    head.first('content-type'),
    head.first('expect'),
  ];
  const sent = headBytes(head, {
    drop: ofProxy,
    lines: fieldLines([
      'Host',
      'api.example.com',
      'Authorization',
      'Bearer 0123456789abcdef0123456789abcdef',
    ]),
  });
  return asked.length + sent.length;
}

function passResponse(head: ResponseHeadBytes): number {
  const plan = responseFraming(head, 'GET');
  if (plan instanceof Malformed || !isReusable(head, plan))
    throw new Error('the response was not read as it is');
  return head.status + headBytes(head, { drop: ofUpstream, lines: 'Connection: keep-alive\r\n' }).length;
}

/** The steps with strings of all fields, as the header rules need them. */
function passAsStrings({ method, target, fields }: NodeHead): void {
  const head = { method: method ?? '', target, version: '1.1', fields } as const;
  if (framingOf(head, defaultLimits) instanceof SidekeyError)
    throw new Error('the request was not read as it is');
  const asked = ['host', 'proxy-authorization', 'sidekey-grant', 'sidekey-reason', 'content-type', 'expect'];
  for (const name of asked) valuesOf(fields, name);
  const credentialed = requestFields(fields, 'api.example.com').flatMap((text, index, all) =>
    index % 2 === 1 && all[index - 1] === 'Authorization' ? 'Bearer 0123456789abcdef0123456789abcdef' : text,
  );
  ownHead(`${method} ${target} HTTP/1.1`, credentialed);
}

function passAnswerAsStrings({ status, reason, fields }: NodeHead): void {
  ownHead(`HTTP/1.1 ${status} ${reason}`, [...responseFields(fields, true), 'Connection', 'keep-alive']);
}

interface Case {
  readonly name: string;
  readonly unit: 'ns' | 'µs';
  /** The codec that is measured, and Node's parser with the same bytes. */
  readonly ours: () => void;
  readonly node: () => void;
}

function cases(): Case[] {
  const requests = createRequestReader(limits);
  const responses = createResponseReader(limits);
  const readRequest = () => {
    const head = requests.read(request, 0, request.length);
    if (!isHead(head)) throw new Error('the request was not read');
    return head;
  };
  const readResponse = () => {
    const head = responses.read(response, 0, response.length);
    if (!isHead(head)) throw new Error('the response was not read');
    return head;
  };
  const nodeRequests = createNodeParser('request');
  const nodeResponses = createNodeParser('response');
  const nodeRelay = createNodeParser('request', { head: passAsStrings });
  const nodeResponseRelay = createNodeParser('response', { head: passAnswerAsStrings });
  const nodeRequest = () => void nodeRequests.execute(request);
  const nodeResponse = () => void nodeResponses.execute(response);
  return [
    { name: 'a request of 12 fields, read', unit: 'ns', ours: () => void readRequest(), node: nodeRequest },
    { name: '… its fields as strings', unit: 'ns', ours: () => void readRequest().fields, node: nodeRequest },
    {
      name: '… framed, asked, written anew',
      unit: 'ns',
      ours: () => void passRequest(readRequest()),
      node: () => void nodeRelay.execute(request),
    },
    {
      name: 'a response of 14 fields, read',
      unit: 'ns',
      ours: () => void readResponse(),
      node: nodeResponse,
    },
    {
      name: '… framed, written anew',
      unit: 'ns',
      ours: () => void passResponse(readResponse()),
      node: () => void nodeResponseRelay.execute(response),
    },
    ...[1_024, 16_384].map((size) => bodyCase(size)),
  ];
}

function isHead<Head>(answer: Head | 'incomplete' | Malformed): answer is Head {
  return answer !== 'incomplete' && !(answer instanceof Malformed);
}

/** A megabyte in chunks of one size, which comes in regions of 64 KB. */
function bodyCase(size: number): Case {
  const chunk = Buffer.concat([
    Buffer.from(`${size.toString(16)}\r\n`),
    Buffer.alloc(size, 'x'),
    Buffer.from('\r\n'),
  ]);
  const count = (1 << 20) / size;
  const body = Buffer.concat([...Array.from({ length: count }, () => chunk), Buffer.from('0\r\n\r\n')]);
  const regions: Buffer[] = [];
  for (let at = 0; at < body.length; at += 65_536) regions.push(body.subarray(at, at + 65_536));
  const head = Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  const node = createNodeParser('response');
  const whose: Whose = 'response';
  return {
    name: `1 MB in chunks of ${size.toLocaleString('en')} bytes`,
    unit: 'µs',
    ours() {
      const reader = createBodyReader({ kind: 'chunked' }, { whose, limits });
      for (const region of regions) {
        if (reader.read(region, 0, region.length) !== region.length) throw new Error('the body was not read');
      }
      if (!reader.over) throw new Error('the body did not end');
    },
    node() {
      node.execute(head);
      for (const region of regions) node.execute(region);
    },
  };
}

/** Nanoseconds a turn: the least of the rounds, which a busy machine disturbs least. */
function time(act: () => void, turns: number): number {
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) act();
  return ((performance.now() - start) * 1e6) / turns;
}

/** Measures and prints. */
export function benchH1({ smoke }: { readonly smoke: boolean }): Promise<void> {
  const rows = cases().map(({ name, unit, ours, node }) => {
    const perNs = unit === 'ns' ? 1 : 1_000;
    const turns = smoke ? 50 : unit === 'ns' ? 2_000 : 40;
    let [best, bestNode] = [Infinity, Infinity];
    for (let round = 0; round < (smoke ? 2 : 200); round += 1) {
      best = Math.min(best, time(ours, turns));
      bestNode = Math.min(bestNode, time(node, turns));
    }
    return [
      name,
      `${(best / perNs).toFixed(0)} ${unit}`,
      `${(bestNode / perNs).toFixed(0)} ${unit}`,
      (best / bestNode).toFixed(2),
    ];
  });
  console.log('HTTP/1.1, by the codec and by Node’s own parser, with the header rules over its strings.');
  console.log(table(createDisplay({}, {}), ['what', 'codec', 'node', 'codec ÷ node'], rows));
  return Promise.resolve();
}
