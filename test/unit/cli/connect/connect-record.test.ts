import { expect, test } from 'vitest';
import type { AuditEvent, AuditLog } from '../../../../src/domain/event.ts';
import { recordChange } from '../../../../src/audit/log.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { aProvider } from '../../../support/provider.ts';
import { noting } from '../../../../src/grants/connected.ts';

function setup(append?: AuditLog['append']) {
  const events: AuditEvent[] = [];
  const keep = (event: AuditEvent) => void events.push(event);
  const audit: AuditLog = {
    append: append ?? (async (event) => keep(event)),
    write: keep,
    note: keep,
    close: async () => undefined,
  };
  const request = { state: { audit }, provider: aProvider(), user: 'alice' } as unknown as Parameters<
    typeof noting
  >[0];
  return { audit, events, request };
}

const refusal = new SidekeyError('provider_refused', 'No.');

test('a failed connect is recorded with its code', async () => {
  const { events, request } = setup();
  await expect(noting(request, null, () => Promise.reject(refusal))).rejects.toBe(refusal);
  expect(events).toEqual([
    { event: 'grant.connecting', provider: 'acme', user: 'alice' },
    {
      event: 'grant.connected',
      provider: 'acme',
      user: 'alice',
      outcome: 'failed',
      code: 'provider_refused',
    },
  ]);
});

test('a failure that is already recorded is not recorded again', async () => {
  const { audit, events, request } = setup();
  const gone = new SidekeyError('store_unavailable', 'It is gone.');
  const change = () => recordChange(audit, { event: 'grant.connected' }, () => Promise.reject(gone));
  await expect(noting(request, null, change)).rejects.toBe(gone);
  expect(events.map(({ outcome }) => outcome)).toEqual([undefined, 'allow', 'failed']);
});

test('a connect does not start when the audit record fails', async () => {
  const full = new SidekeyError('audit_unavailable', 'The disk is full.');
  const { request } = setup((): Promise<void> => Promise.reject(full));
  let isBegun = false;
  await expect(noting(request, null, async () => (isBegun = true))).rejects.toBe(full);
  expect(isBegun).toBe(false);
});

test('a successful connect is recorded only at its start', async () => {
  const { events, request } = setup();
  expect(await noting(request, null, async () => 'done')).toBe('done');
  expect(events).toEqual([{ event: 'grant.connecting', provider: 'acme', user: 'alice' }]);
});
