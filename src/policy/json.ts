import { endOfQuoted, fold, nextOf } from './text.ts';

/** A value of JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const token = /["{}[\],]/g;

/**
 * Parses JSON (RFC 8259) that has one reading: no object has a key twice, for parsers differ in which of the two counts
 * (§4). Undefined where it has none.
 */
export function parseStrictJson(text: string): Json | undefined {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
  return hasKeyTwice(text) ? undefined : value;
}

/** Goes through a text that is known to be JSON. */
function hasKeyTwice(text: string): boolean {
  // The keys of each object that is open; null for a list.
  const open: (Set<string> | null)[] = [];
  let keyIsNext = false;
  let at = nextOf(token, text, 0);
  while (at < text.length) {
    const found = text[at];
    const end = found === '"' ? endOfQuoted(text, at) : at + 1;
    if (found === '{') {
      open.push(new Set());
      keyIsNext = true;
    } else if (found === '[') {
      open.push(null);
      keyIsNext = false;
    } else if (found === '}' || found === ']') {
      open.pop();
      keyIsNext = false;
    } else if (found === ',') {
      keyIsNext = open.at(-1) instanceof Set;
    } else if (keyIsNext) {
      const keys = open.at(-1);
      const written = text.slice(at, end);
      const key = written.includes('\\') ? (JSON.parse(written) as string) : written.slice(1, -1);
      if (keys?.has(key) === true) return true;
      keys?.add(key);
      keyIsNext = false;
    }
    at = nextOf(token, text, end);
  }
  return false;
}

/** An object of JSON. */
export type JsonObject = { readonly [key: string]: Json };

/** Whether a value is an object, and no list. */
export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The member of that name, undefined where there is none; `ambiguous` where another key differs in case alone, or in characters
 * that fold to the same: some parsers (Go's is the best known) take the one for the other.
 */
export function memberOf(object: JsonObject, name: string): Json | undefined | typeof ambiguous {
  const alike = Object.keys(object).filter((key) => fold(key) === name.toLowerCase());
  if (alike.length === 0) return undefined;
  return alike.length === 1 && alike[0] === name ? object[name] : ambiguous;
}

/** See `memberOf`. */
export const ambiguous: unique symbol = Symbol('ambiguous');
