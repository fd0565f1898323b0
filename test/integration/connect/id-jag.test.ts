import { describe, expect, test } from 'vitest';
import { startIdJag } from '../../support/id-jag-servers.ts';
import { cases } from './id-jag-cases.ts';
import { allGrants } from '../../support/all-grants.ts';

const connect = ['connect', 'desk', '--via', 'oidc', '--user', 'alice', '--json'] as const;

describe('connect --via oidc', () => {
  test('gets a token of the service for the person who signed in, without a consent page', async () => {
    const at = await startIdJag();
    await at.signIn();
    const ran = await at.command(...connect);
    expect(ran).toMatchObject({ exit: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ user: 'alice', scopes: ['read'], refreshable: true });
    const [exchange, exchanged] = at.asked;
    expect(at.asked).toHaveLength(2);
    expect(exchange).toMatchObject({
      at: 'identity provider',
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        requested_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
        subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
        audience: at.service.url,
        resource: `${at.service.url}/api`,
        scope: 'read',
      },
    });
    expect(exchange?.form).not.toHaveProperty('actor_token');
    expect(exchanged?.at).toBe('service');
    expect(Object.keys(exchanged?.form ?? {}).toSorted()).toEqual(['assertion', 'grant_type']);
    const { id } = JSON.parse(ran.stdout) as { id: string };
    expect(await at.get(id)).toEqual({ status: 200, body: 'a-1 read' });
  });

  test.each([
    ['connects', cases.filter(({ exit }) => exit === 0)],
    ['sends nothing to the service', cases.filter(({ exit, isSent }) => exit !== 0 && !isSent)],
    ['reports the refusal of the service', cases.filter(({ exit, isSent }) => exit !== 0 && isSent)],
  ])('%s for the answers of the table', async (_outcome, rows) => {
    const at = await startIdJag();
    await at.signIn();
    const { grants, store } = at.sidekey.proxy.state;
    for (const { input, deviations, provider = 'desk', exit, says, next, isSent } of rows) {
      at.deviate(deviations);
      const ran = await at.command('connect', provider, '--via', 'oidc', '--user', 'alice', '--json');
      expect.soft(ran.exit, `${input}: ${ran.stderr}`).toBe(exit);
      expect
        .soft(
          at.asked.some((each) => each.at === 'service'),
          input,
        )
        .toBe(isSent);
      const [stored] = await allGrants(store);
      expect.soft(stored !== undefined, input).toBe(exit === 0);
      if (stored === undefined) {
        const { error } = JSON.parse(ran.stderr) as { error: { message: string; hint: string } };
        expect.soft(error.message, input).toMatch(says!);
        expect.soft(error.hint, input).toMatch(next!);
      } else {
        const { sealed } = (await grants.read(stored.id))!;
        expect.soft(sealed.credential, input).toMatchObject({ refreshToken: null });
        await grants.remove(stored.id);
      }
      for (const secret of at.asked.flatMap(({ form }) => [form['subject_token'], form['assertion']]))
        if (secret !== undefined) expect.soft(ran.stderr + ran.stdout, input).not.toContain(secret);
    }
  });
});
