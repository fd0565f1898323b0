import { dirname } from 'node:path';
import { readReference } from '../config/secret-reference.ts';
import { planRefresh } from '../grants/refresh-plan.ts';
import type { OpenedGrant } from '../domain/credential.ts';
import { failedToken, type RefusedToken } from '../grants/token-result.ts';
import { instanceOf } from '../store/vault/instance.ts';
import type { Reading } from './operation.ts';

export interface RefreshView extends Pick<Reading, 'config' | 'registry' | 'vault' | 'proxy' | 'env'> {
  /** True: the config is a draft, for which no secret is read. */
  readonly isDraft?: boolean;
}

/**
 * Returns why no request for a new token can be sent; null: one can. A running proxy reports the references
 * that it cannot read. Without one, they are read here, as by a proxy that starts here. Runs no command.
 */
export async function refreshRefusal(
  { config, registry, vault, proxy, env, isDraft = false }: RefreshView,
  { grant, sealed: { credential } }: OpenedGrant,
): Promise<RefusedToken | null> {
  const [grants, key] = [await registry(), await vault()];
  if (grants === null || key === null) return null;
  const health = await proxy.health();
  const isServed = health.kind === 'serving' && health.instance === instanceOf(key);
  const report = isServed ? await proxy.unreadable(key) : [];
  const unreadable = report.find((each) => each.grant === grant.id);
  if (unreadable !== undefined)
    return { ...failedToken(grant, '', unreadable.hint), message: unreadable.sentence };
  if (credential.type !== 'oauth2') return null;
  const secretOf = async (read: () => Promise<string>) =>
    isServed || isDraft ? 'read by the proxy' : read();
  const plan = await planRefresh(
    { provider: grant.provider, scopes: grant.scopes, credential },
    {
      registry: grants,
      readSecret: (reference) =>
        secretOf(() => readReference(reference, { env, cwd: dirname(config.file), isTrial: true })),
      providers(name) {
        const provider = config.providers.get(name);
        const read = provider?.clientSecret ?? null;
        // `dpop` is null, because a plan would generate a missing key.
        return (
          provider && { ...provider, dpop: null, clientSecret: read && (() => secretOf(() => read(true))) }
        );
      },
    },
  );
  return plan.kind === 'impossible' ? failedToken(grant, plan.reason, plan.hint) : null;
}
