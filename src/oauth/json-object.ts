/** Reading JSON that came from a provider. Pure. */

/** An object of JSON, as far as it is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The object that a text is; null: it is none. */
export function jsonObject(text: string): JsonObject | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/** What stands at a path such as `authed_user.access_token`; undefined where nothing does. Inherited members are none. */
export function memberAt(object: JsonObject, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** Whether a value is an object of JSON, and no list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
