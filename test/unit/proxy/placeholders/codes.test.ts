import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Grant } from '../../../../src/domain/grant.ts';
import {
  agentHolder,
  createPlaceholderCodes,
  jwtForm,
  leaseHolder,
  mintFor,
  plainForm,
  readForm,
} from '../../../../src/proxy/placeholders/codes.ts';
import { PlaceholderScanner } from '../../../../src/proxy/placeholders/stream.ts';

const mac = (key: string) => (text: string) => createHmac('sha256', key).update(text).digest('hex');
const codes = createPlaceholderCodes(mac('key'));
const github = readForm('ghp_sidekeyPlaceholder000000000000000000')!;

describe('a form', () => {
  test.each([
    ['ghp_sidekeyPlaceholder000000000000000000', 40],
    ['glpat-sidekeyPlaceholder00', 26],
    ['1000000000:sidekeyPlaceholder00000000000000000', 46],
    ['SG.sidekeyPlaceholder0000.0000000000000000000000000000000000000000000', 69],
    ['dop_v1_0000000000000000000000000000000000000000000000000000000000000000', 71],
    ['00000000000000000000000000000000', 32],
    ['ASIASIDE000000000000', 20],
  ])('of %s keeps the length, beginning and end of the credential', (template, length) => {
    const form = readForm(template)!;
    const made = codes.make(form, 'anyone', 'g');
    expect(made).toHaveLength(length);
    expect(made.startsWith(form.before)).toBe(true);
    expect(made.endsWith(form.after)).toBe(true);
    expect(made).not.toBe(template);
    if (/^[0-9a-f]+$/.test(template)) expect(made).toMatch(/^[0-9a-f]+$/);
    if (/^[A-Z0-9]+$/.test(template) && length === 20) expect(made).toMatch(/^[A-Z2-7]+$/);
  });

  test.each([
    'AKIASIDE000000000000',
    '00000000-0000-0000-0000-000000000000',
    'my-placeholder',
    'sidekeyPlaceholder',
  ])('of %s has no room for a code', (template) => {
    expect(readForm(template)).toBeNull();
  });

  test('of a JSON Web Token has no expired exp claim', () => {
    const [head, claims, end] = codes.make(jwtForm, 'anyone', 'g').split('.');
    expect(JSON.parse(Buffer.from(head!, 'base64url').toString())).toEqual({ alg: 'none', typ: 'JWT' });
    expect(JSON.parse(Buffer.from(claims!, 'base64url').toString())).toMatchObject({ exp: 4_102_444_800 });
    expect(Buffer.from(end!, 'base64url').toString('base64url')).toBe(end);
  });
});

describe('the key ID of AWS for a program', () => {
  const template = 'ASIASIDE000000000000';
  const [one, two] = ['one', 'two'].map((id) => ({ id, provider: 'aws' })) as [Grant, Grant];

  test('names the only grant, and no grant if there are several', () => {
    expect(codes.find(mintFor('anyone', [one], codes)('aws', template))).toHaveLength(1);
    expect(mintFor('anyone', [one, two], codes)('aws', template)).toBe(template);
  });
});

describe('a code', () => {
  const lease = leaseHolder('6f1d0f7e-7d0e-4e0a-9a54-0c9d2f4f3b11');

  test('is found at any position, and identifies its agent and grant', () => {
    const text = `Bearer ${codes.make(github, lease, 'one')}, ${codes.make(plainForm, 'anyone', 'two')}`;
    const [first, second] = codes.find(text);
    expect(codes.find(text)).toHaveLength(2);
    expect(codes.isOf(first!, lease, 'one')).toBe(true);
    expect(codes.isOf(second!, 'anyone', 'two')).toBe(true);
    expect(codes.isOf(first!, lease, 'two')).toBe(false);
    expect(codes.isOf(first!, agentHolder('one'), 'one')).toBe(false);
    expect(codes.isOf(second!, lease, 'two')).toBe(false);
  });

  test('differs for each lease, agent and grant', () => {
    const holders = [lease, leaseHolder('other'), agentHolder('other'), 'anyone'] as const;
    const made = holders.flatMap((holder) =>
      ['one', 'two'].map((grant) => codes.make(github, holder, grant)),
    );
    expect(new Set(made).size).toBe(made.length);
  });

  test('of another installation or with a change is invalid', () => {
    const own = codes.make(github, lease, 'one');
    expect(createPlaceholderCodes(mac('other key')).find(own)).toEqual([]);
    const at = own.indexOf('sidekey') + 'sidekey'.length;
    for (let i = at; i < at + 12; i += 1) {
      const changed = own.slice(0, i) + (own[i] === 'x' ? 'y' : 'x') + own.slice(i + 1);
      expect(codes.find(changed)).toEqual([]);
    }
    expect(codes.find(own.slice(0, at + 11))).toEqual([]);
    expect(codes.find('the words sidekeyPlaceholder000000000000 and sidekey')).toEqual([]);
  });

  test('is searched for in bounded time among many similar texts', () => {
    let asked = 0;
    const counted = createPlaceholderCodes((text) => {
      asked += 1;
      return mac('key')(text);
    });
    counted.find(Array.from({ length: 5_000 }, (_, i) => `sidekey${String(i).padEnd(12, 'A')} `).join(''));
    expect(asked).toBeLessThan(1_000);
  });

  test('is searched for in bounded time in a body of small pieces', () => {
    let asked = 0;
    const counted = createPlaceholderCodes((text) => {
      asked += 1;
      return mac('key')(text);
    });
    const scanner = new PlaceholderScanner(counted);
    for (let i = 0; i < 20_000; i += 1) scanner.push(Buffer.from(`sidekey${String(i).padEnd(12, 'A')} `));
    expect(asked).toBeLessThan(2_000);
  });
});
