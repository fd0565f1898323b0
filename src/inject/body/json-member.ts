import { fold } from '../../policy/fold.ts';
import { parseStrictJson } from '../../policy/strict-json.ts';
import { membersAt, startOfValue, type Member } from './json-members.ts';

/** A text, or why there is none: the end of a sentence about the body. */
export type Rewritten = { readonly text: string } | { readonly problem: string };

/**
 * JSON in which one member is a string. It stands in the place of the first member of that name; others of the name go,
 * however they are written, and so do those that differ in case alone: Go's parser takes the one for the other. Where
 * there is none it comes first, with the objects around it. All other bytes stay as they are.
 *
 * @param path names from the outermost object on
 */
export function withMember(text: string, path: readonly string[], value: string): Rewritten {
  let isObject = false;
  try {
    JSON.parse(text);
    isObject = text[startOfValue(text)] === '{';
  } catch {
    return { problem: 'is no JSON' };
  }
  if (!isObject) return { problem: 'is no JSON object' };
  const rewritten = placed(text, path, value);
  if ('problem' in rewritten) return rewritten;
  // It has one reading now, and no two servers find different members in it (RFC 8259 §4).
  return parseStrictJson(rewritten.text) === undefined ? { problem: 'has a key twice' } : rewritten;
}

function placed(text: string, path: readonly string[], value: string): Rewritten {
  let start = startOfValue(text);
  for (const [depth, name] of path.entries()) {
    const members = membersAt(text, start);
    const folded = fold(name);
    const alike = members.filter(({ key }) => fold(upToNul(key)) === folded);
    const [first, ...more] = alike;
    const rest = path.slice(depth + 1);
    if (first === undefined) return { text: inserted(text, start, members.length === 0, name, rest, value) };
    if (rest.length === 0) return { text: replaced(text, members, alike, name, value) };
    const here = path.slice(0, depth + 1).join('/');
    if (more.length > 0 || first.key !== name) return { problem: `has ${here} in more than one spelling` };
    if (text[first.valueAt] !== '{') return { problem: `has no object at ${here}` };
    start = first.valueAt;
  }
  return { text };
}

/** To a parser in C a key may end at a NUL. */
function upToNul(key: string): string {
  const end = key.indexOf('\0');
  return end < 0 ? key : key.slice(0, end);
}

function inserted(
  text: string,
  start: number,
  isEmpty: boolean,
  name: string,
  rest: readonly string[],
  value: string,
): string {
  const around = rest.reduceRight<unknown>((inner, each) => Object.fromEntries([[each, inner]]), value);
  const member = `${JSON.stringify(name)}:${JSON.stringify(around)}${isEmpty ? '' : ','}`;
  return `${text.slice(0, start + 1)}${member}${text.slice(start + 1)}`;
}

/** The first of those that are alike has the value, and the others go, each with the comma before it. */
function replaced(
  text: string,
  members: readonly Member[],
  alike: readonly Member[],
  name: string,
  value: string,
): string {
  const [first] = alike;
  const gone = new Set(alike);
  const pieces: string[] = [];
  let at = 0;
  for (const [index, member] of members.entries()) {
    if (!gone.has(member)) continue;
    if (member === first) {
      pieces.push(
        text.slice(at, member.keyAt),
        JSON.stringify(name),
        text.slice(member.keyEnd, member.valueAt),
      );
      pieces.push(JSON.stringify(value));
    } else pieces.push(text.slice(at, Math.max(at, members[index - 1]!.valueEnd)));
    at = member.valueEnd;
  }
  return [...pieces, text.slice(at)].join('');
}
