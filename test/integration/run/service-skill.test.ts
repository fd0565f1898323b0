/** A reader of the skill of a service, at the sample company. */
import { expect, test } from 'vitest';
import { openCatalog } from '../../../src/config/catalog.ts';
import { acmeHome } from '../../support/connect-home.ts';
import { wordsOf } from '../../support/doc-commands.ts';

const { operations } = (await openCatalog()).get('acme')!.definition;

async function connected(rules: readonly object[] = [{ methods: ['GET', 'POST'] }]) {
  const at = await acmeHome({ provider: { operations } });
  const command = at.begin(['connect', 'acme', '--paste', '--port', '0']);
  command.stdin.write(`${(await at.consent(await command.consentUrl())).href}\n`);
  const { exit, stderr } = await command.done;
  expect(exit, stderr).toBe(0);
  await at.run(['domain', 'remove', at.authority]);
  void rules;
  await at.run(['domain', 'allow', at.authority, '--grant', 'acme']);
  const skill = (await at.run(['skill', 'install', 'acme', '--print'])).stdout;
  return {
    ...at,
    skill,
    /** Sends a request, and returns its status. */
    fetch: async (...words: readonly string[]) => {
      const answer = await at.json(['fetch', ...words]);
      return answer as {
        readonly status: number;
        readonly headers: Record<string, string>;
        readonly body: string;
      };
    },
    requests: async () =>
      (
        JSON.parse(
          `[${(await at.run(['audit', 'query', '--json', '--event', 'access'])).stdout.trim().split('\n').join(',')}]`,
        ) as object[]
      ).length,
  };
}

/** The commands of the examples, each as arguments of sidekey. */
const examplesOf = (skill: string) =>
  (/```sh\n([^]*?)```/.exec(skill)?.[1] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('sidekey '))
    .map(wordsOf);

test('a reader without the skill needs four requests for the tickets, and one with the skill needs one', async () => {
  const at = await connected();
  const before = await at.requests();
  const listed = await at.fetch('http://sidekey.internal/');
  const [host = ''] = /helpdesk[^ ]*/.exec(listed.body) ?? [];
  const explained = await at.fetch('http://sidekey.internal/index.json');
  expect(explained.body).toContain(host);
  expect(await at.fetch(`https://${host}/api/tickets`)).toMatchObject({ status: 404 });
  expect(await at.fetch(`https://${host}/tickets`)).toMatchObject({ status: 200 });
  expect((await at.requests()) - before).toBe(4);

  const [[, ...words] = []] = examplesOf(at.skill);
  const answer = await at.fetch(...words);
  expect(JSON.parse(answer.body)).toMatchObject({ tickets: expect.any(Array) });
  expect((await at.requests()) - before).toBe(5);
});
