import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readKeyVariable } from '../../../../src/store/vault/key-source.ts';

describe('a master key in the environment', () => {
  it('is accepted in base64, base64url or hex', () => {
    // All ones: base64 of these bytes has both characters in which the two alphabets differ.
    for (const bytes of [randomBytes(32), Buffer.alloc(32, 0xff), Buffer.alloc(32, 0xfb)]) {
      for (const text of [
        bytes.toString('base64'),
        bytes.toString('base64').replace('=', ''),
        bytes.toString('base64url'),
        bytes.toString('hex'),
        bytes.toString('hex').toUpperCase(),
        ` ${bytes.toString('base64')}\n`,
      ]) {
        expect(readKeyVariable('KEY', { KEY: text }).export().equals(bytes)).toBe(true);
      }
    }
  });

  it('is removed from the environment whether valid or not', () => {
    for (const text of [randomBytes(32).toString('base64'), 'not a key']) {
      const env: Record<string, string | undefined> = { KEY: text, OTHER: 'stays' };
      try {
        readKeyVariable('KEY', env);
      } catch {
        // The invalid key.
      }
      expect(env).toEqual({ OTHER: 'stays' });
    }
  });

  it('that is missing is reported with the command that creates one', () => {
    for (const env of [{}, { KEY: '' }, { KEY: '  ' }]) {
      expect(() => readKeyVariable('KEY', env)).toThrow(
        expect.objectContaining({ code: 'secret_missing', message: expect.stringContaining('KEY') }),
      );
    }
  });

  it('of another length or alphabet is refused, without its text in the message', () => {
    for (const text of [
      randomBytes(31).toString('base64'),
      randomBytes(33).toString('base64'),
      randomBytes(16).toString('hex'),
      randomBytes(48).toString('base64'),
      `${randomBytes(32).toString('base64url').slice(0, 42)}!`,
      'z'.repeat(64),
      'correct horse battery staple',
    ]) {
      let thrown: unknown;
      try {
        readKeyVariable('KEY', { KEY: text });
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ code: 'key_invalid' });
      expect(String(thrown)).not.toContain(text.slice(0, 8));
    }
    expect(() => readKeyVariable('KEY', { KEY: '0'.repeat(64) })).toThrow(
      expect.objectContaining({ code: 'key_invalid' }),
    );
  });
});
