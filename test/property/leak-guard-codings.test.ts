import { randomBytes } from 'node:crypto';
import { brotliCompressSync, constants, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { RawFields } from '../../src/proxy/http/fields.ts';
import { createGone, Meter, type Reply } from '../../src/proxy/http/message.ts';
import type { GuardedSecrets } from '../../src/proxy/leak-guard/patterns.ts';
import { guardReply } from '../../src/proxy/leak-guard/response.ts';
import type { SidekeyError } from '../../src/lib/errors.ts';
import type { LeakSearch } from '../../src/proxy/policy/domain-map.ts';
import * as fc from '../support/fast-check.ts';

const coders: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
};
const anyCodings = fc.array(fc.constantFrom(...Object.keys(coders)), { minLength: 0, maxLength: 3 });
const put = (codings: readonly string[], bytes: Buffer) =>
  codings.reduce((coded, coding) => coders[coding]!(coded), bytes);

const secret = 'tok_9/aB+cD=eF.gH~iJ-kL_mN';
const secrets: GuardedSecrets = { texts: [secret] };
const asked: LeakSearch = { onLeak: 'redact', covers: 'all', isAsked: true };
const refusing: LeakSearch = { ...asked, onLeak: 'refuse' };

interface Told {
  readonly status: number | null;
  readonly fields: RawFields;
  readonly body: Buffer;
  readonly stopped: SidekeyError | null;
  readonly leaks: number;
}

/**
 * Passes a response through the guard, and answers with what a client sees of it. A client that is slow at
 * each turn.
 */
async function pass(
  fields: RawFields,
  pieces: readonly Buffer[],
  plan = asked,
  trailers: RawFields = [],
): Promise<Told & { readonly trailers: RawFields }> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let status: number | null = null;
  let sent: RawFields = [];
  let ended: RawFields = [];
  const written: Buffer[] = [];
  const reply: Reply = {
    started: false,
    gone: createGone(),
    hold: () => reply.gone,
    expectsContinue: false,
    continue() {},
    informational() {},
    closeAfter() {},
    head(code, _reason, all) {
      status = code;
      sent = all;
    },
    write(piece) {
      if (status === null) throw new Error('a body before its head');
      written.push(Buffer.from(piece));
      return false;
    },
    onDrain: (listener) => void setImmediate(listener),
    end(all) {
      ended = all;
      resolve();
    },
    abort: () => resolve(),
  };
  const owner = {
    isOver: false,
    stopped: null as SidekeyError | null,
    stop(why: SidekeyError) {
      this.isOver = true;
      this.stopped = why;
      resolve();
    },
  };
  const meter = new Meter();
  const into = guardReply({ reply, search: plan, secrets, meter, overBound: () => null }, 200, owner);
  into.head(200, 'OK', fields);
  for (const piece of pieces) {
    if (owner.isOver) break;
    if (into.write(piece)) continue;
    await new Promise<void>((next) => {
      into.onDrain(next);
      void promise.then(next);
    });
  }
  if (!owner.isOver) into.end(trailers);
  await promise;
  return {
    status,
    fields: sent,
    body: Buffer.concat(written),
    stopped: owner.stopped,
    leaks: meter.leaks,
    trailers: ended,
  };
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; at += sizes[i % sizes.length]!, i += 1)
    pieces.push(bytes.subarray(at, at + sizes[i % sizes.length]!));
  return pieces;
}

const splits = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 });
const codingField = (codings: readonly string[]) =>
  codings.length === 0 ? [] : ['Content-Encoding', codings.join(', ')];

describe('a guarded response in any coding', () => {
  it('arrives decoded and without the secret, at every split', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyCodings,
        splits,
        fc.string(),
        fc.constantFrom(secret, encodeURIComponent(secret), Buffer.from(`x${secret}y`).toString('base64')),
        async (codings, sizes, around, rendering) => {
          const plain = Buffer.from(`${around} ${rendering} ${around}`);
          const told = await pass(codingField(codings), cut(put(codings, plain), sizes));
          expect(told.stopped).toBeNull();
          expect(told.leaks).toBe(1);
          expect(told.fields).toEqual([]);
          expect(told.body.length).toBe(plain.length);
          expect(told.body.includes(rendering.slice(4, -4))).toBe(false);
          const [before] = plain.toString().split(rendering);
          expect(told.body.toString().startsWith(before!)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('without a leak arrives decoded and otherwise unchanged', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyCodings,
        splits,
        fc.uint8Array({ maxLength: 3_000 }),
        async (codings, sizes, bytes) => {
          const told = await pass(codingField(codings), cut(put(codings, Buffer.from(bytes)), sizes));
          expect(told.stopped).toBeNull();
          expect(told.body.equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is never complete if its decoder fails, and is never forwarded undecoded', async () => {
    const damage = fc.record({ at: fc.double({ min: 0, max: 0.999, noNaN: true }), isCut: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(coders)),
        splits,
        damage,
        async (coding, sizes, { at, isCut }) => {
          const plain = Buffer.from(`${'lorem ipsum '.repeat(20)}${secret}${' dolor sit'.repeat(20)}`);
          const coded = Buffer.from(put([coding], plain));
          const place = Math.floor(at * coded.length);
          if (!isCut) coded[place]! ^= 0xff;
          // A body that is cut off has no bytes, or a part of them.
          const sent = isCut ? coded.subarray(0, Math.max(1, place)) : coded;
          const told = await pass(codingField([coding]), cut(sent, sizes));
          expect(told.body.includes(secret)).toBe(false);
          expect(told.body.length).toBeLessThanOrEqual(plain.length + 65_536);
          if (isCut) expect(told.stopped?.code).toBe('upstream_protocol');
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is refused if a coding is not supported, or if it has more than three', async () => {
    for (const coding of [
      'compress',
      'dcb',
      'aes128gcm',
      'gzip, x-own',
      'gzip, gzip, gzip, gzip',
      'br; q=1',
    ]) {
      const told = await pass(['Content-Encoding', coding], [Buffer.from(secret)]);
      expect(told.stopped?.code, coding).toBe('upstream_protocol');
      expect([told.status, told.body.length]).toEqual([null, 0]);
    }
  });

  it('is refused if its decoder needs more memory than the coding allows (RFC 9659)', async () => {
    const params = { [constants.ZSTD_c_windowLog]: 27 };
    const large = zstdCompressSync(randomBytes(9 * 1_048_576), { params });
    const told = await pass(codingField(['zstd']), [large]);
    expect([told.stopped?.code, told.body.length]).toEqual(['upstream_protocol', 0]);
  });

  it('is stopped if it expands beyond the limit', async () => {
    const bomb = put(['zstd', 'gzip'], Buffer.alloc(64 * 1_048_576));
    const told = await pass(codingField(['zstd', 'gzip']), [bomb]);
    expect(told.stopped?.code).toBe('upstream_protocol');
    expect(told.body.length).toBeLessThan(17 * 1_048_576);
  });
});

describe('a guarded response', () => {
  it('has no fields that describe the encoded body, and a weak ETag', async () => {
    const body = gzipSync('hello');
    const { fields } = await pass(
      [
        'ETag',
        '"a"',
        'Content-Length',
        String(body.length),
        'Content-Encoding',
        'gzip',
        'Digest',
        'x',
        'Vary',
        '*',
      ],
      [body],
    );
    expect(fields).toEqual(['ETag', 'W/"a"', 'Vary', '*']);
  });

  it('keeps its Content-Length if the body has no coding', async () => {
    const body = Buffer.from(`{"key":"${secret}"}`);
    const told = await pass(['Content-Length', String(body.length)], [body]);
    expect(told.fields).toEqual(['Content-Length', String(body.length)]);
    expect(told.body.toString()).toBe(`{"key":"${'*'.repeat(secret.length)}"}`);
  });

  it('has no leak in its fields, field names or trailers', async () => {
    const told = await pass(['X-Seen', `Bearer ${secret}`, secret, 'x', 'X-Other', 'y'], [], asked, [
      'grpc-message',
      encodeURIComponent(secret),
    ]);
    expect(told.fields).toEqual(['X-Seen', `Bearer ${'*'.repeat(secret.length)}`, 'X-Other', 'y']);
    expect(told.trailers).toEqual(['grpc-message', '*'.repeat(encodeURIComponent(secret).length)]);
    expect(told.leaks).toBe(3);
  });

  it('is refused if it has compressed gRPC messages', async () => {
    const grpc = await pass(['grpc-encoding', 'gzip'], []);
    expect(grpc.stopped?.code).toBe('upstream_protocol');
    expect((await pass(['grpc-encoding', 'identity'], [])).stopped).toBeNull();
  });

  it('that ends with only the beginning of a secret is forwarded unmasked', async () => {
    const told = await pass([], [Buffer.from(`cut off: ${secret.slice(0, -1)}`)]);
    expect(told.body.toString()).toBe(`cut off: ${secret.slice(0, -1)}`);
    expect(told.leaks).toBe(0);
  });

  it('forwards bytes at once if no secret of this form can include them, and holds back all other bytes', async () => {
    const written: string[] = [];
    const owner = { isOver: false, stop() {} };
    const reply = {
      gone: createGone(),
      head() {},
      write: (piece: Buffer) => written.push(piece.toString()) > 0,
    } as unknown as Reply;
    const into = guardReply(
      { reply, search: asked, secrets, meter: new Meter(), overBound: () => null },
      200,
      owner,
    );
    into.head(200, 'OK', []);
    into.write(Buffer.from('data: one\n\n'));
    into.write(Buffer.from('data: tok\n\ntok'));
    expect(written.join('')).toBe('data: one\n\ndata: tok\n\n');
    into.write(Buffer.from(`${secret.slice(3)}\n\n`));
    expect(written.join('')).toBe(`data: one\n\ndata: tok\n\n${'*'.repeat(secret.length)}\n\n`);
  });

  it('is refused before its head if leaks are refused and its first piece has a leak', async () => {
    const told = await pass([], [Buffer.from(`seen: ${secret}`)], refusing);
    expect(told.stopped?.code).toBe('credential_leaked');
    expect(told.status).toBeNull();
    expect((await pass(['X-Seen', secret], [], refusing)).status).toBeNull();
    expect((await pass([], [], refusing, ['x-seen', secret])).status).toBeNull();
    expect((await pass([], [Buffer.from('fine')], refusing)).body.toString()).toBe('fine');
  });
});
