/**
 * One character of a secret, in every way that programs write it: as it is, in percent-encoding, in the escapes of JSON and
 * JavaScript, as an entity of HTML, and in one of these within another (`%2541`, `\\u0041`, `&amp;#65;`).
 */

/** One byte of a way to write something: any of these. */
interface Place {
  readonly any: readonly number[];
  readonly isOptional?: boolean;
}

/** A way to write one character. */
type Form = readonly Place[];

/** Where the character is complete. */
export const done = -1;

/**
 * A nondeterministic automaton that takes one character in all its forms; node 0 is where it begins. The edges of node `n`
 * are those from `begins[n]` up to `begins[n + 1]`. (Packed: there are thousands.)
 */
export interface Forms {
  readonly begins: Uint16Array;
  /** Of each edge: its byte, and where that leads. */
  readonly bytes: Uint8Array;
  readonly targets: Int16Array;
}

/** A character of a secret. */
export class Character {
  /** The bytes that it may be. */
  readonly any: readonly number[];
  /** Bytes of its longest form. */
  readonly longest: number;
  readonly #isWrapped: boolean;
  #forms: Forms | null = null;

  constructor(any: readonly number[], isWrapped: boolean) {
    this.any = any;
    this.#isWrapped = isWrapped;
    this.longest =
      Math.max(...any.map(longestTwice)) +
      (isWrapped ? mostBreaks * Math.max(...lineBreaks.map(longestOf)) : 0);
  }

  /** Made when it is first asked for: of most characters of a secret that is never, since no text comes as far. */
  get forms(): Forms {
    this.#forms ??= build(this.any, this.#isWrapped);
    return this.#forms;
  }
}

const known = new Map<string, Character>();

/**
 * @param any the bytes that it may be: more than one where letters of either case, or of either alphabet of Base64, will do
 * @param isWrapped whether line breaks may stand before it, as MIME and PEM have them in Base64
 */
export function characterOf(any: readonly number[], isWrapped = false): Character {
  const key = `${isWrapped ? 'wrapped ' : ''}${any.join()}`;
  let character = known.get(key);
  if (character === undefined) {
    character = new Character(any, isWrapped);
    known.set(key, character);
  }
  return character;
}

const lineBreaks = [13, 10];
/** CR and LF. */
const mostBreaks = 2;

function build(any: readonly number[], isWrapped: boolean): Forms {
  const nodes = new Nodes();
  let begins = [nodes.add()];
  if (isWrapped) {
    for (let i = 0; i < mostBreaks; i += 1) {
      const behind = nodes.add();
      const last = begins.slice(-1);
      for (const byte of lineBreaks) {
        nodes.link(last, byte, behind);
        for (const form of formsOf(byte)) nodes.chain(last, form, behind, false);
      }
      begins = [...begins, behind];
    }
  }
  for (const byte of any) {
    nodes.chain(begins, [{ any: [byte] }], done, false);
    for (const form of formsOf(byte)) nodes.chain(begins, form, done, true);
  }
  return nodes.packed();
}

class Nodes {
  /** Of each node: where a byte leads. */
  readonly #edges: Map<number, number[]>[] = [];

  add(): number {
    this.#edges.push(new Map());
    return this.#edges.length - 1;
  }

  link(from: readonly number[], byte: number, to: number): void {
    for (const node of from) {
      const edges = this.#edges[node]!;
      const targets = edges.get(byte);
      if (targets === undefined) edges.set(byte, [to]);
      else if (!targets.includes(to)) targets.push(to);
    }
  }

  /** @param isDeep whether what escapes is escaped in turn, perhaps */
  chain(from: readonly number[], form: Form, to: number, isDeep: boolean): void {
    let at = from;
    for (const [index, { any, isOptional }] of form.entries()) {
      const next = index === form.length - 1 ? to : this.add();
      for (const byte of any) {
        this.link(at, byte, next);
        if (!isDeep || isAlphanumeric(byte)) continue;
        for (const inner of formsOf(byte)) this.chain(at, inner, next, false);
      }
      at = isOptional === true ? [...at, next] : [next];
    }
  }

  packed(): Forms {
    const begins = new Uint16Array(this.#edges.length + 1);
    const edges = this.#edges.flatMap((ofNode, node) => {
      const pairs = [...ofNode].flatMap(([byte, targets]) =>
        targets.map((target) => [byte, target] as const),
      );
      begins[node + 1] = begins[node]! + pairs.length;
      return pairs;
    });
    return {
      begins,
      bytes: Uint8Array.from(edges, ([byte]) => byte),
      targets: Int16Array.from(edges, ([, target]) => target),
    };
  }
}

const formsKnown = new Map<number, readonly Form[]>();

/** The ways to write a byte, besides as it is. */
function formsOf(byte: number): readonly Form[] {
  let forms = formsKnown.get(byte);
  if (forms === undefined) {
    forms = [...percent(byte), ...escapes(byte), ...entities(byte), ...(byte === space ? [text('+')] : [])];
    formsKnown.set(byte, forms);
  }
  return forms;
}

const space = 0x20;

/** Bytes above ASCII are characters of Latin-1 in header fields, and stand as UTF-8 elsewhere. */
function percent(byte: number): Form[] {
  if (byte < 0x80) return [percentOf(byte)];
  const utf8 = [...Buffer.from(String.fromCharCode(byte))];
  return [percentOf(byte), utf8.flatMap(percentOf), utf8.map((one) => ({ any: [one] }))];
}

function percentOf(byte: number): Form {
  return [...text('%'), ...hexDigits(byte, 2)];
}

const shortEscapes: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  '\b': 'b',
  '\f': 'f',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
};

/** RFC 8259 §7, and `\x` as other languages have it. */
function escapes(byte: number): Form[] {
  const short = shortEscapes[String.fromCharCode(byte)];
  return [
    [...text('\\u'), ...hexDigits(byte, 4)],
    [...text('\\x'), ...hexDigits(byte, 2)],
    ...(short === undefined ? [] : [text(`\\${short}`)]),
  ];
}

const entityNames: Readonly<Record<string, readonly string[]>> = {
  '&': ['amp', 'AMP'],
  '<': ['lt', 'LT'],
  '>': ['gt', 'GT'],
  '"': ['quot', 'QUOT'],
  "'": ['apos'],
  '+': ['plus'],
  '/': ['sol'],
  '=': ['equals'],
  ':': ['colon'],
  _: ['lowbar'],
  '.': ['period'],
  '!': ['excl'],
  '#': ['num'],
  $: ['dollar'],
  '%': ['percnt'],
  '*': ['ast'],
  '@': ['commat'],
  '\n': ['NewLine'],
};

const zero: Place = { any: [0x30], isOptional: true };
const zeros: Form = [zero, zero, zero, zero];

/** Character references of HTML; browsers read those without their end, too. */
function entities(byte: number): Form[] {
  const decimal = [...text('&#'), ...zeros, ...text(String(byte))];
  const hexadecimal = [
    ...text('&#'),
    { any: [0x78, 0x58] },
    ...zeros,
    ...hexDigits(byte, byte < 0x10 ? 1 : 2),
  ];
  const named = (entityNames[String.fromCharCode(byte)] ?? []).map((name) => text(`&${name}`));
  return [decimal, hexadecimal, ...named].flatMap((form) => [form, [...form, ...text(';')]]);
}

function text(bytes: string): Form {
  return Array.from(bytes, (letter) => ({ any: [letter.charCodeAt(0)] }));
}

function hexDigits(value: number, length: number): Form {
  return Array.from(value.toString(16).padStart(length, '0'), (digit) => ({ any: eitherCase(digit) }));
}

/** The bytes of a letter in either case; of anything else its own. */
export function eitherCase(letter: string): readonly number[] {
  const lower = letter.toLowerCase().charCodeAt(0);
  const upper = letter.toUpperCase().charCodeAt(0);
  return lower === upper ? [lower] : [lower, upper];
}

function isAlphanumeric(byte: number): boolean {
  return /[0-9A-Za-z]/.test(String.fromCharCode(byte));
}

function longestOf(byte: number): number {
  return Math.max(1, ...formsOf(byte).map(({ length }) => length));
}

const longestKnown = new Map<number, number>();

function longestTwice(byte: number): number {
  let longest = longestKnown.get(byte);
  if (longest === undefined) {
    longest = Math.max(1, ...formsOf(byte).map(lengthWithin));
    longestKnown.set(byte, longest);
  }
  return longest;
}

/** Where what escapes is escaped in turn. */
function lengthWithin(form: Form): number {
  return form.reduce(
    (sum, { any }) => sum + Math.max(...any.map((one) => (isAlphanumeric(one) ? 1 : longestOf(one)))),
    0,
  );
}
