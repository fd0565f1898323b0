/**
 * Rules about users hold for whose grant is used, in whatever way it was chosen, and not for whom a caller
 * claims.
 */
import { describe, expect, test } from 'vitest';
import type { Binding } from '../../src/domain/lease.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { openTunnel } from '../support/raw-client.ts';
import { addAgent } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

interface Caller {
  readonly user?: string;
  readonly bindings?: (grants: { readonly alice: Grant; readonly bob: Grant }) => readonly Binding[];
}

/** Grants of alice and bob under one name, and an agent. */
async function setup(domain: object, { user, bindings }: Caller = {}) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization?.replace('Bearer ', '') ?? 'none');
    request.resume();
    response.end('ok');
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'work', ...domain } } });
  const grantOf = (name: string) =>
    sidekey.grant([upstream.authority], {
      name: 'work',
      user: name,
      credential: { type: 'api_key', value: `token-of-${name}` },
    });
  const grants = { alice: await grantOf('alice'), bob: await grantOf('bob') };
  const bound = bindings === undefined ? {} : { bindings: bindings(grants) };
  await addAgent(sidekey.proxy.state.store, 'robot', 'own', {
    ...(user === undefined ? {} : { user }),
    ...bound,
  });
  const ask = async (selectors = '') => {
    const userInfo = Buffer.from(`robot${selectors}:own`).toString('base64');
    const client = await openTunnel(sidekey, upstream.authority, {
      fields: [`Proxy-Authorization: Basic ${userInfo}`],
    });
    client.send(`DELETE / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const { status, headers } = await client.response();
    return [status, headers['sidekey-error']];
  };
  return { ask, seen, grants };
}

const notForBob = { default: 'allow', rules: [{ users: ['bob'], outcome: 'deny' }] };
const denied = [403, 'rule_denied'];

describe('a rule that denies a user', () => {
  test('applies to the grants of the user, selected by user or by id', async () => {
    const { ask, seen, grants } = await setup(notForBob, { user: 'alice' });
    expect(await ask('+user=bob')).toEqual(denied);
    expect(await ask(`+grant=${grants.bob.id}`)).toEqual(denied);
    expect(seen).toEqual([]);
    expect(await ask()).toEqual([200, undefined]);
    expect(seen).toEqual(['token-of-alice']);
  });

  test('applies to an agent that names no grant and may only use grants of that user', async () => {
    const { ask, seen } = await setup(notForBob, {
      bindings: ({ bob }) => [{ kind: 'grant', value: bob.id }],
    });
    expect(await ask()).toEqual(denied);
    expect(seen).toEqual([]);
  });
});

describe('a rule that allows one user', () => {
  test('does not apply to a caller that only claims that user', async () => {
    const { ask, seen } = await setup(
      { rules: [{ users: ['eve'], outcome: 'tunnel' }] },
      { user: 'alice', bindings: () => [] },
    );
    expect(await ask('+user=eve')).toEqual(denied);
    expect(seen).toEqual([]);
  });

  test('allows the grant of that user for every agent that may use it', async () => {
    const { ask, seen } = await setup({ rules: [{ users: ['bob'] }] }, { user: 'alice' });
    expect(await ask()).toEqual(denied);
    expect(await ask('+user=bob')).toEqual([200, undefined]);
    expect(seen).toEqual(['token-of-bob']);
  });
});
