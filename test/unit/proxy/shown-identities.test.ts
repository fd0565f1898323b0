import { expect, it } from 'vitest';
import type { OpenedGrant } from '../../../src/domain/credential.ts';
import { certificateShown } from '../../../src/proxy/schemes/mtls.ts';
import { createCertificateWatch } from '../../../src/proxy/revalidate.ts';
import { certificateOf } from '../../support/certificate-grants.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { manualTime } from '../lib/manual-time.ts';
import { authorityOf } from './policy/policy-for-test.ts';

const credential = certificateOf('agents');

/** A grant whose certificate is shown, and the store that has it. */
function setup() {
  const time = manualTime(0);
  const { sealed: _bytes, ...grant } = grantRecord();
  const opened = (): OpenedGrant => ({
    grant: { ...grant, type: 'client_certificate' },
    sealed: { credential, audience: ['bank.example'] },
  });
  let stored: () => OpenedGrant | null;
  const first = opened();
  stored = () => first;
  const shown = createCertificateWatch({ open: () => stored() }, time.timers);
  const identity = certificateShown(first.sealed, authorityOf('bank.example'));
  const showing = () => shown.watch({ kind: 'ready', ...first }, identity);
  return {
    time,
    shown,
    identity,
    showing,
    first,
    opened,
    store: (next: typeof stored) => void (stored = next),
  };
}

it('a timer exists only after a client certificate is used', () => {
  const { time, showing } = setup();
  expect(time.waiting()).toBe(0);
  showing();
  showing();
  expect(time.waiting()).toBe(1);
});

it('the timer repeats while the grant has the client certificate', async () => {
  const { time, showing, identity } = setup();
  showing();
  await time.advance(60_000);
  expect(identity.ended.aborted).toBe(false);
  expect(time.waiting()).toBe(1);
});

it.each<[what: string, next: (it: ReturnType<typeof setup>) => OpenedGrant | null]>([
  ['removed', () => null],
  ['replaced', ({ opened }) => opened()],
  ['revoked', ({ first }) => ({ ...first, grant: { ...first.grant, state: 'revoked' } })],
])('a client identity ends within a second if its grant is %s, and the timer stops', async (_what, next) => {
  const it = setup();
  it.showing();
  it.store(() => next(it));
  await it.time.advance(1_000);
  expect(it.identity.ended.aborted).toBe(true);
  await it.time.advance(1_000);
  expect(it.time.waiting()).toBe(0);
});

it('an unavailable store ends no client identity', async () => {
  const it = setup();
  it.showing();
  it.store(() => {
    throw new Error('locked');
  });
  await it.time.advance(1_000);
  expect(it.identity.ended.aborted).toBe(false);
  it.store(() => null);
  await it.time.advance(1_000);
  expect(it.identity.ended.aborted).toBe(true);
});

it('no timer exists after close', async () => {
  const { time, shown, showing } = setup();
  showing();
  shown.close();
  await time.advance(5_000);
  expect(time.waiting()).toBe(0);
});
