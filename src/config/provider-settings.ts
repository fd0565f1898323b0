import { canonicalHost } from '../policy/host.ts';
import type { Setting } from '../grants/provider.ts';
import { didYouMean } from '../did-you-mean.ts';

/** The settings of a definition with their values, and what is wrong with the values. */
export interface ReadSettings {
  readonly settings: readonly Setting[];
  readonly problems: readonly { readonly path: readonly string[]; readonly message: string }[];
}

const forms: Readonly<Record<string, (value: string) => boolean>> = {
  label: (value) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(value),
  host: (value) => /^[A-Za-z0-9.-]+$/.test(value) && value.includes('.') && canonicalHost(value) !== null,
  segment: (value) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value) && !value.includes('..'),
};

/**
 * Reads `settings` of a definition as it is written. A value goes into URLs and hosts, so it has to be of the form
 * that the definition names: a slash or an @ in it could send tokens elsewhere.
 */
export function readSettings(definition: unknown, values: Readonly<Record<string, string>>): ReadSettings {
  const declared = Object.entries(mapOf(mapOf(definition)['settings']));
  const names = declared.map(([name]) => name);
  const problems: { path: string[]; message: string }[] = [];
  for (const name of Object.keys(values)) {
    if (names.includes(name)) continue;
    const near = didYouMean(name, names);
    const known = names.length === 0 ? 'there are none' : `there are ${names.join(', ')}`;
    problems.push({
      path: [name],
      message: `is no setting of this provider; ${near === null ? known : `did you mean ${near}?`}`,
    });
  }
  const settings = declared.map(([name, written]): Setting => {
    const { what, example, default: initial, form } = mapOf(written);
    const value = values[name] ?? (typeof initial === 'string' ? initial : null);
    const shape = typeof form === 'string' ? form : 'label';
    if (value !== null && forms[shape]?.(value) !== true) {
      problems.push({ path: [name], message: `is not of the form ${shape}, such as ${String(example)}` });
    }
    return { name, what: String(what), example: String(example), value };
  });
  return { settings, problems };
}

/** The definition with `{name}` replaced in every text but those of `settings` itself. */
export function fillIn(definition: unknown, { settings }: ReadSettings): unknown {
  if (settings.length === 0) return definition;
  const text = (value: string): string => {
    let filled = value;
    for (const { name, value: set, example } of settings)
      filled = filled.replaceAll(`{${name}}`, set ?? example);
    return filled;
  };
  const walk = (value: unknown): unknown => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, walk(inner)]));
  };
  const { settings: declared, ...rest } = mapOf(definition);
  return { ...(walk(rest) as object), settings: declared };
}

function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
