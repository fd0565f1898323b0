import { expect, test } from 'vitest';
import { Matcher } from '../../../../src/proxy/leak-guard/patterns.ts';
import { Redactor } from '../../../../src/proxy/leak-guard/redactor.ts';

const secret = 'token-of-the-grant-0123456789-abcdefghijklmn';

test.each(['\r\n', '\n'])('the leak guard finds Base64 in UTF-16 with line breaks %j', (lineBreak) => {
  const base64 = Buffer.from(`${'x'.repeat(40)}${secret}`).toString('base64');
  const lines = base64.replace(/.{76}(?=.)/g, `$&${lineBreak}`);
  const redactor = new Redactor(new Matcher([secret]));
  redactor.push(Buffer.from(lines, 'utf16le'));
  redactor.end();
  expect(redactor.found).toBe(1);
});
