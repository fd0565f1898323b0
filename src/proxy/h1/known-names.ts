import { lowerOf, spells } from './bytes.ts';

/**
 * The field names that the proxy looks for, each with a number: whoever asks for one compares numbers, and the bytes of
 * a name are looked at once. 0 stands for all other names.
 */
const names = [
  '',
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'content-length',
  'content-type',
  'content-encoding',
  'host',
  'expect',
  'authorization',
  'proxy-authorization',
  'sidekey-grant',
  'sidekey-reason',
  'alt-svc',
  'cookie',
  // Families: every other name that begins so.
  'proxy-',
  'sidekey-',
] as const;

type KnownName = (typeof names)[number];

/** Numbers of names; all are below 32, so that a set of them is the bits of one number. */
export const known = Object.freeze(
  Object.fromEntries(names.map((name, number) => [name, number])),
) as Readonly<Record<KnownName, number>>;

const families = ['proxy-', 'sidekey-'] as const;
const numbers = new Map<string, number>(
  names.map((name, number) => [name, number] as const).filter(([name]) => name !== '' && !name.endsWith('-')),
);
/** By length: few names are as long as another, so most are known to be none of these after one look. */
const byLength: readonly { readonly name: string; readonly number: number }[][] = Array.from(
  { length: 1 + Math.max(...names.map((name) => name.length)) },
  (_, length) =>
    [...numbers].filter(([name]) => name.length === length).map(([name, number]) => ({ name, number })),
);
const p = 0x70;
const s = 0x73;

/** The number of a name that stands in a message. */
export function numberOf(bytes: Buffer, start: number, end: number): number {
  const length = end - start;
  const first = lowerOf[bytes[start]!];
  if (length < byLength.length) {
    const candidates = byLength[length]!;
    for (let i = 0; i < candidates.length; i += 1) {
      const { name, number } = candidates[i]!;
      if (name.charCodeAt(0) === first && spells(bytes, start, end, name)) return number;
    }
  }
  if (first === p && length >= 6 && spells(bytes, start, start + 6, 'proxy-')) return known['proxy-'];
  if (first === s && length >= 8 && spells(bytes, start, start + 8, 'sidekey-')) return known['sidekey-'];
  return 0;
}

/** The number of a name in lower case. */
export function numberOfText(name: string): number {
  const number = numbers.get(name);
  if (number !== undefined) return number;
  const family = families.find((prefix) => name.startsWith(prefix));
  return family === undefined ? 0 : known[family];
}

/** Whether a number stands for one name alone. */
export function isOneName(number: number): boolean {
  return number !== 0 && number < known['proxy-'];
}

/** The numbers of all names that begin so: of the family, and of its members that have their own. */
export function numbersOfFamily(family: (typeof families)[number]): readonly number[] {
  return [
    known[family],
    ...[...numbers].filter(([name]) => name.startsWith(family)).map(([, number]) => number),
  ];
}
