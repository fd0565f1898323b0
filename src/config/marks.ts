import { z } from 'zod';
import type { Path } from './problem.ts';

/**
 * `machine`: the value makes the machine run, open or read something. `secret`: the value is a reference to a
 * secret. `destination`: the value is an address, which gets the secrets of its map.
 */
interface Mark {
  readonly mark: 'machine' | 'secret' | 'destination';
}

/** Marks of the schema. A copy of a schema with other metadata has the same mark. */
export const marks = z.registry<Mark>();

interface MarkedValue extends Mark {
  readonly path: Path;
  /** Parsed value: two spellings of one value are equal. */
  readonly value: unknown;
}

/** Returns a marked value as it is compared. The order of a list has no meaning there. */
export function comparable({ path, value }: MarkedValue): readonly unknown[] {
  return [path.map((step) => (typeof step === 'number' ? '[]' : step)), value];
}

/** Returns the marked values of a written value, with the defaults that apply to it. */
export function markedValues(schema: z.core.$ZodType, value: unknown, path: Path): readonly MarkedValue[] {
  const mark = marks.get(schema);
  const read = mark && (z.safeParse(schema, value).data ?? value);
  if (mark !== undefined) return read === undefined ? [] : [{ ...mark, path, value: read }];
  const { def } = schema as unknown as { readonly def: z.core.$ZodTypes['_zod']['def'] };
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  switch (def.type) {
    case 'prefault':
      return markedValues(def.innerType, value ?? def.defaultValue, path);
    case 'optional':
      return value === undefined ? [] : markedValues(def.innerType, value, path);
    case 'pipe':
      return markedValues(def.in, value, path);
    case 'union': {
      const fitting = def.options.filter((option) => z.safeParse(option, value).success);
      return (fitting.length > 0 ? fitting : def.options).flatMap((each) => markedValues(each, value, path));
    }
    case 'object': {
      const values = new Map(entries);
      return withDestinations(
        Object.entries(def.shape).flatMap(([key, of]) => markedValues(of, values.get(key), [...path, key])),
      );
    }
    case 'record':
      return entries.flatMap(([key, inner]) => markedValues(def.valueType, inner, [...path, key]));
    case 'array':
      return entries.flatMap(([index, item]) =>
        ofItem(markedValues(def.element, item, [...path, Number(index)])),
      );
    default:
      return [];
  }
}

/** Destinations count only in a map with a secret. They come last, so that a refusal names the secret. */
function withDestinations(values: readonly MarkedValue[]): readonly MarkedValue[] {
  const others = values.filter(({ mark }) => mark !== 'destination');
  if (!others.some(({ mark }) => mark === 'secret')) return others;
  const destinations = values.filter(({ mark }) => mark === 'destination');
  return [...others, ...destinations.map((each) => ({ ...each, mark: 'machine' as const }))];
}

/** An item of a list is compared as a whole: the secret of one must not go to the address of another. */
function ofItem([first, ...more]: readonly MarkedValue[]): readonly MarkedValue[] {
  return first === undefined ? [] : [{ ...first, value: [first, ...more].map(comparable) }];
}
