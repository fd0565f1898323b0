import { describe, expect, it } from 'vitest';
import { longestHello, readClientHello } from '../../../src/proxy/client-hello.ts';

const length = (bytes: Buffer, size: number) => {
  const head = Buffer.alloc(size);
  head.writeUIntBE(bytes.length, 0, size);
  return Buffer.concat([head, bytes]);
};
const alpn = (...names: string[]) =>
  extension(16, length(Buffer.concat(names.map((name) => length(Buffer.from(name), 1))), 2));

function extension(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, length(body, 2)]);
}

/** A ClientHello with these extensions, as a handshake message. */
function hello(...extensions: Buffer[]): Buffer {
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    length(Buffer.alloc(32), 1),
    length(Buffer.from([0x13, 1, 0x13, 2]), 2),
    length(Buffer.from([0]), 1),
    length(Buffer.concat(extensions), 2),
  ]);
  return Buffer.concat([Buffer.from([1]), length(body, 3)]);
}

/** A message in records of so many bytes. */
function records(message: Buffer, size = 16_384): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    parts.push(Buffer.from([22, 3, 1]), length(message.subarray(at, at + size), 2));
  }
  return Buffer.concat(parts);
}

const sni = extension(0, Buffer.alloc(20));
const read = (...protocols: string[]) => ({ kind: 'read', protocols, serverName: null });

/** The server name extension (RFC 6066 §3) with names and their types. */
const serverNames = (...names: readonly (readonly [type: number, name: string])[]) => {
  const list = names.map(([type, name]) => Buffer.concat([Buffer.of(type), length(Buffer.from(name), 2)]));
  return extension(0, length(Buffer.concat(list), 2));
};

describe('a ClientHello', () => {
  it.each([
    ['both protocols', [sni, alpn('h2', 'http/1.1')], ['h2', 'http/1.1']],
    ['one', [alpn('h2'), sni], ['h2']],
    ['no ALPN', [sni], []],
    ['no extension', [], []],
    ['an empty list', [alpn()], []],
  ])('with %s reports the offered protocols', (_what, extensions, protocols) => {
    expect(readClientHello(records(hello(...extensions)))).toEqual(read(...protocols));
  });

  it.each([
    ['before ALPN', [serverNames([0, 'api.example.com']), alpn('h2')], 'api.example.com'],
    ['after ALPN', [alpn('h2'), serverNames([0, 'api.example.com'])], 'api.example.com'],
    ['of an unknown type before it', [alpn('h2'), serverNames([7, 'x'], [0, 'a.example'])], 'a.example'],
    ['of only an unknown type', [alpn('h2'), serverNames([7, 'x'])], null],
    ['longer than its list', [alpn('h2'), extension(0, Buffer.from([0, 5, 0, 0, 9, 97]))], null],
  ])('with a server name %s reports the requested name', (_what, extensions, serverName) => {
    expect(readClientHello(records(hello(...extensions)))).toEqual({ ...read('h2'), serverName });
  });

  it.each([1, 2, 3, 5, 100])('is read from records of %i bytes', (size) => {
    expect(readClientHello(records(hello(sni, alpn('h2')), size))).toEqual(read('h2'));
  });

  it('reports at each prefix a lower bound of the missing bytes', () => {
    const whole = records(hello(sni, alpn('h2', 'http/1.1')), 60);
    for (let size = 0; size < whole.length; size += 1) {
      const reading = readClientHello(whole.subarray(0, size));
      expect(reading.kind).toBe('more');
      if (reading.kind === 'more') {
        expect(reading.bytes).toBeGreaterThan(size);
        expect(reading.bytes).toBeLessThanOrEqual(whole.length);
      }
    }
    expect(readClientHello(whole)).toEqual(read('h2', 'http/1.1'));
    expect(readClientHello(Buffer.concat([whole, Buffer.from('more')]))).toEqual(read('h2', 'http/1.1'));
  });

  it.each([
    ['another record', Buffer.from([23, 3, 1, 0, 1, 0])],
    ['no version of TLS', Buffer.from([22, 22, 22, 22])],
    ['another handshake message', Buffer.from([22, 3, 1, 0, 100, 2])],
    ['an empty record', Buffer.from([22, 3, 1, 0, 0, 22, 3, 1])],
    ['a length beyond the bound', Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0])],
  ])('that is %s offers no protocols, and is not awaited', (_what, bytes) => {
    expect(readClientHello(bytes)).toEqual(read());
  });

  it('with a wrong inner length offers no protocols', () => {
    const good = hello(alpn('h2', 'http/1.1'));
    for (let at = 4; at < good.length; at += 1) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const bent = Buffer.from(good);
        bent[at] = value;
        const reading = readClientHello(records(bent));
        expect(reading.kind).toBe('read');
      }
    }
    const cut = hello(Buffer.concat([Buffer.from([0, 16, 0, 9]), Buffer.from([0, 12, 2])]));
    expect(readClientHello(records(cut))).toEqual(read());
  });

  it('is abandoned beyond its size limit, for records of any size', () => {
    const large = hello(extension(21, Buffer.alloc(longestHello - 1_000)));
    const whole = records(large, 1);
    let size = 0;
    for (;;) {
      const reading = readClientHello(whole.subarray(0, size));
      if (reading.kind === 'read') break;
      size = reading.bytes;
      expect(size).toBeLessThanOrEqual(longestHello);
      if (size > 2_000) size = Math.max(size, longestHello - 3);
    }
    expect(size).toBeLessThanOrEqual(longestHello);
  });
});
