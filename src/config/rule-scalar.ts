import { z } from 'zod';
import { parseCidr, plainAddress, type Cidr } from '../policy/address.ts';
import { parseGlob, type Glob } from '../policy/glob.ts';
import { parsePathGlob, type PathGlob } from '../policy/path-glob.ts';
import { isZone, weekdayNames } from '../policy/time-window.ts';
import { parseDuration } from './duration.ts';
import { text } from './scalar.ts';

/** The single values of rules: see `scalar.ts`. */

/** A list that says something: one without items would hold for nothing, or for everything, and nobody could tell. */
export function some<T extends z.ZodType>(item: T, description: string): z.ZodArray<T> {
  return z.array(item).min(1, 'is empty; say what it may be, or take the key out').meta({ description });
}

/** A name, or a glob of names. */
export function glob(description: string): z.ZodType<Glob, string> {
  return text<Glob>({ description }, parseGlob);
}

/** RFC 9110 §9.1, in capitals as every method that is registered. */
export function method(description: string): z.ZodType<string, string> {
  const told = { description, examples: ['GET', 'POST'], pattern: "^[!#$%&'*+.^_`|~0-9A-Z-]+$" };
  return text<string>(told, (value) => {
    if (/^[!#$%&'*+.^_`|~0-9A-Z-]+$/.test(value)) return value;
    return { problem: 'is no method in capitals, such as GET' };
  });
}

/** A path in which `*` is a segment or a part of one, and `**` any number of them. */
export function pathGlob(description: string): z.ZodType<PathGlob, string> {
  return text<PathGlob>(
    { description, examples: ['/v1/users/*', '/gmail/**'], pattern: '^/' },
    parsePathGlob,
  );
}

/** RFC 9110 §8.3.1 without parameters; `*` stands for any characters. */
export function mediaType(description: string): z.ZodType<Glob, string> {
  return text<Glob>({ description, examples: ['application/json', 'text/*'] }, (value) =>
    /^[!#$&^_.+*0-9A-Za-z-]+\/[!#$&^_.+*0-9A-Za-z-]+$/.test(value)
      ? parseGlob(value.toLowerCase())
      : { problem: 'is no media type such as application/json, without parameters' },
  );
}

/** A block of client addresses, or one. */
export function clientBlock(description: string): z.ZodType<Cidr, string> {
  return text<Cidr>({ description, examples: ['10.1.2.0/24', '::1'] }, (value) => {
    const block = parseCidr(value);
    if (block === null) return { problem: 'is no address and no block such as 10.1.2.0/24' };
    // A client is known by its plain address, so such a block would hold nobody.
    return plainAddress(block.address) === block.address
      ? block
      : { problem: 'is an IPv4 address in IPv6 form; write it as IPv4' };
  });
}

/** `HH:MM` in minutes since midnight; `24:00` is the end of the day. */
export function timeOfDay(description: string): z.ZodType<number, string> {
  const told = {
    description,
    examples: ['09:00', '17:30'],
    pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$',
  };
  return text<number>({ ...told, kind: 'a time of day such as 09:00' }, (value) => {
    const [, hours, minutes] = /^([01][0-9]|2[0-4]):([0-5][0-9])$/.exec(value) ?? [];
    const minute = Number(hours) * 60 + Number(minutes);
    return hours !== undefined && minute <= 1_440 ? minute : { problem: 'is no time of day such as 09:00' };
  });
}

/** `mon`, or `mon-fri`: numbers of days, 0 is Sunday. */
export function weekdays(description: string): z.ZodType<readonly number[], string> {
  const told = { description, examples: ['mon', 'mon-fri'] };
  return text<readonly number[]>(told, (value) => {
    const [from, to, ...more] = value.split('-').map((name) => weekdayNames.findIndex((day) => day === name));
    const last = to ?? from;
    if (from === undefined || last === undefined || more.length > 0 || from < 0 || last < 0) {
      return { problem: 'is no day such as mon, and no range of days such as mon-fri' };
    }
    return Array.from({ length: ((last - from + 7) % 7) + 1 }, (_, index) => (from + index) % 7);
  });
}

/** IANA name of a time zone. */
export function zone(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['Europe/Berlin', 'UTC'] }, (value) =>
    isZone(value) ? value : { problem: 'is no time zone such as Europe/Berlin or UTC' },
  );
}

/** `60/1m`: so many in that time. */
export function rate(
  description: string,
): z.ZodType<{ readonly count: number; readonly perMs: number }, string> {
  const told = {
    description,
    examples: ['60/1m', '5/s'],
    pattern: '^[1-9][0-9]{0,8}/([1-9][0-9]*)?(ms|s|m|h|d)$',
  };
  return text<{ readonly count: number; readonly perMs: number }>(
    { ...told, kind: 'a rate such as 60/1m' },
    (value) => {
      const [, count, period = ''] = /^([1-9][0-9]{0,8})\/([0-9]*[a-z]+)$/.exec(value) ?? [];
      const perMs = parseDuration(/^[0-9]/.test(period) ? period : `1${period}`);
      return count === undefined || perMs === null || perMs === 0
        ? { problem: 'is no rate such as 60/1m' }
        : { count: Number(count), perMs };
    },
  );
}
