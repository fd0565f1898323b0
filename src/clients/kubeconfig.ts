import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { z } from 'zod';
import { maxConfigBytes, parseConfigDocument } from '../config/document.ts';
import { readRegularFile } from '../config/reload.ts';
import { parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import { createDomainMap, type Domain } from '../proxy/policy/domain-map.ts';

const entries = z.array(z.looseObject({ name: z.string() })).catch([]);

/** https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ */
const kubeconfig = z.object({
  clusters: entries,
  contexts: entries,
  users: entries,
  'current-context': z.string().catch(''),
});

const named = <T extends z.ZodRawShape>(shape: T) => z.object({ name: z.string(), ...shape });
const aCluster = named({ cluster: z.object({ server: z.string() }) });
const aContext = named({
  context: z.object({ cluster: z.string(), user: z.string(), namespace: z.string().optional() }),
});
/**
 * A user with the plugin of AWS, whose arguments are no credentials. Its variables are left out, because they
 * may be credentials or name a profile.
 */
const aUser = named({
  user: z.object({
    exec: z.object({
      apiVersion: z.string().nullish(),
      command: z.string().regex(/(?:^|[\\/])aws(?:-iam-authenticator)?(?:\.exe)?$/),
      args: z.array(z.string()).nullish(),
      interactiveMode: z.string().nullish(),
      provideClusterInfo: z.boolean().nullish(),
    }),
  }),
});

/**
 * Returns the text of a kubeconfig for the clusters that are reached through Sidekey, with its CA, because
 * only a kubeconfig says which CA a cluster has. It has no credential of the user's files: it is for commands
 * that may not read those. Null: they name no such cluster.
 *
 * @param file where the text will be
 * @param authorityPem our CA
 * @returns also the value of `KUBECONFIG`: the file, then those of the user
 */
export function kubeconfigFor(
  file: string,
  parent: NodeJS.ProcessEnv,
  domains: readonly Domain[],
  authorityPem: string,
) {
  if (!domains.some(({ action }) => action.kind === 'grant')) return null;
  const ofUser = userFiles(parent).filter((each) => each !== file);
  const files = ofUser.flatMap((each) => kubeconfig.safeParse(parsed(each)).data ?? []);
  const map = createDomainMap(domains);
  const clusters = firsts(files, 'clusters', aCluster).filter(({ cluster }) => {
    const target = parseAbsoluteTarget(cluster.server);
    return target !== null && map.match(target.authority)?.action.kind === 'grant';
  });
  if (clusters.length === 0) return null;
  const contexts = firsts(files, 'contexts', aContext).filter(({ context }) =>
    clusters.some(({ name }) => name === context.cluster),
  );
  const users = firsts(files, 'users', aUser).filter(({ name }) =>
    contexts.some(({ context }) => context.user === name),
  );
  const current = files.map((each) => each['current-context']).find((name) => name !== '');
  const authority = { 'certificate-authority-data': Buffer.from(authorityPem).toString('base64') };
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: clusters.map(({ name, cluster }) => ({ name, cluster: { ...cluster, ...authority } })),
    contexts,
    users,
    'current-context': contexts.some(({ name }) => name === current) ? current : '',
  });
  return { text, value: [file, ...ofUser].join(delimiter) };
}

/** https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/ */
function userFiles(parent: NodeJS.ProcessEnv): readonly string[] {
  const named = (parent['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  return named.length > 0 ? named : [join(parent['HOME'] ?? homedir(), '.kube', 'config')];
}

/** Returns the value of a file; undefined if it cannot be read, which its program reports itself. */
function parsed(file: string): unknown {
  try {
    const bytes = readRegularFile(file, maxConfigBytes)?.bytes;
    return bytes && parseConfigDocument(bytes.toString()).value;
  } catch {
    return undefined;
  }
}

/** Returns the valid entries of a kind. The first one of a name decides, as in kubectl. */
function firsts<T>(
  files: readonly z.output<typeof kubeconfig>[],
  kind: 'clusters' | 'contexts' | 'users',
  schema: z.ZodType<T>,
): readonly T[] {
  const byName = new Map(
    files
      .flatMap((file) => file[kind])
      .toReversed()
      .map((entry) => [entry.name, entry]),
  );
  return [...byName.values()].toReversed().flatMap((entry) => schema.safeParse(entry).data ?? []);
}
