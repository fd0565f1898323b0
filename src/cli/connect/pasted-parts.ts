import { SidekeyError } from '../../errors.ts';
import { readJson } from '../../grants/json-text.ts';
import type { PastedToken, TokenPart } from '../../grants/provider.ts';

/** What was pasted, by the names of the parts. */
export type PastedParts = Readonly<Record<string, string>>;

/**
 * Reads the parts of a token from standard input: the value alone where there is one part; else a JSON object or lines
 * `name=value`. Messages name parts and never show a value.
 *
 * @throws SidekeyError `input_invalid`
 */
export function readParts(text: string, token: PastedToken): PastedParts {
  const bare = text.replace(/^\uFEFF/, '').trim();
  if (bare === '') throw invalid('Standard input is empty.', token);
  const [only, ...more] = token.parts;
  if (only !== undefined && more.length === 0 && !bare.startsWith('{')) return { [only.name]: bare };
  const written = bare.startsWith('{') ? fromJson(bare, token) : fromLines(bare, token);
  for (const name of written.keys()) {
    if (token.parts.some((part) => part.name === name)) continue;
    throw invalid('Standard input names a part that this provider has not.', token);
  }
  return Object.fromEntries(
    token.parts.map(({ name }) => {
      const value = written.get(name)?.trim() ?? '';
      if (value === '') throw invalid(`The part ${name} is missing on standard input.`, token);
      return [name, value];
    }),
  );
}

function fromJson(text: string, token: PastedToken): Map<string, string> {
  const reading = readJson(text);
  if (!reading.ok || !(reading.value instanceof Map)) {
    throw invalid('Standard input is not valid JSON.', token);
  }
  return new Map(
    [...reading.value].map(([name, value]) => {
      if (typeof value !== 'string') throw invalid('A part on standard input is not a text.', token);
      return [String(name), value];
    }),
  );
}

function fromLines(text: string, token: PastedToken): Map<string, string> {
  const parts = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const [, name, value] = /^\s*([a-z0-9_]+)\s*=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw invalid('Standard input has a line that is not NAME=VALUE.', token);
    }
    if (parts.has(name)) throw invalid('Standard input names a part twice.', token);
    parts.set(name, value);
  }
  return parts;
}

function invalid(sentence: string, { parts }: PastedToken): SidekeyError {
  const [only, ...more] = parts;
  const form =
    more.length === 0 && only !== undefined
      ? `the ${only.what} by itself`
      : parts.map(({ name }) => `${name}=…`).join(' and ') + ', a line each';
  return new SidekeyError('input_invalid', sentence, { hint: `write ${form} to standard input` });
}

/**
 * What about a value looks wrong, as a sentence; null: nothing. A form is a hint and no proof, so this warns only.
 */
export function doubtOf(value: string, { what, starts }: TokenPart): string | null {
  const known = starts
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
    .find(({ prefix }) => value.startsWith(prefix));
  if (known?.wrong === true) return `This looks like ${known.what}, which is not what is meant here.`;
  const meant = starts.filter(({ wrong }) => !wrong).map(({ prefix }) => prefix);
  if (known !== undefined || meant.length === 0) return null;
  return `The ${what} usually begins with ${meant.join(' or ')}; this does not.`;
}
