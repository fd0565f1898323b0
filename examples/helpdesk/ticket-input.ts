import { z } from 'zod';
import { Refusal } from './reply.ts';
import { priorities, statuses, teams } from './tickets.ts';
import { findUser, users } from './users.ts';

const names = users.map((user) => user.id).join(', ');

/** A person's short name; `me` is whoever the token speaks for (null: a client that acts for itself). */
const person = (me: string | null): z.ZodType<string, string> =>
  z.string().transform((text, context) => {
    const found = text.toLowerCase() === 'me' ? me : findUser(text)?.id;
    if (typeof found === 'string') return found;
    context.addIssue(
      text.toLowerCase() === 'me'
        ? 'this token speaks for no person, so nobody is "me"'
        : `must be me, or one of ${names} (or their email address)`,
    );
    return z.NEVER;
  });

const title = z.string().trim().min(1, 'must not be empty').max(200);
const description = z.string().max(10_000);

const filterSchema = (me: string | null) =>
  z.strictObject({
    assignee: person(me).optional(),
    status: z.enum(statuses).optional(),
    team: z.enum(teams).optional(),
  });

const newTicketSchema = (me: string | null) =>
  z.strictObject({
    title,
    description: description.default(''),
    team: z.enum(teams),
    priority: z.enum(priorities).default('normal'),
    assignee: person(me).nullable().default(null),
  });

const changeSchema = (me: string | null) =>
  z
    .strictObject({
      title: title.optional(),
      description: description.optional(),
      team: z.enum(teams).optional(),
      status: z.enum(statuses).optional(),
      priority: z.enum(priorities).optional(),
      assignee: person(me).nullable().optional(),
    })
    .refine((change) => Object.keys(change).length > 0, 'says nothing to change');

/** The filter that a query string asks for. Throws a `Refusal` (400). `me`: see above. */
export function parseFilter(
  query: URLSearchParams,
  me: string | null,
): z.infer<ReturnType<typeof filterSchema>> {
  const twice = [...query.keys()].find((name) => query.getAll(name).length > 1);
  if (twice !== undefined) throw invalid(`${twice}: is given more than once.`);
  return parse(filterSchema(me), Object.fromEntries(query), 'The query');
}

/** The ticket that a POST body describes. Throws a `Refusal` (400). */
export function parseNewTicket(body: Buffer, me: string | null): z.infer<ReturnType<typeof newTicketSchema>> {
  return parse(newTicketSchema(me), json(body), 'The ticket');
}

/** The change that a PATCH body describes. Throws a `Refusal` (400). */
export function parseChange(body: Buffer, me: string | null): z.infer<ReturnType<typeof changeSchema>> {
  return parse(changeSchema(me), json(body), 'The change');
}

function json(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch {
    throw invalid('The body is not valid JSON.');
  }
}

function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const sentences = result.error.issues.map((issue) => `${issue.path.join('.') || what}: ${issue.message}`);
  throw invalid(`${sentences.join('; ')}.`);
}

function invalid(message: string): Refusal {
  return new Refusal(400, 'invalid_request', message);
}
