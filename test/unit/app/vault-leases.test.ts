import { expect, test, vi } from 'vitest';
import { vaultLife } from '../../../src/app/vault-client.ts';
import { openVaultLeases } from '../../../src/app/vault-leases.ts';

const lifeOf = async () => vaultLife(Date.now(), 3_600, false);

test('a lease is removed from memory when it ends, even after a renewal', async () => {
  vi.useFakeTimers();
  const token = { text: 't', life: null };
  const request = vi.fn(async (_method: string, path: string) => ({
    answer: { lease_id: path, lease_duration: 60, renewable: true, data: { value: 'v' } },
    token,
    askedAt: Date.now(),
  }));
  const leases = openVaultLeases({ request, lifeOf }, Date.now);
  await leases.read('a/creds/x', false);
  await vi.advanceTimersByTimeAsync(50_000);
  await leases.read('a/creds/x', false);
  expect(request.mock.lastCall?.[1]).toBe('sys/leases/renew');
  await vi.advanceTimersByTimeAsync(20_000);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(40_000);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});
