import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';

const domains = {
  'api.example.com': {
    grant: 'example',
    rules: [
      { name: 'read', methods: ['GET'], paths: ['/v1/**'] },
      { name: 'write', methods: ['POST'], require_reason: true },
    ],
  },
};

const ruleAt = (index: number, line: number) =>
  `domains["api.example.com"].rules[${index}] (config/sidekey.yaml:${line})`;

async function homeWithCases(cases: string): Promise<Home> {
  const at = await home({ domains });
  await writeFile(at.at('cases.yaml'), cases);
  return at;
}

test('expected decisions are printed as a table with exit code 0, and no file is created', async () => {
  const at =
    await homeWithCases(`- { request: GET https://api.example.com/v1/x?key=hidden, expect: allow, rule: read }
- { request: POST api.example.com/v1/x, expect: deny, code: rule_denied, rule: write }
- { request: POST https://api.example.com/v1/x, reason: ticket 7, expect: allow }
`);
  const before = await at.everything();
  const ran = await at.run(['config', 'check', '--tests', 'cases.yaml']);
  expect(ran).toEqual({
    exit: 0,
    stderr: '',
    stdout: [
      '   LINE  REQUEST                            EXPECTED                   GOT               BY',
      `✓  1     GET https://api.example.com/v1/x   allow by read              allow             read, ${ruleAt(0, 8)}`,
      `✓  2     POST api.example.com/v1/x          deny rule_denied by write  deny rule_denied  write, ${ruleAt(1, 13)}`,
      `✓  3     POST https://api.example.com/v1/x  allow                      allow             write, ${ruleAt(1, 13)}`,
      '',
      'All 3 as expected.',
      '',
    ].join('\n'),
  });
  expect(await at.everything()).toEqual(before);
});

test('an unexpected decision causes exit code 1, and prints every step', async () => {
  const at = await homeWithCases(`- { request: GET https://api.example.com/v1/x, expect: deny }
- { request: PUT https://api.example.com/v1/x, expect: allow }
- { request: GET https://api.example.com/v1/x, expect: allow, rule: write }
- { request: GET https://api.example.com/v1//x, expect: deny, code: rule_denied }
- { request: GET https://api.example.com/v1/x, expect: allow }
`);
  const ran = await at.run(['config', 'check', '--tests', 'cases.yaml']);
  expect(ran.exit).toBe(1);
  expect(ran.stdout).toContain(
    [
      'Line 2, PUT https://api.example.com/v1/x: the request is matched by no rule.',
      '  read, domains["api.example.com"].rules[0] (config/sidekey.yaml:8): does not match, because of methods GET',
      '  write, domains["api.example.com"].rules[1] (config/sidekey.yaml:13): does not match, because of methods POST',
      '  domains["api.example.com"].rules (config/sidekey.yaml:7): deny',
    ].join('\n'),
  );
  expect(ran.stdout).toContain('4 of 5 not as expected.');
  expect(await at.json(['config', 'check', '--tests', 'cases.yaml'])).toMatchObject({
    passed: 1,
    failed: 4,
    cases: [
      { line: 1, passed: false, expected: { outcome: 'deny' }, got: { outcome: 'allow', rule_name: 'read' } },
      { line: 2, passed: false, got: { outcome: 'deny', code: 'rule_denied' } },
      { line: 3, passed: false, got: { outcome: 'allow' } },
      { line: 4, passed: false, got: { outcome: 'deny', code: 'policy_violation' } },
      { line: 5, passed: true },
    ],
  });
});

test('rules in report mode are evaluated but not enforced', async () => {
  const at = await home({
    domains: { 'api.example.com': { ...domains['api.example.com'], mode: 'report' } },
  });
  await writeFile(at.at('cases.yaml'), '- { request: PUT https://api.example.com/, expect: deny }\n');
  const { exit, stdout } = await at.run(['config', 'check', '--tests', 'cases.yaml']);
  expect(exit).toBe(0);
  expect(stdout).toContain('deny rule_denied (report)');
});

test.each([
  [
    '- { request: GET https://api.example.com/, expect: yes }',
    'cases.yaml:1:52: [0].expect: must be one of allow, deny, approve, tunnel.',
  ],
  ['- { request: GET nowhere/[, expect: deny }', null],
  [
    "- { request: 'GET https://u:p@api.example.com/', expect: deny }",
    'cases.yaml:1:14: [0].request: is not a request such as GET https://host/path.',
  ],
  [
    '- { request: GET https://a.example.com/, expect: deny, at: 2026-11-21 }',
    'cases.yaml:1:60: [0].at: is not a time such as 2026-11-21T09:00:00+01:00.',
  ],
  [
    '- { request: GET https://a.example.com/, expect: deny, code: nope }',
    'cases.yaml:1:62: [0].code: is not an error code of a refusal.',
  ],
  ['- { request: GET https://a.example.com/, expects: deny }', null],
  ['[]', 'cases.yaml:1:1: has no test cases; write a list of { request, expect }.'],
  ['', 'cases.yaml:1:1: has no test cases; write a list of { request, expect }.'],
  ['{}', 'cases.yaml:1:1: must be a list, but is a map.'],
])('an invalid file is refused with the position: %s', async (cases, message) => {
  const at = await homeWithCases(cases);
  const { exit, stdout, stderr } = await at.run(['config', 'check', '--tests', 'cases.yaml']);
  expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
  expect(stderr).toContain(message ?? 'cases.yaml:1:');
});

test('a missing file is bad input', async () => {
  const at = await home();
  expect(await at.run(['config', 'check', '--tests', 'none.yaml'])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('none.yaml cannot be read (ENOENT)') as string,
  });
});

test('a case with a credential in a header, the query or the body is checked against foreign_credentials: refuse', async () => {
  const key = `ghp_${'a1B2'.repeat(9)}`;
  const at = await home({ domains: { 'api.example.com': { grant: 'work', foreign_credentials: 'refuse' } } });
  const foreign = 'expect: deny, code: foreign_credential';
  await writeFile(
    at.at('cases.yaml'),
    `- { request: GET https://api.example.com/, headers: { X-Api-Key: 5f0c1a7e9b3d4c2a }, ${foreign} }
- { request: 'GET https://api.example.com/?a=${key}', ${foreign} }
- { request: POST https://api.example.com/, body: { a: ${key} }, ${foreign} }
- { request: POST https://api.example.com/, headers: { Authorization: Bearer unused }, body: { a: 1 }, expect: allow }
`,
  );
  expect(await at.json(['config', 'check', '--tests', 'cases.yaml'])).toMatchObject({ passed: 4, failed: 0 });
});
