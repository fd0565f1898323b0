import { expect, test } from 'vitest';
import { readText } from '../../../../src/proxy/http/fields.ts';

test.each([
  ['für Zoë 清理', 'utf8', 'für Zoë 清理'],
  ['für Zoë', 'latin1', 'für Zoë'],
  ['plain', 'latin1', 'plain'],
  ['', 'latin1', ''],
] as const)('%s, encoded as %s, is decoded to the original text', (text, encoding, read) => {
  expect(readText(Buffer.from(text, encoding).toString('latin1'))).toBe(read);
});
