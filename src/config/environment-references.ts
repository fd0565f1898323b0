import type { Config } from './config.ts';

/**
 * Names of the environment variables that a config takes secrets from: the key, a proxy's password, what signs a
 * webhook. Those of client secrets stand with their providers (`Provider.environment`). In order, each once.
 */
export function environmentReferences(config: Omit<Config, 'providers'>): readonly string[] {
  return [...new Set(namesIn({ ...config, providers: null }))].toSorted();
}

// A walk, so that a setting that is added later is not forgotten here.
function namesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const { kind, source, name } = value as Readonly<Record<string, unknown>>;
  const isReference = (kind === 'env' || source === 'env') && typeof name === 'string';
  return [...(isReference ? [name] : []), ...Object.values(value).flatMap(namesIn)];
}
