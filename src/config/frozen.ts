/** Freezes a value of plain objects, arrays, maps and functions, and everything in it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  if (value instanceof Map) {
    for (const [key, inner] of value) {
      deepFreeze(key);
      deepFreeze(inner);
    }
    // What a map holds is not in its properties, so freezing alone would not hold it.
    for (const method of ['set', 'delete', 'clear']) {
      Object.defineProperty(value, method, { value: refuse });
    }
  }
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

function refuse(): never {
  throw new TypeError('the configuration is frozen');
}
