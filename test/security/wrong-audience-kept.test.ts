/**
 * A grant keeps what its audience was widened to. Where the provider of that name has become another (a
 * company moved its server), the token of the new one could still be sent to the old one's hosts, and nobody
 * was told.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { acmeHome, visit, type AcmeHome } from '../support/connect-home.ts';

async function connected(at: AcmeHome, ...more: readonly string[]): Promise<unknown> {
  const command = at.begin([
    'connect',
    'acme',
    '--port',
    '0',
    '--no-browser',
    '--json',
    '--replace',
    ...more,
  ]);
  await visit(await at.consent(await command.consentUrl()));
  return JSON.parse((await command.done).stdout);
}

const said =
  'The credential may still be sent to old.acme.test, which the grant had before and the provider acme does not name.';

test('reconnecting a grant reports earlier hosts that it keeps', async () => {
  const at = await acmeHome({ provider: { audience: ['old.acme.test'] } });
  expect(await connected(at)).toMatchObject({ audience: ['old.acme.test'], warnings: [] });
  const text = await readFile(at.configFile, 'utf8');
  await writeFile(at.configFile, text.replace('- old.acme.test', `- ${at.authority}`));
  expect(await connected(at)).toMatchObject({
    audience: [at.authority, 'old.acme.test'],
    warnings: expect.arrayContaining([said]),
  });
  // Who names them again knows.
  expect(await connected(at, '--allowed-domains', 'old.acme.test')).toMatchObject({ warnings: [] });
});
