import { defaultPort } from './authority.ts';
import { matchesPattern } from './domain-map.ts';
import { isPattern, parsePattern, type DomainPattern } from './pattern.ts';

/** Whether everything that a pattern stands for is within an audience. An entry that cannot be read covers nothing. */
export function isWithin(audience: readonly string[], pattern: DomainPattern): boolean {
  return audience
    .map(parsePattern)
    .filter(isPattern)
    .some((entry) => covers(entry, pattern));
}

function covers(entry: DomainPattern, pattern: DomainPattern): boolean {
  if (!pattern.wildcard) {
    const port = pattern.port ?? defaultPort.https;
    return matchesPattern(entry, { scheme: 'https', host: pattern.host, port });
  }
  const samePort = (entry.port ?? defaultPort.https) === (pattern.port ?? defaultPort.https);
  const below = pattern.host === entry.host || pattern.host.endsWith(`.${entry.host}`);
  return samePort && entry.wildcard && below;
}
