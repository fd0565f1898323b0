import { z } from 'zod';
import { parseConfigDocument } from '../config/document.ts';
import { parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import { createDomainMap, type Domain } from '../proxy/policy/domain-map.ts';

/** https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ Other members may be credentials. */
const kubeconfig = z.object({
  'current-context': z.string().catch(''),
  clusters: z
    .array(
      z.object({
        name: z.string(),
        cluster: z.object({ server: z.string(), 'tls-server-name': z.string().optional() }),
      }),
    )
    .catch([]),
  contexts: z
    .array(
      z.object({
        name: z.string(),
        context: z.object({ cluster: z.string(), user: z.string(), namespace: z.string().optional() }),
      }),
    )
    .catch([]),
  users: z
    .array(
      z
        .object({
          name: z.string(),
          // Variables of a plugin may be credentials, or a profile.
          user: z.object({
            exec: z.looseObject({ command: z.string(), env: z.unknown().transform(() => []) }),
          }),
        })
        .nullable()
        .catch(null),
    )
    .catch([]),
});

/**
 * Returns a kubeconfig for the clusters that are reached through Sidekey, with its CA: a kubeconfig names the
 * roots of each cluster, which no variable changes. Without the credentials of the files, so that a command
 * may read it that does not see them. Null: no such cluster.
 *
 * @param texts the user's files. As in kubectl, the first one that has a name decides
 */
export function kubeconfigFor(
  texts: readonly string[],
  domains: readonly Domain[],
  authorityPem: string,
): string | null {
  const map = createDomainMap(domains);
  const files = texts.flatMap((text) => kubeconfig.safeParse(parseConfigDocument(text).value).data ?? []);
  const clusters = firsts(files.flatMap((file) => file.clusters)).filter(({ cluster }) => {
    const target = parseAbsoluteTarget(cluster.server);
    return target !== null && map.match(target.authority)?.action.kind === 'grant';
  });
  if (clusters.length === 0) return null;
  const contexts = firsts(files.flatMap((file) => file.contexts)).filter(({ context }) =>
    clusters.some(({ name }) => name === context.cluster),
  );
  const users = firsts(files.flatMap((file) => file.users.filter((user) => user !== null))).filter(
    ({ name }) => contexts.some(({ context }) => context.user === name),
  );
  const current = files.map((file) => file['current-context']).find((name) => name !== '');
  const data = Buffer.from(authorityPem).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: clusters.map(({ name, cluster }) => ({
      name,
      cluster: { ...cluster, 'certificate-authority-data': data },
    })),
    contexts,
    users,
    'current-context': contexts.some(({ name }) => name === current) ? current : '',
  });
}

function firsts<T extends { readonly name: string }>(entries: readonly T[]): readonly T[] {
  return entries.filter((entry, index) => entries.findIndex(({ name }) => name === entry.name) === index);
}
