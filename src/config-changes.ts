import type { Config } from './config/config.ts';

/** As much of it as tells one text of the config file from another. */
export function shortDigest({ digest }: Config): string {
  return digest.slice(0, 12);
}

/** Whether connections made under one config may serve under the other. */
export function sameExit(a: Config, b: Config): boolean {
  // A file or a secret can change under the same name: then the name says nothing.
  const { ca, clientCertificates, proxy } = a.upstream;
  const isAllSaid = ca.length === 0 && clientCertificates.length === 0 && (proxy?.login ?? null) === null;
  return isAllSaid && exitFacts(a) === exitFacts(b);
}

function exitFacts({ upstream, limits }: Config): string {
  return JSON.stringify([{ ...upstream, resolve: [...upstream.resolve] }, limits]);
}

/** The keys that a reload does not reach: they act at the next start. */
export function laterKeys(running: Config, next: Config): string[] {
  const now = startFacts(running);
  const then = startFacts(next);
  return (Object.keys(now) as (keyof typeof now)[]).filter(
    (key) => JSON.stringify(now[key]) !== JSON.stringify(then[key]),
  );
}

function startFacts({ proxy, workers, admin, store, key, ca, audit, tokens }: Config) {
  return { 'proxy.listen': proxy.listen, workers, admin, store, key, ca, 'audit.file': audit.file, tokens };
}
