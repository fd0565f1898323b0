import { longestDuration } from '../config/scalar.ts';
import { isObject, type JsonObject, memberAt } from '../grants/oauth/http.ts';
import { isLonger, type VaultClient, vaultLife, type VaultLife, type VaultToken } from './vault-client.ts';

/** Secrets of HashiCorp Vault and OpenBao: KV version 1 and 2, and leases of engines that make them. */

export interface VaultSecret {
  readonly data: JsonObject;
  /** Milliseconds since the epoch, after which it is not used; null: the server states none. */
  readonly expiresAt: number | null;
}

export type VaultLeases = ReturnType<typeof openVaultLeases>;

interface Lease {
  readonly id: string;
  readonly data: JsonObject;
  readonly token: VaultToken;
  life: VaultLife;
  /** Life of the token when last read: the server ends leases with their token. */
  tokenLife: VaultLife;
}

/** Opens the leases of a server. Sends nothing before the first read. `now`: milliseconds since the epoch. */
export function openVaultLeases(client: VaultClient, now: () => number) {
  const leases = new Map<string, Lease>();
  const flights = new Map<string, Promise<VaultSecret>>();

  const endOf = ({ life, tokenLife }: Lease) => Math.min(life.endsAt, tokenLife.endsAt);
  const isDue = ({ life, tokenLife }: Lease) => Math.min(life.dueAt, tokenLife.dueAt) <= now();

  const secretOf = (lease: Lease): VaultSecret => ({ data: lease.data, expiresAt: endOf(lease) });

  /** Forgets a lease at its end. */
  function forgetAtEnd(path: string, lease: Lease): void {
    const leftMs = endOf(lease) - now();
    if (leftMs > 0) setTimeout(forgetAtEnd, Math.min(leftMs, longestDuration), path, lease).unref();
    else if (leases.get(path) === lease) leases.delete(path);
  }

  async function ask(path: string): Promise<VaultSecret> {
    const { answer, token, askedAt } = await client.request('GET', path);
    const { lease_id: id, lease_duration: seconds, renewable, data } = answer;
    if (typeof id !== 'string' || id === '') {
      leases.delete(path);
      return kept(answer, askedAt);
    }
    const tokenLife = await client.lifeOf(token);
    const life = vaultLife(askedAt, seconds, renewable);
    const lease = { id, data: isObject(data) ? data : {}, token, life, tokenLife };
    leases.set(path, lease);
    forgetAtEnd(path, lease);
    return secretOf(lease);
  }

  /** Renews a lease. Returns false if a new one is needed. */
  async function renew(lease: Lease): Promise<boolean> {
    const { id, life, token } = lease;
    if (!life.isRenewable || life.endsAt <= now()) return false;
    try {
      const reply = await client.request('POST', 'sys/leases/renew', { lease_id: id });
      const { lease_duration: seconds, renewable } = reply.answer;
      const renewed = vaultLife(reply.askedAt, seconds, renewable);
      // The token of a new login does not extend leases of the previous one.
      if (reply.token !== token || !isLonger(renewed, life)) return false;
      lease.life = renewed;
      lease.tokenLife = await client.lifeOf(token);
      return !isDue(lease);
    } catch {
      return false;
    }
  }

  async function readOnce(path: string, isRefused: boolean): Promise<VaultSecret> {
    const lease = leases.get(path);
    if (lease === undefined || isRefused) return ask(path);
    return !isDue(lease) || (await renew(lease)) ? secretOf(lease) : ask(path);
  }

  return {
    /**
     * Reads the secret of a path. All readers share a lease until it is due. It is then renewed or replaced.
     * If `isRefused`, the upstream refused the secret of the lease, so the lease is replaced.
     * @throws as `VaultClient.request`
     */
    read(path: string, isRefused: boolean): Promise<VaultSecret> {
      const key = `${isRefused} ${path}`;
      let flight = flights.get(key);
      if (flight === undefined) {
        flight = readOnce(path, isRefused).finally(() => flights.delete(key));
        flights.set(key, flight);
      }
      return flight;
    },
  };
}

/** Returns the secret of a KV engine. Version 2 nests the secret one level deeper, beside `metadata`. */
function kept({ data, lease_duration: seconds }: JsonObject, askedAt: number): VaultSecret {
  const outer = isObject(data) ? data : {};
  const { data: inner, metadata } = outer;
  if (isObject(inner) && isObject(metadata) && typeof metadata['version'] === 'number') {
    const deletion = Date.parse(String(memberAt(outer, 'metadata.deletion_time')));
    return { data: inner, expiresAt: Number.isNaN(deletion) ? null : deletion };
  }
  // Version 1 returns the default of the engine if the secret has no `ttl`.
  const isStated = Object.hasOwn(outer, 'ttl') && typeof seconds === 'number';
  return { data: outer, expiresAt: isStated ? askedAt + seconds * 1_000 : null };
}
