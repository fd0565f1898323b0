import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { kind } from '../../src/operations/connect/consent.ts';
import { sessionId } from '../../src/grants/sessions.ts';
import { acmeHome } from '../support/connect-home.ts';

/** Whoever can write to the store must not be able to make one person's consent end as another's. */
test('the sealed session of one consent cannot be opened in place of another', async () => {
  const at = await acmeHome();
  const printed = async (user: string) =>
    (await at.json(['connect', 'acme', '--print-url', '--user', user])) as {
      consent_url: string;
      state: string;
    };
  const mallory = await printed('mallory');
  const alice = await printed('alice');
  const callback = await at.consent(mallory.consent_url);

  const store = new DatabaseSync(join(at.folder, 'data', 'sidekey.db'));
  const sealedOf = store.prepare('select sealed from sessions where id = ?');
  const { sealed } = sealedOf.get(sessionId(kind, alice.state)) as { sealed: Buffer };
  store.prepare('update sessions set sealed = ? where id = ?').run(sealed, sessionId(kind, mallory.state));
  store.close();

  const ran = await at.run(['connect', '--finish', callback.href]);
  expect(ran).toMatchObject({ exit: 1, stdout: '', stderr: expect.stringContaining('sidekey: ') });
  expect(await at.json(['grant', 'list'])).toEqual([]);
  expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
});
