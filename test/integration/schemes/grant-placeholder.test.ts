/** The placeholder that a person writes into the credential file of a program. */
import { describe, expect, test } from 'vitest';
import { home, type Home, leaseCreate } from '../../support/command-line.ts';

const key = { api_key: 'key-secret-0123456789' };

async function withGrant(config: object = {}): Promise<Home> {
  const at = await home(config);
  await at.grant('work', key, ['--provider', 'github']);
  await at.grant('keys', key);
  await at.run(['agent', 'create', 'ci', '--grant', 'work']);
  return at;
}

const made = async (at: Home, ...words: readonly string[]) => {
  const ran = await at.run(['grant', 'show', '--placeholder', ...words]);
  expect(ran).toMatchObject({ exit: 0, stderr: '' });
  return ran.stdout.trim();
};

describe('a placeholder', () => {
  test('has the format of the credentials of its provider, and is always the same', async () => {
    const at = await withGrant();
    const one = await made(at, 'work');
    expect(one).toMatch(/^ghp_sidekey[0-9A-Za-z]{12}0{17}$/);
    expect(await made(at, 'work', '--form', 'provider')).toBe(one);
    expect(await made(at, 'keys')).toMatch(/^sidekey[0-9A-Za-z]{13}$/);
    expect((await made(at, 'work', '--form', 'jwt')).split('.')).toHaveLength(3);
    expect(JSON.parse(await made(at, 'work', '--json'))).toEqual({ placeholder: one });
  });

  test('is different for each agent and lease', async () => {
    const at = await withGrant();
    const { id } = (await at.json(leaseCreate('ci', ['work']))) as { id: string };
    const all = [
      await made(at, 'work'),
      await made(at, 'work', '--agent', 'ci'),
      await made(at, 'work', '--lease', id.slice(0, 8)),
    ];
    expect(new Set(all).size).toBe(3);
  });

  test.each([
    [['work', '--agent', 'nobody'], 'There is no agent nobody'],
    [['keys', '--agent', 'ci'], 'does not reach the grant keys'],
    [['none'], 'There is no grant none'],
    [['work', '--form', 'uuid'], 'There is no form uuid'],
    [['keys', '--form', 'provider'], 'does not define the form'],
    [['work', '--agent', 'ci', '--lease', 'abcd'], '--lease has an agent already'],
    [['work', '--lease', 'abcd'], 'There is no lease abcd'],
  ])('is refused for %j', async (words, sentence) => {
    const at = await withGrant();
    const ran = await at.run(['grant', 'show', '--placeholder', ...words]);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).toContain(sentence);
    expect(ran.exit).not.toBe(0);
  });

  test('for callers without a token does not exist if every caller needs a token', async () => {
    const at = await withGrant({ proxy: { listen: '127.0.0.1:0', authentication: 'required' } });
    expect((await at.run(['grant', 'show', '--placeholder', 'work'])).stderr).toContain('--agent AGENT');
  });
});
