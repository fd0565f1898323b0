import { expect, test } from 'vitest';
import { missing, stage } from './support/stage.ts';

test.skipIf(missing('gh', '--version'))('gh calls the API without seeing the token', async () => {
  const { perform, upstream, seen } = await stage(
    (request, response) => {
      request.resume();
      response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"login":"octocat"}');
    },
    { provider: 'github' },
  );
  const ran = await perform(['gh', 'api', 'user', '--jq', '.login'], {
    // An address of its own makes it an enterprise's; github.com itself needs nothing.
    env: { GH_HOST: upstream.authority },
  });
  expect(ran).toMatchObject({ exit: 0, stdout: 'octocat\n' });
  expect(seen.map(({ path }) => path)).toEqual(['/api/v3/user']);
});
