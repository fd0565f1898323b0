import { isJsonObject, isExactNumber, type Json } from '../../lib/json.ts';
import { isUnread, type ReadQuery } from './path.ts';
import type { ReadRequest } from './request.ts';
import { boundsOf, type ConditionResult, type Parameters, type ValueCondition } from './rule.ts';
import { ambiguous, fold, type Glob, matchesAny, memberOf, parseGlob, percentDecoded } from './text.ts';

/** Conditions on the parameters of a request: members of JSON, and parameters of a query or form. */

/** Returns a test of the parameters of the query. */
export function queryTest(wanted: Parameters): (request: ReadRequest) => ConditionResult {
  const test = parameterTest(wanted);
  return (request) => {
    const query = request.query();
    return isUnread(query) ? 'unclear' : test(query);
  };
}

/** Returns a test of form parameters. Unclear if the query has one of them too, because servers differ. */
export function formTest(wanted: Parameters): (request: ReadRequest) => ConditionResult {
  const test = parameterTest(wanted);
  const names = [...wanted.keys()].map(nameOf);
  return (request) => {
    const form = request.form();
    return form === null || isInQuery(names, request) ? 'unclear' : test(form);
  };
}

/** Returns a test of JSON members. Unclear if the query has an outermost one too, because servers differ. */
export function jsonTest(wanted: Parameters): (request: ReadRequest) => ConditionResult {
  const test = memberTest(wanted);
  const outermost = [...wanted.keys()].map((path) => stepsOf(path)[0]);
  const names = outermost.filter((step) => typeof step === 'string').map(nameOf);
  return (request) => {
    const json = request.json();
    return json === null || isInQuery(names, request) ? 'unclear' : test(json.value);
  };
}

function isInQuery(names: readonly Name[], request: ReadRequest): boolean {
  if (!request.facts.path.includes('?')) return false;
  const query = request.query();
  return isUnread(query) || [...query.keys()].some((written) => names.some((name) => isAlike(written, name)));
}

/** A repeated or respelled parameter matches only if all its values do, in the plain spelling. */
function parameterTest(wanted: Parameters): (given: ReadQuery) => ConditionResult {
  const parameters = [...wanted].map(([text, condition]) => ({
    name: nameOf(text),
    missing: missingOf(condition),
    test: valueTest(condition, resultOfText),
  }));
  return (given) => {
    let verdict: ConditionResult = 'yes';
    for (const { name, missing, test } of parameters) {
      let result: ConditionResult | null = null;
      for (const [written, values] of given) {
        if (written !== name.text && !isAlike(written, name)) continue;
        for (const value of values) {
          const valueResult = test(value);
          result = both(result, written === name.text || valueResult === 'no' ? valueResult : 'unclear');
        }
      }
      result ??= missing;
      if (result === 'no') return 'no';
      if (result === 'unclear') verdict = 'unclear';
    }
    return verdict;
  };
}

/** Combines the results of two readings or parts. */
export function both(one: ConditionResult | null, other: ConditionResult): ConditionResult {
  return one === null || one === other ? other : 'unclear';
}

/** The name of a parameter, and its names for some servers. */
interface Name {
  readonly text: string;
  readonly first: number;
  readonly core: string;
  readonly readings: readonly string[];
}

function nameOf(text: string): Name {
  const readings = readingsOf(text);
  return { text, first: text.charCodeAt(0) | lowerCase, core: readings[0]!, readings };
}

const lowerCase = 0x20;
const [a, z] = [0x61, 0x7a];

/** Reports whether some server reads a parameter as this name, as a part of it, or as a whole around it. */
function isAlike(written: string, { first, core, readings }: Name): boolean {
  // Most other names begin with another letter.
  const letter = written.charCodeAt(0) | lowerCase;
  if (letter >= a && letter <= z && letter !== first && first >= a && first <= z) return false;
  const others = readingsOf(written);
  return core !== '' && (others.includes(core) || readings.includes(others[0]!));
}

/**
 * Returns a name as the most lenient servers read it (PHP, Rails, qs): its letters and digits, and those
 * before each bracket (`amount[]` is `amount`).
 */
function readingsOf(name: string): readonly string[] {
  if (/^[A-Za-z0-9]+$/.test(name)) return [name.toLowerCase()];
  const [whole = ''] = fold(percentDecoded(name))
    .replace(/^[\s[]+/, '')
    .split('\0', 1);
  const brackets = [...whole.matchAll(/\[/g)]
    .slice(0, mostBrackets)
    .map(({ index }) => whole.slice(0, index));
  return [whole, ...brackets].map((part) => part.replace(/[^\p{L}\p{N}]/gu, ''));
}

/** Limits the work for a name of brackets. PHP reads 64. */
const mostBrackets = 64;

/** Returns a test of the members of a JSON value; undefined: there is no value. */
export function memberTest(
  wanted: Parameters,
): (value: Json | undefined | typeof ambiguous) => ConditionResult {
  const members = [...wanted].map(([path, condition]) => ({
    steps: stepsOf(path),
    missing: missingOf(condition),
    test: valueTest(condition, resultOfNumber),
  }));
  return (value) => {
    let verdict: ConditionResult = 'yes';
    for (const member of members) {
      const result = resultAt(value, 0, member);
      if (result === 'no') return 'no';
      if (result === 'unclear') verdict = 'unclear';
    }
    return verdict;
  };
}

interface Member {
  readonly steps: readonly Step[];
  readonly missing: ConditionResult;
  readonly test: (value: Json) => ConditionResult;
}

/** Maximum number of elements to compare in an array. */
const mostElements = 1_000;

/** A wrong type on the path is unclear: some servers read an element as a list, or a text as an object. */
function resultAt(value: Json | undefined | typeof ambiguous, at: number, member: Member): ConditionResult {
  const { steps, missing, test } = member;
  if (value === ambiguous) return 'unclear';
  if (value === undefined) return missing;
  const step = steps[at];
  if (step === undefined) return test(value);
  if (step !== elements) {
    return isJsonObject(value) ? resultAt(memberOf(value, step), at + 1, member) : 'unclear';
  }
  if (!Array.isArray(value) || value.length > mostElements) return 'unclear';
  let result: ConditionResult | null = null;
  for (const element of value as readonly Json[]) {
    result = both(result, resultAt(element, at + 1, member));
    if (result === 'unclear') return result;
  }
  return result ?? missing;
}

/** All elements of an array. */
const elements: unique symbol = Symbol('elements');
type Step = string | typeof elements;

const step = /\.([^\s.[\]'"*$]+)|\['([^'\\]+)'\]|(\[\*\])/y;

/**
 * Parses a path to members of JSON: `$.items[*].price`, `$['a b']`. Supports the member names and the element
 * wildcard of JSONPath (RFC 9535). Returns null for any other path.
 */
export function parseJsonPath(path: string): readonly Step[] | null {
  const steps: Step[] = [];
  if (!path.startsWith('$')) return null;
  for (let at = 1; at < path.length; at = step.lastIndex) {
    step.lastIndex = at;
    const match = step.exec(path);
    if (match === null) return null;
    steps.push(match[1] ?? match[2] ?? elements);
  }
  return steps.length === 0 ? null : steps;
}

function stepsOf(path: string): readonly Step[] {
  const steps = parseJsonPath(path);
  if (steps === null) throw new Error('the path of a rule was not checked');
  return steps;
}

function missingOf(condition: ValueCondition): ConditionResult {
  return boundsOf(condition).optional ? 'yes' : 'no';
}

type RangeTest = (value: Json, min: number, max: number) => ConditionResult;

/**
 * Returns a test of one value. Compares texts, numbers and booleans with globs as text, because some servers
 * convert them. Unclear: null, lists, objects, and a text that differs only in case or invisible characters.
 */
function valueTest(condition: ValueCondition, inRange: RangeTest): (value: Json) => ConditionResult {
  const { values, min, max } = boundsOf(condition);
  const inGlobs = values === null ? null : globTest(values);
  const hasRange = min !== null || max !== null;
  return (value) => {
    const first = inGlobs === null ? 'yes' : inGlobs(value);
    if (first === 'no' || !hasRange) return first;
    const second = inRange(value, min ?? -Infinity, max ?? Infinity);
    return second === 'no' || first === 'yes' ? second : first;
  };
}

/** Returns a test of a text. Parsers in C end a text at a NUL, and some replace lone surrogates. */
export function globTest(globs: readonly Glob[]): (value: Json) => ConditionResult {
  const folded = globs.map(({ text }) => parseGlob(fold(text)));
  return (value) => {
    if (value === null || typeof value === 'object' || Number.isNaN(value)) return 'unclear';
    const text = String(value);
    if (text.includes('\0') || !text.isWellFormed()) return 'unclear';
    if (matchesAny(globs, text)) return 'yes';
    return matchesAny(folded, fold(text)) ? 'unclear' : 'no';
  };
}

/** Some servers convert a text to a number, each in its own way. */
const resultOfNumber: RangeTest = (value, min, max) => {
  if (typeof value !== 'number' || Number.isNaN(value)) return 'unclear';
  return value >= min && value <= max ? 'yes' : 'no';
};

const decimal = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/;

/** Servers differ in non-decimal numbers: `1e3`, `0x10`, ` 1`, `1,000`. */
const resultOfText: RangeTest = (value, min, max) =>
  typeof value === 'string' && decimal.test(value) && isExactNumber(value)
    ? resultOfNumber(Number(value), min, max)
    : 'unclear';
