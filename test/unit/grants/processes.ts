import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { createActivityNotes, type ActivityNotes } from '../../../src/grants/activity.ts';
import type { Credential, OAuth2Credential } from '../../../src/domain/credential.ts';
import type { Grant } from '../../../src/domain/grant.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { openRegistry, type Registry } from '../../../src/grants/registry.ts';
import {
  createTokenSource,
  type TokenSource,
  type TokenSourceParts,
} from '../../../src/grants/token-source.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { aProvider } from '../../support/provider.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { manualTime, type ManualTime } from '../lib/manual-time.ts';
import { rotatingProvider, type RotatingProvider } from './rotating-provider.ts';

export const start = Date.UTC(2027, 0, 1);
export const hour = 3_600_000;

export const acme: Provider = aProvider({
  title: 'Acme Helpdesk',
  authorizationEndpoint: 'https://helpdesk.acme.test/authorize',
  tokenEndpoint: 'https://helpdesk.acme.test/token',
  issuer: 'https://helpdesk.acme.test',
  clientId: 'sidekey',
  clientSecret: async () => 'client-secret-of-acme',
  clientAuth: 'basic',
  flows: ['authorization_code'],
  scopes: ['read:tickets'],
  audience: ['helpdesk.acme.test'],
});

/** An OAuth credential obtained at `start` and valid for an hour. */
export function oauth2(fields: Partial<OAuth2Credential> = {}): OAuth2Credential {
  return oauth2Credential({
    accessToken: 'access-1',
    refreshToken: 'refresh-1',
    obtainedAt: start,
    expiresAt: start + hour,
    ...fields,
  });
}

/** One process: its own connection to the store, with registry and token source. */
export interface Process {
  readonly store: Store;
  readonly registry: Registry;
  readonly source: TokenSource;
  readonly activity: ActivityNotes;
  readonly events: AuditEvent[];
}

/** A store in its own folder, a provider, a clock, and any number of processes. */
export interface ProcessesForTest {
  readonly time: ManualTime;
  readonly provider: RotatingProvider;
  readonly process: (
    parts?: Partial<TokenSourceParts> & {
      wrapStore?: (store: Store) => Store;
      openStore?: () => Promise<Store>;
    },
  ) => Promise<Process>;
  /** Adds a grant named `acme`. */
  readonly add: (registry: Registry, credential: Credential) => Promise<Grant>;
}

export async function processesForTest(
  options: { rotates?: boolean; lifetimeMs?: number } = {},
): Promise<ProcessesForTest> {
  const folder = await tempFolder();
  const time = manualTime(start);
  const vault = createVault(masterKey(Buffer.alloc(32, 7)));
  const provider = rotatingProvider({
    now: time.now,
    lifetimeMs: options.lifetimeMs ?? hour,
    rotates: options.rotates ?? true,
  });
  const openFile = () => openSqliteStore(join(folder, 'store', 'sidekey.db'), { now: time.now });
  return {
    time,
    provider,
    async process({ wrapStore = (store: Store) => store, openStore = openFile, ...parts } = {}) {
      const store = wrapStore(await openStore());
      onTestFinished(() => store.close());
      const registry = openRegistry({ store, vault, now: time.now });
      const events: AuditEvent[] = [];
      const activity = createActivityNotes({ store, now: time.now, timers: time.timers });
      const source = createTokenSource({
        registry,
        store,
        providers: (name) => (name === 'acme' ? acme : undefined),
        refresh: provider.refresh,
        readSecret: (reference) => Promise.resolve(`the secret of ${reference}`),
        now: time.now,
        skewMs: 300_000,
        limits: { refresh_timeout: 10_000, refresh_wait: 20_000 },
        audit: { note: (event) => events.push(event) },
        activity,
        sources: { ask: () => Promise.reject(new Error('no grant has a source')) },
        timers: time.timers,
        random: () => 1,
        ...parts,
      });
      return { store, registry, source, activity, events };
    },
    add: (registry, credential) =>
      registry.add(
        { name: 'acme', user: 'default', provider: 'acme', scopes: ['read:tickets'] },
        { credential, audience: acme.audience },
      ),
  };
}

/** The access token of a ready result; otherwise the result itself. */
export function tokenOf(result: {
  kind: string;
  sealed?: { credential: Credential };
  code?: string;
}): string {
  const credential = result.sealed?.credential;
  return credential?.type === 'oauth2' ? (credential.accessToken ?? 'none') : (result.code ?? result.kind);
}

/** The refresh token that the store holds. */
export async function storedRefreshToken(registry: Registry, id: string): Promise<string | null> {
  const opened = await registry.read(id);
  const credential = opened?.sealed.credential;
  return credential?.type === 'oauth2' ? credential.refreshToken : null;
}
