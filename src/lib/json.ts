/**
 * A strict JSON reader (RFC 8259). `JSON.parse` quotes the text in its errors, gives no position for short
 * texts, and silently uses the last of two equal names, where other parsers use the first (§4). This reader
 * refuses equal names, and names that other parsers change. Its errors have a position but no text, which may
 * contain secrets.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/** Members in the order of the text. Names such as `__proto__` have no special meaning. */
export type JsonObject = ReadonlyMap<string, Json>;

/** An error and its position (line and column from 1). Never contains a part of the text. */
interface JsonProblem {
  readonly problem: string;
  readonly line: number;
  readonly column: number;
}

/** The value, or the error of the text. */
type JsonReading = { readonly ok: true; readonly value: Json } | ({ readonly ok: false } & JsonProblem);

const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const space = /[ \t\n\r]*/y;
/** Parsers in C end a name at a NUL, and Go replaces lone surrogates (RFC 8259 §8.2). */
const ambiguousName = /[\p{Cc}\p{Cs}]/u;
const words: readonly (readonly [string, Json])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

/**
 * Parses one JSON text. Skips a byte order mark at the start (PowerShell writes one).
 *
 * @param maxDepth levels of objects and arrays inside the outermost value
 * @param isExact see `parseStrictJson`
 */
export function readJson(text: string, maxDepth = 16, isExact = false): JsonReading {
  const reader = new Reader(text, maxDepth, isExact);
  try {
    return { ok: true, value: reader.document() };
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    const before = text.slice(0, error.offset);
    const line = before.split('\n').length;
    return {
      ok: false,
      problem: error.problem,
      line,
      column: error.offset - (before.lastIndexOf('\n') + 1) + 1,
    };
  }
}

/**
 * Parses a JSON text that every parser reads alike, up to 1,000 levels deep. Returns undefined for any other.
 *
 * @param isExact returns NaN for a number that a double holds only in part
 */
export function parseStrictJson(text: string, isExact = false): Json | undefined {
  // RFC 8259 §8.1 lets parsers decide whether a byte order mark is an error.
  if (text.startsWith('\uFEFF')) return undefined;
  const reading = readJson(text, 1_000, isExact);
  return reading.ok ? reading.value : undefined;
}

/**
 * Reports whether different numbers of this form are always different doubles (IEEE 754): up to 15 digits,
 * and an exponent of up to 2 digits.
 */
export function isExactNumber(digits: string): boolean {
  const [, significant = '', exponent = ''] = /^-?[0.]*([0-9.]*)(?:[eE][+-]?0*([0-9]*))?$/.exec(digits) ?? [];
  return significant.replace('.', '').length <= 15 && exponent.length <= 2;
}

/** Reports whether a value is an object, not an array. */
export function isJsonObject(value: Json | undefined): value is JsonObject {
  return value instanceof Map;
}

class Stop {
  readonly problem: string;
  readonly offset: number;
  constructor(problem: string, offset: number) {
    this.problem = problem;
    this.offset = offset;
  }
}

class Reader {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #isExact: boolean;
  #at: number;

  constructor(text: string, maxDepth: number, isExact: boolean) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#isExact = isExact;
    this.#at = text.startsWith('\uFEFF') ? 1 : 0;
  }

  document(): Json {
    this.#skip();
    const value = this.#value(0);
    this.#skip();
    if (this.#at < this.#text.length) throw new Stop('there is more after the end of the value', this.#at);
    return value;
  }

  #value(depth: number): Json {
    if (depth > this.#maxDepth) throw new Stop('the nesting is too deep', this.#at);
    const next = this.#text[this.#at];
    if (next === '{') return this.#object(depth);
    if (next === '[') return this.#array(depth);
    if (next === '"') return this.#string();
    for (const [word, value] of words) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    number.lastIndex = this.#at;
    const [digits] = number.exec(this.#text) ?? [];
    if (digits === undefined) throw this.#unexpected('a value');
    this.#at += digits.length;
    return this.#isExact && !isExactNumber(digits) ? Number.NaN : Number(digits);
  }

  #object(depth: number): JsonObject {
    const fields = new Map<string, Json>();
    this.#at += 1;
    this.#skip();
    if (this.#take('}')) return fields;
    for (;;) {
      const nameAt = this.#at;
      if (this.#text[nameAt] !== '"') throw this.#unexpected('a field name in double quotes');
      const name = this.#string();
      if (fields.has(name)) throw new Stop('a field is twice in the same object', nameAt);
      if (ambiguousName.test(name))
        throw new Stop('a field name has a control character or half of a character', nameAt);
      this.#skip();
      if (!this.#take(':')) throw this.#unexpected('a colon');
      this.#skip();
      fields.set(name, this.#value(depth + 1));
      this.#skip();
      if (this.#take('}')) return fields;
      if (!this.#take(',')) throw this.#unexpected('a comma or }');
      this.#skip();
    }
  }

  #array(depth: number): readonly Json[] {
    const items: Json[] = [];
    this.#at += 1;
    this.#skip();
    if (this.#take(']')) return items;
    for (;;) {
      items.push(this.#value(depth + 1));
      this.#skip();
      if (this.#take(']')) return items;
      if (!this.#take(',')) throw this.#unexpected('a comma or ]');
      this.#skip();
    }
  }

  #string(): string {
    const start = this.#at;
    for (let at = start + 1; ; at += 1) {
      const code = this.#text.charCodeAt(at);
      if (Number.isNaN(code)) throw new Stop('a string has no closing quote', start);
      if (code < 0x20) throw new Stop('a line break or other control character is inside a string', at);
      if (code === 0x22) {
        this.#at = at + 1;
        return JSON.parse(this.#text.slice(start, this.#at)) as string;
      }
      if (code === 0x5c) {
        if (!/^(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(this.#text.slice(at + 1, at + 6)))
          throw new Stop('a backslash begins no valid escape', at);
        at += 1;
      }
    }
  }

  #skip(): void {
    space.lastIndex = this.#at;
    this.#at += space.exec(this.#text)?.[0].length ?? 0;
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  #unexpected(wanted: string): Stop {
    return this.#at >= this.#text.length
      ? new Stop(`it ends where ${wanted} is expected`, this.#at)
      : new Stop(`${wanted} is expected`, this.#at);
  }
}

/** Reports whether a value of `JSON.parse` is a text, a number or a boolean. */
export function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
