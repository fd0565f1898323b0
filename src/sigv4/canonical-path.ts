import { uriEncode, uriReencode } from './uri-encoding.ts';

/**
 * The path as it is signed. S3 signs the name of an object, encoded once; all others sign the path as it was sent, without
 * its dot segments and doubled slashes, and encoded once more.
 *
 * @param path without the query
 * @param service as the credential scope has it
 */
export function canonicalPath(path: string, service: string): string {
  if (namesObjects.has(service)) return uriReencode(path, true);
  return uriEncode(withoutDots(path), true);
}

/** Services whose paths are names: `/a/../b` and `/b` are two objects. */
const namesObjects: ReadonlySet<string> = new Set(['s3', 's3-outposts', 's3-object-lambda']);

/** RFC 3986 §5.2.4, with doubled slashes as one. */
function withoutDots(path: string): string {
  if (!path.includes('//') && !path.includes('/.')) return path;
  const kept: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') kept.pop();
    else kept.push(segment);
  }
  return `/${kept.join('/')}${path.endsWith('/') && kept.length > 0 ? '/' : ''}`;
}
