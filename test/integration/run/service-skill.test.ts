/** A reader of the skill of a service calls the sample company. */
import { expect, test } from 'vitest';
import { openCatalog } from '../../../src/config/catalog.ts';
import { acmeHome } from '../../support/connect-home.ts';
import { wordsOf } from '../../support/doc-commands.ts';

const { operations } = (await openCatalog()).get('acme')!.definition;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A home with a grant that reads tickets, and the skill for it. */
async function connected() {
  const at = await acmeHome({ provider: { operations } });
  const command = at.begin(['connect', 'acme', '--paste', '--port', '0']);
  command.stdin.write(`${(await at.consent(await command.consentUrl())).href}\n`);
  const { exit, stderr } = await command.done;
  expect(exit, stderr).toBe(0);
  await at.run(['domain', 'allow', at.authority, '--grant', 'acme']);
  const skill = (await at.run(['skill', 'install', 'acme', '--print'])).stdout;
  const [, block = ''] = /```sh\n([^]*?)```/.exec(skill) ?? [];
  return {
    skill,
    /** Examples of the skill, each as arguments of `fetch`. */
    examples: block
      .split('\n')
      .filter((line) => line.startsWith('sidekey fetch '))
      .map((line) => wordsOf(line).slice(1)),
    fetch: async (...words: readonly string[]) => (await at.json(['fetch', ...words])) as Answer,
    /** Number of requests in the audit log. */
    requests: async () => {
      const { stdout } = await at.run(['audit', 'query', '--json']);
      return new Set(stdout.match(/(?<="exchange": ?")[^"]+/g)).size;
    },
  };
}

test('for the tickets, a reader without the skill sends four requests, and a reader with it sends one', async () => {
  const { fetch, requests, examples } = await connected();
  expect(await requests()).toBe(0);
  const listed = await fetch('http://sidekey.internal/');
  const [host = ''] = /helpdesk\.acme\.test:\d+/.exec(listed.body) ?? [];
  expect((await fetch('http://sidekey.internal/index.json')).body).toContain(host);
  expect(await fetch(`https://${host}/api/tickets`)).toMatchObject({ status: 404 });
  expect(await fetch(`https://${host}/tickets`)).toMatchObject({ status: 200 });
  expect(await requests()).toBe(4);

  const [first = []] = examples;
  const answer = await fetch(...first);
  expect(JSON.parse(answer.body)).toMatchObject({ tickets: expect.any(Array) });
  expect(await requests()).toBe(5);
});

test('the hint for a missing scope has the form that the skill shows', async () => {
  const { fetch, skill, examples } = await connected();
  const [, shown = ''] = /command of that field \(such as `([^`]+)`\)/.exec(skill) ?? [];
  const { status, headers } = await fetch(...examples[1]!);
  expect(status).toBe(403);
  expect(headers['sidekey-hint']?.split(';')[0]).toBe(shown.replace('SCOPE', 'write:tickets'));
});
