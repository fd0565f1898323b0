import type { z } from 'zod';
import { text } from './scalar.ts';

/** Words for people: one line, not empty. */
export function plainText(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[\x20-\x7e’“”–…éü]+$/.test(value) && value === value.trim()
      ? value
      : { problem: 'must be one line of plain text, and not empty' },
  );
}

/** A page for people. */
export function webPage(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^https://' }, (value) => {
    const url = /^[\x21-\x7e]+$/.test(value) ? URL.parse(value) : null;
    if (url?.protocol !== 'https:') return { problem: 'is no https URL' };
    return url.username === '' && url.password === '' ? value : { problem: 'has user information' };
  });
}
