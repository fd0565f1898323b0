/**
 * The output for an agent and the amount of work must not depend on a part of the credential. Otherwise an
 * agent whose guess is repeated by a response could read the credential character by character.
 */
import { describe, expect, it } from 'vitest';
import { Matcher } from '../../src/proxy/leak-guard/patterns.ts';
import { GrpcRedactor, Redactor, redactText, ServerFrames } from '../../src/proxy/leak-guard/redactor.ts';
import * as fc from '../support/fast-check.ts';

const forms = {
  token: 'ABCDEFabcdef0123456789-_',
  dotted: 'ABCabc0189-._~+/:',
  printable: 'ABCDefgh019 %&\\"\'<>+=.;#{}ux',
  any: 'ABab01\xe4\xc3\xff\x01\n%\\&',
} as const;

/**
 * Two credentials of one form: one alphabet, one length, and at least one character that only this alphabet
 * has.
 */
const pair = fc.constantFrom(...(Object.keys(forms) as (keyof typeof forms)[])).chain((form) => {
  const text = (length: number) =>
    fc.array(fc.constantFrom(...Array.from(forms[form])), { minLength: length, maxLength: length });
  const kept = { token: 'a', dotted: '.', printable: '"', any: '\xe4' }[form];
  return fc
    .integer({ min: 10, max: 30 })
    .chain((length) => fc.tuple(text(length), text(length)))
    .map(([one, other]) => [`b${one.join('')}${kept}b`, `c${other.join('')}${kept}c`] as const);
});

const writings: readonly ((text: string) => string)[] = [
  (text) => text,
  encodeURIComponent,
  (text) => JSON.stringify(text).slice(1, -1),
  (text) => Array.from(text, (one) => `&#${one.charCodeAt(0)};`).join(''),
  (text) => Array.from(text, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
  (text) => encodeURIComponent(encodeURIComponent(text)),
  (text) => Buffer.from(text, 'latin1').toString('hex'),
  (text) => Buffer.from(text, 'latin1').toString('base64').replace(/=+$/, ''),
  (text) => Array.from(text, (one) => `${one}\0`).join(''),
];

/** Inputs made of parts of both, in any writing, and of what is around them. */
const inputFor = ([one, other]: readonly [string, string]) =>
  fc
    .array(
      fc.oneof(
        fc
          .tuple(fc.constantFrom(one, other), fc.nat(), fc.nat(), fc.constantFrom(...writings))
          .map(([secret, from, length, write]) => {
            const written = write(secret.slice(from % 3));
            return written.slice(0, length % Math.max(1, written.length - 2));
          }),
        fc.constantFrom(
          '\n\n',
          ' ',
          '%',
          '\\',
          '&',
          '&#',
          '\\u00',
          '%2',
          '\0',
          '\r\n',
          '"}',
          '=',
          'A'.repeat(70),
        ),
        fc.string({ maxLength: 6, unit: 'binary-ascii' }),
      ),
      { maxLength: 12 },
    )
    .map((parts) => Buffer.from(parts.join(''), 'latin1'));

const cuts = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 });

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; at += sizes[i % sizes.length]!, i += 1)
    pieces.push(Buffer.from(bytes.subarray(at, at + sizes[i % sizes.length]!)));
  return pieces;
}

/** The output of each call, in its pieces, and the number of steps. */
function traced(redactor: Redactor | GrpcRedactor, pieces: readonly Buffer[]): readonly unknown[] {
  const calls = pieces.map((piece) => [...redactor.push(piece)].map((out) => out.toString('latin1')));
  const last = [...redactor.end()].map((out) => out.toString('latin1'));
  return [...calls, last, redactor.found, redactor instanceof Redactor ? redactor.steps : null];
}

const anyCase = pair.chain((both) => fc.tuple(fc.constant(both), inputFor(both), cuts));

describe('for two credentials of the same form and any input without them,', () => {
  it('a body is forwarded in the same pieces, at the same calls and in the same steps', () => {
    fc.assert(
      fc.property(anyCase, ([both, input, sizes]) => {
        const [one, other] = both.map((secret) =>
          traced(new Redactor(new Matcher([secret])), cut(input, sizes)),
        );
        fc.pre(one!.at(-2) === 0 && other!.at(-2) === 0);
        expect(other).toEqual(one);
        expect(Buffer.from((one!.slice(0, -2) as string[][]).flat().join(''), 'latin1').equals(input)).toBe(
          true,
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it('a body that is cut off loses the same bytes', () => {
    fc.assert(
      fc.property(anyCase, ([both, input, sizes]) => {
        const [one, other] = both.map((secret) => {
          const redactor = new Redactor(new Matcher([secret]));
          const out = cut(input, sizes).flatMap((piece) => [...redactor.push(piece)]);
          return { out: Buffer.concat(out).toString('latin1'), found: redactor.found };
        });
        fc.pre(one!.found === 0 && other!.found === 0);
        expect(other).toEqual(one);
      }),
    );
  });

  it('a field is unchanged', () => {
    fc.assert(
      fc.property(anyCase, ([both, input]) => {
        const text = input.toString('latin1');
        const traces = both.map((secret) => traced(new Redactor(new Matcher([secret])), [input]));
        fc.pre(traces.every((trace) => trace.at(-2) === 0));
        for (const secret of both) expect(redactText(new Matcher([secret]), text)).toBe(text);
      }),
    );
  });

  it('messages of gRPC and WebSockets are forwarded in the same pieces at the same calls', () => {
    fc.assert(
      fc.property(anyCase, fc.boolean(), ([both, input, sizes], isFinal) => {
        const grpcHead = Buffer.from([0, 0, 0, 0, 0]);
        grpcHead.writeUInt32BE(input.length, 1);
        const frameHead = Buffer.from([isFinal ? 0x82 : 0x02, 126, 0, 0]);
        frameHead.writeUInt16BE(input.length, 2);
        const grpc = cut(Buffer.concat([grpcHead, input, grpcHead]), sizes);
        const frames = cut(Buffer.concat(input.length < 126 ? [] : [frameHead, input]), sizes);
        const [one, other] = both.map((secret) => {
          const matcher = new Matcher([secret]);
          const server = new ServerFrames(matcher);
          return {
            grpc: traced(new GrpcRedactor(matcher), grpc),
            frames: frames.map((piece) => [...server.push(piece)].map((out) => out.toString('latin1'))),
            found: server.found,
          };
        });
        fc.pre([one, other].every((each) => each!.found === 0 && each!.grpc.at(-2) === 0));
        expect(other).toEqual(one);
      }),
    );
  });
});

describe('the table of a credential', () => {
  it('has the same size for all credentials of the same form', () => {
    fc.assert(
      fc.property(pair, ([one, other]) => {
        const [table, beside] = [new Matcher([one]), new Matcher([other])];
        expect(beside.table.length).toBe(table.table.length);
        expect([beside.maxInputBytes, beside.maxLength]).toEqual([table.maxInputBytes, table.maxLength]);
      }),
    );
  });
});
