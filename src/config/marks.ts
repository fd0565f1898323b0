import { z } from 'zod';
import type { Path } from './problem.ts';

/**
 * Marks of the schema. `machine`: the value makes the machine run, open or read something. `secret`: the value does so to get
 * a secret. `destination`: an address that gets the secrets of its map.
 */
type Mark = 'machine' | 'secret' | 'destination';

/** The marks. A copy of a schema with other metadata has the mark of the schema. */
export const marks = z.registry<{ readonly mark: Mark }>();

/** A value with a mark. */
interface MarkedValue {
  readonly path: Path;
  readonly mark: Mark;
  /** As parsed: two spellings of one value are equal. */
  readonly value: unknown;
}

/** Returns a marked value as it is compared. The order of a list has no meaning there. */
export function comparable({ path, value }: MarkedValue): readonly unknown[] {
  return [path.map((step) => (typeof step === 'number' ? '[]' : step)), value];
}

type Definition = z.core.$ZodTypes['_zod']['def'];

/** Returns the marked values of a written value, with the defaults that apply to it. */
export function markedValues(schema: z.core.$ZodType, value: unknown, path: Path): readonly MarkedValue[] {
  const mark = marks.get(schema)?.mark;
  if (mark !== undefined) {
    const read = z.safeParse(schema, value).data ?? value;
    return read === undefined ? [] : [{ path, mark, value: read }];
  }
  const { def } = schema as unknown as { readonly def: Definition };
  if (def.type === 'prefault') return markedValues(def.innerType, value ?? def.defaultValue, path);
  if (value === undefined || value === null) return [];
  switch (def.type) {
    case 'optional':
    case 'nullable':
      return markedValues(def.innerType, value, path);
    case 'pipe':
      return markedValues(def.in, value, path);
    case 'union': {
      const fitting = def.options.filter((option) => z.safeParse(option, value).success);
      return (fitting.length > 0 ? fitting : def.options).flatMap((each) => markedValues(each, value, path));
    }
    case 'object':
      if (typeof value !== 'object') return [];
      return withDestinations(
        Object.entries(def.shape).flatMap(([key, inner]) =>
          markedValues(inner, (value as Readonly<Record<string, unknown>>)[key], [...path, key]),
        ),
      );
    case 'record':
      if (typeof value !== 'object') return [];
      return Object.entries(value).flatMap(([key, inner]) =>
        markedValues(def.valueType, inner, [...path, key]),
      );
    case 'array':
      if (!Array.isArray(value)) return [];
      return value.flatMap((item, index) => ofItem(markedValues(def.element, item, [...path, index])));
    case 'string':
    case 'number':
    case 'boolean':
    case 'enum':
    case 'literal':
    case 'unknown':
      return [];
    default:
      throw new TypeError(`the schema has a kind that is not compared: ${def.type}`);
  }
}

/** Destinations count only in a map with a secret. They come last, so that a refusal names the secret. */
function withDestinations(values: readonly MarkedValue[]): readonly MarkedValue[] {
  const destinations = values.filter(({ mark }) => mark === 'destination');
  const others = values.filter(({ mark }) => mark !== 'destination');
  const sends = others.some(({ mark }) => mark === 'secret');
  return [...others, ...(sends ? destinations.map((each) => ({ ...each, mark: 'machine' as const })) : [])];
}

/** An item of a list is compared as a whole: the secret of one must not go to the address of another. */
function ofItem([first, ...more]: readonly MarkedValue[]): readonly MarkedValue[] {
  return first === undefined ? [] : [{ ...first, value: [first, ...more].map(comparable) }];
}
