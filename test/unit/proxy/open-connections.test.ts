import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Grant } from '../../../src/domain/grant.ts';
import type { ExchangeResult } from '../../../src/proxy/http/message.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { createOpenConnections, type Permission, tunnelRefusal } from '../../../src/proxy/revalidate.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { manualTime, settle } from '../lib/manual-time.ts';
import { authorityOf, policyOf } from './policy/policy-for-test.ts';
import { closed, socketPair } from './socket-pair.ts';

const start = Date.UTC(2027, 0, 1);
const ended = new SidekeyError('lease_expired', 'The lease ended.');
const carried: ExchangeResult = { status: 200, bytesIn: 1, bytesOut: 2, outcome: 'complete' };
const log = () => {};
const tunnels = policyOf({ 'a.example': { kind: 'tunnel' } });

/** Connections whose rights the test ends. */
function setup() {
  const time = manualTime(start);
  const stored = new Map<string, Grant>();
  let settings = { policy: tunnels, agents: 'same_user' as 'same_user' | 'required' };
  const logged: object[] = [];
  const open = createOpenConnections(
    {
      lastConfig: () => settings,
      grants: { find: (id) => [...stored.values()].filter((grant) => grant.id === id) },
      log: { error: log, warn: log, debug: log, info: (fields) => logged.push(fields) },
      now: time.now,
    },
    time.timers,
  );
  onTestFinished(() => open.close());
  /** Something that lasts until its connection closes, or the test says so. */
  const begin = async (
    right: { readonly ends?: () => number | SidekeyError; readonly grant?: Grant } = {},
    refusal: Parameters<typeof open.during>[0]['refusal'] = null,
  ) => {
    const { near, far } = await socketPair();
    onTestFinished(() => void [near.destroy(), far.destroy()]);
    const asked: { mode: string; used: boolean }[] = [];
    const held: Permission = {
      grant: right.grant ?? null,
      caller: {
        async holds(_grant, lasting) {
          asked.push(lasting);
          return (right.ends ?? (() => Infinity))();
        },
      },
    };
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const done = open.during({ client: near, permission: held, refusal }, async () => {
      await Promise.race([closed(near), over]);
      return carried;
    });
    return { near, far, asked, done, end };
  };
  return {
    time,
    open,
    begin,
    logged,
    keep: (grant: Grant) => stored.set(grant.id, grant),
    forget: (grant: Grant) => stored.delete(grant.id),
    configure: (next: Partial<typeof settings>) => (settings = { ...settings, ...next }),
  };
}

describe('an open connection', () => {
  test('is no longer referenced after it has ended', async () => {
    const { open } = setup();
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const ended = await (async () => {
      const permission: Permission = { grant: null, caller: { holds: async () => Infinity } };
      const client = { destroy() {} };
      await open.during({ client, permission, refusal: null }, async () => carried);
      return new WeakRef(client);
    })();
    // Another turn: a WeakRef keeps its target until the end of the one that made it.
    await new Promise((resolve) => setTimeout(resolve));
    collect();
    expect(ended.deref()).toBeUndefined();
  });

  test('is cut with a reason within a second after its permission ends, without effect on others', async () => {
    const { time, begin, logged } = setup();
    let end: number | SidekeyError = Infinity;
    const [cut, kept] = [await begin({ ends: () => end }), await begin()];
    await time.advance(5_000);
    expect(cut.near.destroyed).toBe(false);
    end = ended;
    await time.advance(1_000);
    await closed(cut.near);
    expect(await cut.done).toEqual({ ...carried, code: 'lease_expired' });
    expect(logged).toEqual([expect.objectContaining({ code: 'lease_expired' })]);
    expect(kept.near.destroyed).toBe(false);
    kept.end();
    expect(await kept.done).toEqual(carried);
  });

  test('is cut in the millisecond of an end that is known in advance', async () => {
    const { time, begin } = setup();
    const at = start + 1_234;
    const { near } = await begin({ ends: () => (time.now() < at ? at : ended) });
    await time.advance(1_233);
    expect(near.destroyed).toBe(false);
    await time.advance(1);
    expect(near.destroyed).toBe(true);
  });

  test('is cut when its right ends before the first check, even if others started earlier', async () => {
    const { time, begin } = setup();
    await begin();
    await time.advance(100);
    const at = start + 700;
    const { near } = await begin({ ends: () => (time.now() < at ? at : ended) });
    await time.advance(599);
    expect(near.destroyed).toBe(false);
    await time.advance(1);
    expect(near.destroyed).toBe(true);
    expect(time.waiting()).toBe(1);
  });

  test('has a timer only while it is open', async () => {
    const { time, begin, open } = setup();
    expect(time.waiting()).toBe(0);
    const { end, done } = await begin();
    // The next look, and the one at what has just begun.
    expect(time.waiting()).toBe(2);
    end();
    await done;
    await time.advance(1_000);
    expect(time.waiting()).toBe(0);
    await begin();
    open.close();
    await time.advance(1_000);
    expect(time.waiting()).toBe(0);
  });

  test('is distinguished from an idle connection by its transferred bytes', async () => {
    const { time, begin } = setup();
    const { near, far, asked } = await begin();
    near.resume();
    await time.advance(1_000);
    far.write('hello');
    while (near.bytesRead < 5) await settle();
    await time.advance(2_000);
    expect(asked.map(({ used }) => used)).toEqual([false, false, true, false]);
  });

  test('has its bytes settled each second', async () => {
    const { time, open } = setup();
    let settled = 0;
    const right: Permission = { grant: null, caller: { holds: async () => Infinity } };
    const { near } = await socketPair();
    const { promise, resolve } = Promise.withResolvers<ExchangeResult>();
    const meter = { bytesIn: 0, bytesOut: 0, settle: () => void (settled += 1) };
    const done = open.during({ client: near, permission: right, refusal: null, meter }, () => promise);
    await time.advance(3_000);
    expect(settled).toBe(3);
    resolve(carried);
    await done;
    await time.advance(3_000);
    expect(settled).toBe(3);
  });

  test('is cut when its grant is removed or revoked', async () => {
    const { open, begin, keep, forget } = setup();
    const [removed, revoked] = [grantRecord({ name: 'one' }), grantRecord({ name: 'two' })];
    keep(removed);
    keep(revoked);
    const connections = [await begin({ grant: removed }), await begin({ grant: revoked })];
    await open.recheck();
    expect(connections.map(({ near }) => near.destroyed)).toEqual([false, false]);
    forget(removed);
    keep({ ...revoked, state: 'revoked' });
    await open.recheck();
    expect(await Promise.all(connections.map(async ({ done }) => (await done).code))).toEqual([
      'grant_missing',
      'grant_revoked',
    ]);
  });

  test('fails with the reason of the lost permission if it was not yet established', async () => {
    const { open, near } = { ...setup(), ...(await socketPair()) };
    const { promise, reject } = Promise.withResolvers<ExchangeResult>();
    near.once('close', () => reject(new Error('the connection is gone')));
    const right: Permission = { grant: null, caller: { holds: async () => ended } };
    const done = open.during({ client: near, permission: right, refusal: null }, () => promise);
    await Promise.all([expect(done).rejects.toBe(ended), open.recheck()]);
  });
});

describe('a policy change', () => {
  test('cuts the tunnels that it would refuse, and no others', async () => {
    const { open, begin, configure } = setup();
    const of = (host: string) => begin({}, (policy) => tunnelRefusal(policy, authorityOf(host)));
    configure({
      policy: policyOf({
        'a.example': { kind: 'tunnel' },
        'b.example': { kind: 'tunnel' },
        'c.example': { kind: 'tunnel' },
      }),
    });
    const [kept, denied, granted] = [await of('a.example'), await of('b.example'), await of('c.example')];
    configure({
      policy: policyOf({
        'a.example': { kind: 'tunnel' },
        'c.example': { kind: 'grant', grant: 'acme', allowPlainHttp: false },
      }),
    });
    await open.recheck();
    expect((await denied.done).code).toBe('domain_not_allowed');
    expect((await granted.done).code).toBe('policy_violation');
    expect(kept.near.destroyed).toBe(false);
  });

  test('that requires tokens cuts callers without a token, but no response of limited length', async () => {
    const { open, begin, configure } = setup();
    const [tunnel, response] = [await begin({}, () => null), await begin()];
    configure({ agents: 'required' });
    await open.recheck();
    expect(tunnel.asked.at(-1)).toMatchObject({ mode: 'required' });
    expect(response.asked.at(-1)).toMatchObject({ mode: 'any' });
  });
});

describe('while the store is unavailable', () => {
  const unavailable = new SidekeyError('store_unavailable', 'The store is away.');

  test('a connection stays open for half a minute', async () => {
    const { time, begin } = setup();
    let away = false;
    const ends = () => {
      if (away) throw unavailable;
      return Infinity;
    };
    const { near, done } = await begin({ ends });
    await time.advance(10_000);
    away = true;
    await time.advance(29_000);
    expect(near.destroyed).toBe(false);
    await time.advance(2_000);
    expect((await done).code).toBe('store_unavailable');
  });

  test('a connection is cut at an end that is known in advance', async () => {
    const { time, begin } = setup();
    const at = start + 3_000;
    const ends = () => {
      if (time.now() > start + 2_000) throw unavailable;
      return at;
    };
    const { near } = await begin({ ends });
    await time.advance(2_999);
    expect(near.destroyed).toBe(false);
    await time.advance(1);
    expect(near.destroyed).toBe(true);
  });
});
