import type { Provider } from '../../domain/provider.ts';
import {
  isUnread,
  matchesPath,
  parsePathTemplate,
  type PathGlob,
  readPath,
} from '../../proxy/policy/path.ts';

const globs = new Map<string, PathGlob | null>();

/**
 * Returns what a request does, such as `send mail`; null: its provider does not define it. For people who
 * read many questions: it has no effect on the rules of the config.
 */
export function operationOf(
  method: string,
  host: string,
  path: string,
  provider: Pick<Provider, 'operations'> | undefined,
): string | null {
  const read = readPath(path);
  if (provider === undefined || isUnread(read)) return null;
  const operation = provider.operations.find(
    (each) =>
      each.method === method &&
      (each.host === undefined || each.host === host) &&
      matchesGlob(each.path, read.segments),
  );
  return operation?.words ?? null;
}

function matchesGlob(text: string, segments: readonly string[]): boolean {
  let glob = globs.get(text);
  if (glob === undefined) {
    const parsed = parsePathTemplate(text);
    glob = 'problem' in parsed ? null : parsed;
    globs.set(text, glob);
  }
  return glob !== null && matchesPath(glob.segments, segments);
}
