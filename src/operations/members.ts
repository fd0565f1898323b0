import { z } from 'zod';
import { isName, isUserName, nameRules } from '../domain/grant.ts';
import { isoTime, spanMs } from './format.ts';
import { type Hint, hintText, remediesOf } from '../lib/hint.ts';
import { optional } from '../lib/text.ts';

/** Members of inputs and outputs that several operations share. */

export const name = z
  .string()
  .refine(isName, `is not valid: ${nameRules.name}`)
  .meta({ description: 'Letters, digits, dots, dashes and underscores.', examples: ['github'] });

export const userName = z
  .string()
  .refine(isUserName, `is not valid: ${nameRules.user}`)
  .meta({ description: 'Letters, digits and `.` `_` `-` `@` `|` `+` `~`.', examples: ['alice@example.com'] });

export const notDuration =
  'is not a duration: a number and a unit, such as 90s, 15m, 8h, 30d or 2w, up to ten years';

/** Span as in the config file. */
const span = z
  .string()
  .regex(/^\d+[smhdw]$/, notDuration)
  .meta({ examples: ['8h'] });

export const text = z.string().max(2_048, 'is longer than 2048 characters');

export const texts = z.array(z.string());

const remedy = z.object({ operation: z.string(), input: z.record(z.string(), z.unknown()) }).meta({
  id: 'Remedy',
  description:
    'An operation that helps (`x-operations` of a route), with its input; null is for a person to choose.',
});

/** Actions of a hint, for programs. */
export const remedies = z.array(remedy).optional();

export function hintAnswer(hint: Hint): {
  readonly hint: string;
  readonly remedies?: z.input<typeof remedies>;
} {
  const actions = remediesOf(hint).map((action) => ({ ...action }));
  return { hint: hintText(hint), ...(actions.length === 0 ? {} : { remedies: actions }) };
}

/** Returns the shape of an object that the OpenAPI document names. It has no other members. */
export function named<Shape extends z.core.$ZodLooseShape>(id: string, members: Shape) {
  return z.strictObject(members).meta({ id });
}

export const time = z.iso.datetime();

export const timeOrNull = time.nullable();

/** Members of a passkey that its owner may see. */
export const passkeyMembers = { id: z.string(), label: z.string(), created_at: time, used_at: timeOrNull };

type Camel<Member extends string> = Member extends `${infer Head}_${infer Rest}`
  ? `${Head}${Capitalize<Camel<Rest>>}`
  : Member;

/**
 * Returns the members of a shape, from values of the same names in camel case. A number becomes an ISO 8601
 * time if its member is named `…_at`. Other values, such as hashes, are left out.
 */
export function membersOf<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  values: { readonly [Member in keyof Shape & string as Camel<Member>]: unknown },
): z.input<z.ZodObject<Shape>> {
  const entries = Object.keys(shape).map((member) => {
    const name = member.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    const value = (values as Readonly<Record<string, unknown>>)[name];
    return [member, typeof value === 'number' && member.endsWith('_at') ? isoTime(value) : value];
  });
  return Object.fromEntries(entries) as z.input<z.ZodObject<Shape>>;
}

/** Returns the state of an agent or a person. */
export function enabledState({ disabledAt }: { readonly disabledAt: number | null }): 'enabled' | 'disabled' {
  return disabledAt === null ? 'enabled' : 'disabled';
}

/** A span from one second to ten years; an operation gets milliseconds. */
export const duration = span.transform((value, context) => {
  const milliseconds = spanMs(value);
  if (milliseconds !== null) return milliseconds;
  context.addIssue(notDuration);
  return z.NEVER;
});

const maxUses = 999_999_999;
const notCount = `is not a number of requests, from 1 to ${maxUses}`;

/** A count of requests. The maximum keeps sums of counts, as of renewals, in the range of exact integers. */
export const uses = z.int(notCount).min(1, notCount).max(maxUses, notCount);

export const grants = optional(z.array(text).min(1), 'Name, ID, or USER/NAME.');

export const egress = optional(
  z.array(text).min(1),
  'Only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none.',
);

export const grantOwner = optional(userName, 'The owner, where several users have a grant of that name.');
