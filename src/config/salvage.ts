import { SidekeyError } from '../lib/errors.ts';
import type { Config } from './config.ts';
import { parseConfigDocument } from './document.ts';
import { parseConfig, type LoadOptions } from './load.ts';
import { configSchema } from './schema.ts';

/** What a file that is not valid still says. Nothing may be served or changed by it: it is for looking. */
export interface Salvaged {
  /** From its good parts; what is lost has its default. */
  readonly config: Config;
  /** Keys of the top level whose part is not good, so that what they say is not known. */
  readonly lost: ReadonlySet<string>;
}

/**
 * Takes the parts of a file, each key of the top level with what is below it, and leaves out those without which the
 * rest is valid. Null: not even the parts can be told apart.
 */
export async function salvageConfig(
  text: string,
  file: string,
  options: LoadOptions,
): Promise<Salvaged | null> {
  const parts = partsOf(text);
  const lost = new Set<string>();
  let good: Readonly<Record<string, unknown>> = { version: 1 };
  let config: Config | null = await parse(good);
  for (const { key, value } of parts) {
    if (key === 'version') continue;
    const wider = { ...good, [key]: value };
    const parsed = value === undefined || key in good ? null : await parse(wider);
    if (parsed === null) lost.add(key);
    else [good, config] = [wider, parsed];
  }
  return config === null || parts.length === 0 ? null : { config, lost };

  function parse(value: object): Promise<Config | null> {
    return parseConfig(JSON.stringify(value), file, options).catch((error: unknown) => {
      if (error instanceof SidekeyError) return null;
      throw error;
    });
  }
}

interface Part {
  readonly key: string;
  /** Undefined: it cannot be read. */
  readonly value: unknown;
}

/** Lines that begin at the margin begin a part. What names others (`policies`) comes after what it names. */
function partsOf(text: string): readonly Part[] {
  const parts = text.split(/^(?=["']?[A-Za-z_][\w-]*["']?\s*:(?:\s|$))/m).flatMap((lines): Part[] => {
    const [, key] = /^["']?([A-Za-z_][\w-]*)/.exec(lines) ?? [];
    // What is no key of a config is not named anywhere: it may be a secret in the wrong place.
    if (key === undefined || !Object.hasOwn(configSchema.shape, key)) return [];
    const document = parseConfigDocument(lines);
    const value =
      document.problems.length === 0 ? (document.value as Record<string, unknown>)[key] : undefined;
    return [{ key, value: value ?? undefined }];
  });
  return parts.toSorted((a, b) => Number(a.key === 'domains') - Number(b.key === 'domains'));
}
