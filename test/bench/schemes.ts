/**
 * Measures the cost of each authentication scheme for one request, relative to `bearer`, and the cost of
 * placeholders. A section of `npm run bench`; alone: `npm run bench -- --section schemes`.
 */
import { createHmac } from 'node:crypto';
import { createDisplay, table } from '../../src/cli/display.ts';
import {
  type Credential,
  type DpopAlgorithm,
  type SealedCredential,
  withoutToken,
} from '../../src/domain/credential.ts';
import type { Placement } from '../../src/domain/provider.ts';
import { createPlaceholderCodes, readForm } from '../../src/proxy/placeholders/codes.ts';
import { PlaceholderScanner, Replacer } from '../../src/proxy/placeholders/stream.ts';
import { placeholdersInFields } from '../../src/proxy/placeholders/detect.ts';
import { applyScheme, type CredentialUse } from '../../src/proxy/schemes/apply.ts';
import { newDpopKey } from '../../src/proxy/schemes/dpop-proof.ts';
import {
  type DetectedPlaceholders,
  substitutePlaceholders,
} from '../../src/proxy/placeholders/substitute.ts';

const host = 'api.example.com';

const authority = { scheme: 'https', host, port: 443 } as const;

const token = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz';

/** A typical request head of an SDK. */
const head = [
  ['Host', host],
  ['User-Agent', 'openai-python/2.1.0'],
  ['Accept', 'application/json'],
  ['Accept-Encoding', 'gzip, deflate, br, zstd'],
  ['Content-Type', 'application/json'],
  ['X-Request-Id', '6f1d0f7e-7d0e-4e0a-9a54-0c9d2f4f3b11'],
  ['X-Stainless-Lang', 'python'],
  ['X-Stainless-OS', 'Linux'],
  ['X-Stainless-Runtime', 'CPython'],
  ['Content-Length', '1024'],
];

const fields = head.flat();

const path = '/v1/items/4711/comments?page=2&per_page=100';

const body = Buffer.from(JSON.stringify({ model: 'm', text: 'x'.repeat(980), token: 'placeholder' }));

const codes = createPlaceholderCodes((text) => createHmac('sha256', 'key').update(text).digest('hex'));

const placeholder = codes.make(readForm('ghp_sidekeyPlaceholder000000000000000000')!, 'anyone', 'g');

interface SchemeCase {
  readonly name: string;
  readonly plan: Placement;
  readonly credential?: Credential;
  readonly facts?: CredentialUse['facts'];
  readonly shown?: DetectedPlaceholders;
  readonly fields?: readonly string[];
}

const key: Credential = { type: 'api_key', value: token };

const facts = { method: 'POST', hasBody: true, bodyHash: 'a'.repeat(64), body, now: 0, chunkBytes: 65_536 };

const shown: DetectedPlaceholders = {
  texts: () => [placeholder],
  places: ['header'],
  codes,
  inContent: false,
  body: null,
};

const form = Buffer.from(new URLSearchParams({ token: 'placeholder', text: 'x'.repeat(990) }).toString());

const asForm = fields.map((text) =>
  text === 'application/json' ? 'application/x-www-form-urlencoded' : text,
);

const hmac: Placement = {
  kind: 'hmac',
  algorithm: 'sha256',
  sign: '{timestamp}{method}{target}{body}',
  secret: 'utf8',
  encoding: 'base64',
  timestamp: 'seconds',
  headers: [
    ['X-Sign', '{signature}'],
    ['X-Timestamp', '{timestamp}'],
  ],
  query: [],
};

function bound(algorithm: DpopAlgorithm): Credential {
  return {
    ...withoutToken({ renewal: { kind: 'client_credentials', scope: null, parameters: {} } }, 0),
    accessToken: token,
    dpop: { key: newDpopKey(algorithm), isBound: true },
  };
}

const schemes: readonly SchemeCase[] = [
  { name: 'bearer', plan: { kind: 'bearer' } },
  { name: 'header', plan: { kind: 'header', name: 'X-Api-Key', prefix: '' } },
  { name: 'basic', plan: { kind: 'basic', username: 'x-access-token', pairUsername: null } },
  { name: 'query', plan: { kind: 'query', name: 'key' } },
  {
    name: 'aws_sigv4',
    plan: { kind: 'aws_sigv4', service: 's3', region: 'eu-central-1' },
    credential: {
      type: 'aws',
      accessKeyId: 'AKIDEXAMPLE000000000',
      secretAccessKey: token,
      sessionToken: null,
      region: null,
    },
    facts,
    fields: [
      ...fields,
      'X-Amz-Date',
      '20261122T000000Z',
      'X-Amz-Content-Sha256',
      'UNSIGNED-PAYLOAD',
      'Authorization',
      'AWS4-HMAC-SHA256 Credential=AKIA/20261122/eu-central-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=0',
    ],
  },
  { name: 'headers', plan: { kind: 'headers', headers: [['X-Api-Key', '{token}']] } },
  { name: 'cookie', plan: { kind: 'cookie', name: 'session' } },
  { name: 'json', plan: { kind: 'json', path: ['token'] }, facts },
  {
    name: 'form',
    plan: { kind: 'form', name: 'token' },
    facts: { ...facts, body: form },
    fields: asForm,
  },
  { name: 'hmac', plan: hmac, facts },
  { name: 'dpop (ES256)', plan: { kind: 'dpop' }, credential: bound('ES256'), facts },
  { name: 'dpop (EdDSA)', plan: { kind: 'dpop' }, credential: bound('EdDSA'), facts },
  {
    name: 'placeholder in a field',
    plan: { kind: 'placeholder' },
    shown,
    fields: [...fields, 'X-Key', placeholder],
  },
];

/** Nanoseconds per call of each function: the minimum of several interleaved rounds. */
function measured(
  turns: readonly (() => unknown)[],
  { rounds, each }: { rounds: number; each: number },
): number[] {
  const best = turns.map(() => Infinity);
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, turn] of turns.entries()) {
      const start = performance.now();
      for (let count = 0; count < each; count += 1) turn();
      best[i] = Math.min(best[i]!, ((performance.now() - start) * 1e6) / each);
    }
  }
  return best;
}

const time = (ns: number) => (ns < 10_000 ? `${ns.toFixed(0)} ns` : `${(ns / 1_000).toFixed(0)} µs`);

/** Measures and prints both tables. */
export function benchSchemes({ smoke }: { readonly smoke: boolean }): Promise<void> {
  const size = smoke ? { rounds: 2, each: 50 } : { rounds: 20, each: 5_000 };
  const requests = schemes.map(
    ({ plan, credential = key, facts: known, shown: of, fields: own = fields }) => {
      const sealed: SealedCredential = { credential, audience: [host] };
      const injection: CredentialUse = {
        sealed,
        placement: plan,
        authority,
        ...(known === undefined ? {} : { facts: known }),
      };
      if (of === undefined) return () => applyScheme({ path, fields: own }, injection);
      return () =>
        substitutePlaceholders(applyScheme({ path, fields: own }, injection), of, credential, plan);
    },
  );
  const costs = measured(requests, size);
  console.log('Authentication schemes: cost of injection into a request with ten fields.');
  console.log(
    table(
      createDisplay({}, {}),
      ['scheme', 'time per request', '÷ bearer'],
      schemes.map(({ name }, i) => [name, time(costs[i]!), (costs[i]! / costs[0]!).toFixed(1)]),
    ),
  );

  const none = { target: path, fields };
  const one = { target: path, fields: [...fields, 'Authorization', `Bearer ${placeholder}`] };
  const [search = 0, found = 0] = measured(
    [() => placeholdersInFields(none.fields, codes), () => placeholdersInFields(one.fields, codes)],
    size,
  );
  const lines = Array.from({ length: smoke ? 500 : 10_000 }, (_, id) => ({
    id,
    url: `https://${host}/v1/items/${id}?filter=%22open%22`,
    title: `Line ${id}\nwith “quotes”, keys & sides`,
  }));
  const large = Buffer.from(JSON.stringify(lines));
  const scanner = new PlaceholderScanner(codes);
  const replacement = { texts: [Buffer.from(placeholder)], value: Buffer.from(token) };
  const [watch = 0, replace = 0, copy = 0] = measured(
    [() => scanner.push(large), () => new Replacer(replacement).push(large), () => Buffer.from(large)],
    { rounds: size.rounds, each: 20 },
  );
  const speed = (ns: number) => `${((large.length / ns) * 1e3).toFixed(0)} MB/s`;
  console.log('Placeholders: cost of search and replacement.');
  console.log(
    table(
      createDisplay({}, {}),
      ['operation', 'cost'],
      [
        ['search in a head without a placeholder', time(search)],
        ['search in a head with a placeholder', time(found)],
        ['search in a body', `${speed(watch)} (copying it: ${speed(copy)})`],
        ['replacement in a body', speed(replace)],
      ],
    ),
  );
  return Promise.resolve();
}
