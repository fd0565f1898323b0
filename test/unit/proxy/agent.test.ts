import { describe, expect, it, vi } from 'vitest';
import { SidekeyError } from '../../../src/errors.ts';
import { createAgentRegister, hashToken, readPresented, selectorsOf } from '../../../src/proxy/agent.ts';
import type { AgentRecord, Store } from '../../../src/store/store.ts';

const basic = (text: string) => ['Proxy-Authorization', `Basic ${Buffer.from(text).toString('base64')}`];
const none = { grant: null, user: null };

describe('what a caller shows', () => {
  it('is nothing without Proxy-Authorization', () => {
    expect(readPresented(['Authorization', 'Bearer x'])).toEqual({ kind: 'nothing' });
  });

  it('is a name and a token, and the token is hashed at once', () => {
    const presented = readPresented(basic('bot:s3cret:with:colons'));
    expect(presented).toEqual({
      kind: 'token',
      name: 'bot',
      tokenHash: hashToken('s3cret:with:colons'),
      selectors: none,
    });
    expect(JSON.stringify(presented)).not.toContain('s3cret');
  });

  it('is a token alone as Bearer, and as Basic without a name', () => {
    const expected = { kind: 'token', name: null, tokenHash: hashToken('tok'), selectors: none };
    expect(readPresented(['proxy-authorization', 'bearer tok'])).toEqual(expected);
    expect(readPresented(basic(':tok'))).toEqual(expected);
  });

  it('is a choice among grants behind the name', () => {
    expect(readPresented(basic('bot+grant=github-work+user=alice:tok'))).toMatchObject({
      name: 'bot',
      selectors: { grant: 'github-work', user: 'alice' },
    });
    expect(readPresented(basic('+user=alice:'))).toEqual({
      kind: 'selectors',
      selectors: { grant: null, user: 'alice' },
    });
  });

  it.each([
    ['another scheme', ['Proxy-Authorization', 'Digest abc']],
    ['no credentials', ['Proxy-Authorization', 'Basic']],
    ['two values', ['Proxy-Authorization', 'Bearer a b']],
    ['a control byte', ['Proxy-Authorization', 'Bearer a\0b']],
    ['two fields', [...basic('a:b'), ...basic('a:b')]],
    ['an unknown selector', basic('bot+scope=all:tok')],
    ['a selector twice', basic('bot+grant=a+grant=b:tok')],
    ['an empty selector', basic('bot+grant=:tok')],
    ['a selector with a line end', basic('bot+grant=a\r\nb:tok')],
    ['a selector with a NUL', basic('bot+grant=a\0b:tok')],
    ['a selector with a path', basic('bot+grant=../a:tok')],
    ['a name without a token', basic('bot:')],
    ['a name alone', basic('bot')],
  ])('is malformed with %s', (_what, fields) => {
    expect(readPresented(fields)).toMatchObject({ kind: 'malformed' });
  });

  it('is never repeated: a token put where the name belongs stays secret', () => {
    for (const text of ['sk_live_secret', 'sk_live_secret:', 'bot+sk_live_secret:tok', '+sk_live_secret:'])
      expect(JSON.stringify(readPresented(basic(text)))).not.toContain('secret');
  });
});

describe('the selectors of a request', () => {
  it('are those of the proxy user name', () => {
    expect(selectorsOf([], { grant: 'a', user: 'b' })).toEqual({ grant: 'a', user: 'b' });
  });

  it('have the grant that the request names itself', () => {
    expect(selectorsOf(['Sidekey-Grant', 'work'], { grant: 'a', user: 'b' })).toEqual({
      grant: 'work',
      user: 'b',
    });
  });

  it.each([
    ['', ['Sidekey-Grant', '']],
    ['a line end', ['Sidekey-Grant', 'a\r\nX: y']],
    ['a line end at its end', ['Sidekey-Grant', 'a\n']],
    ['a NUL', ['Sidekey-Grant', 'a\0']],
    ['two names', ['Sidekey-Grant', 'a, b']],
    ['two fields', ['Sidekey-Grant', 'a', 'sidekey-grant', 'a']],
    ['a name of 65 characters', ['Sidekey-Grant', 'a'.repeat(65)]],
  ])('are refused with %s', (_what, fields) => {
    expect(selectorsOf(fields, none)).toMatchObject({ code: 'bad_request' });
  });
});

function registerOf(initial: readonly AgentRecord[]) {
  const state = { epoch: 1, agents: initial };
  const list = vi.fn(() => Promise.resolve([...state.agents]));
  const store = { epoch: () => state.epoch, agents: { list } } as unknown as Store;
  return { register: createAgentRegister(store), state, list };
}
const agent = (name: string, token: string): AgentRecord => ({
  name,
  tokenHash: hashToken(token),
  createdAt: 0,
});
const near = { loopback: true, mode: 'optional' } as const;

describe('the register of agents', () => {
  it('knows an agent by its token, with and without its name', async () => {
    const { register } = registerOf([agent('a', 'one'), agent('b', 'two')]);
    expect(await register.identify(readPresented(basic('b+user=alice:two')), near)).toEqual({
      agent: 'b',
      selectors: { grant: null, user: 'alice' },
    });
    expect(await register.identify(readPresented(['Proxy-Authorization', 'Bearer one']), near)).toMatchObject(
      {
        agent: 'a',
      },
    );
  });

  it.each([
    ['another token', basic('a:two')],
    ['the token of another', basic('a:three')],
    ['another name', basic('c:one')],
    ['the name in another case', basic('A:one')],
    ['the hash for the token', basic(`a:${hashToken('one').toString('hex')}`)],
    ['something malformed', basic('a')],
  ])('does not know %s, not even from loopback where no token is asked for', async (_what, fields) => {
    const { register } = registerOf([agent('a', 'one'), agent('b', 'three')]);
    expect(await register.identify(readPresented(fields), near)).toMatchObject({
      code: 'agent_auth_required',
    });
  });

  it('lets a caller without a token in only from loopback, and only where the config does', async () => {
    const { register } = registerOf([]);
    for (const presented of [readPresented([]), readPresented(basic('+user=alice:'))]) {
      expect(await register.identify(presented, near)).not.toBeInstanceOf(SidekeyError);
      for (const facts of [
        { loopback: false, mode: 'optional' },
        { loopback: true, mode: 'required' },
        { loopback: false, mode: 'required' },
      ] as const) {
        expect(await register.identify(presented, facts)).toMatchObject({ code: 'agent_auth_required' });
      }
    }
    expect(await register.identify(readPresented(basic('+user=alice:')), near)).toEqual({
      agent: null,
      selectors: { grant: null, user: 'alice' },
    });
  });

  it('reads the store once for each change in it', async () => {
    const { register, state, list } = registerOf([agent('a', 'one')]);
    const shown = readPresented(basic('a:one'));
    await register.identify(shown, near);
    await register.identify(shown, near);
    expect(list).toHaveBeenCalledOnce();
    state.agents = [];
    state.epoch = 2;
    expect(await register.identify(shown, near)).toMatchObject({ code: 'agent_auth_required' });
    expect(list).toHaveBeenCalledTimes(2);
  });

  it('knows nobody where the store cannot be asked, even whom it knew before', async () => {
    const { register, state, list } = registerOf([agent('a', 'one')]);
    const shown = readPresented(basic('a:one'));
    await register.identify(shown, near);
    state.epoch = 2;
    list.mockRejectedValueOnce(new SidekeyError('store_unavailable', 'Gone.'));
    await expect(register.identify(shown, near)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await register.identify(shown, near)).toMatchObject({ agent: 'a' });
  });
});
