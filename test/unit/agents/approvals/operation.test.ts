import { expect, test } from 'vitest';
import { operationOf } from '../../../../src/agents/approvals/operation.ts';

const provider = {
  operations: [
    { method: 'POST', path: '/gmail/v1/users/*/messages/send', words: 'send mail' },
    { method: 'DELETE', host: 'api.acme.test', path: '/repos/*/*', words: 'delete a repository' },
    { method: 'GET', path: '/repos/{owner}/{repo}/contents/{+path}', words: 'read a file' },
    { method: 'POST', path: '/v1/{document}:append', words: 'add to a document' },
  ],
};

test.each([
  ['POST', '/gmail/v1/users/me/messages/send', 'api.acme.test', 'send mail'],
  ['POST', '/gmail/v1/users/me/messages/send', 'other.acme.test', 'send mail'],
  ['GET', '/gmail/v1/users/me/messages/send', 'api.acme.test', null],
  ['DELETE', '/repos/acme/x', 'api.acme.test', 'delete a repository'],
  ['DELETE', '/repos/acme/x', 'other.acme.test', null],
  ['DELETE', '/repos/acme/x/issues', 'api.acme.test', null],
  ['DELETE', '/repos/acme%2Fx', 'api.acme.test', null],
  ['GET', '/repos/acme/x/contents/src/a.ts', 'api.acme.test', 'read a file'],
  ['GET', '/repos/acme/x/y/contents/a.ts', 'api.acme.test', null],
  ['POST', '/v1/7:append', 'api.acme.test', 'add to a document'],
  ['POST', '/v1/7/8:append', 'api.acme.test', null],
])('%s %s at %s is %s', (method, path, host, words) => {
  expect(operationOf(method, host, path, provider)).toBe(words);
});

test('a provider without a definition has no words for its operations', () => {
  expect(operationOf('GET', 'a.example', '/', undefined)).toBeNull();
});
