import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { missing, stage } from './support/stage.ts';

const revision = '0123456789abcdef0123456789abcdef01234567';
/** Responses by the `cmd` of a request (`hg help internals.wireprotocol`). */
const answers: Readonly<Record<string, string>> = {
  capabilities: 'lookup known pushkey',
  lookup: `1 ${revision}\n`,
};

test.skipIf(missing('hg', '--version'))(
  'Mercurial reads a private repository without seeing the token, and still reads the settings of the user',
  async () => {
    const { perform, home, upstream, seen } = await stage((request, response) => {
      const command = new URL(request.url ?? '', 'https://any').searchParams.get('cmd') ?? '';
      response.writeHead(200, { 'content-type': 'application/mercurial-0.1' }).end(answers[command] ?? '');
    });
    await writeFile(home.at('user', '.hgrc'), `[alias]\nasked = identify --id -r tip ${upstream.url}/repo\n`);
    const ran = await perform(['hg', 'asked']);
    expect(ran).toMatchObject({ exit: 0, stdout: `${revision.slice(0, 12)}\n` });
    expect(seen.map(({ path }) => path)).toContain('/repo?cmd=lookup&key=tip');
  },
);
