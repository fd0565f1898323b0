import { Agent } from 'node:https';
import { createCookieJar, type CookieJar } from './cookie-jar.ts';
import { send, type Answer, type Connection } from './connection.ts';

/** A person in front of a browser. */
export interface Person {
  /** Email address or short name. */
  readonly user: string;
  readonly password: string;
  /** What the person answers on the consent page. Default: allow. */
  readonly decision?: 'allow' | 'deny';
}

/** The sign-in did not end where it should; the message is what the page said to the person. */
export class SignInError extends Error {
  override readonly name = 'SignInError';
}

const mostSteps = 15;

/**
 * The person's part of an authorization: opens the URL, signs in, answers the consent page, and follows
 * redirects within the issuer. Returns the first address outside of it: the client's redirect URI with `code`
 * or `error`. Throws `SignInError` where a page says that it did not work. A jar that is passed in stays
 * signed in.
 */
export async function consentAs(
  authorizationUrl: URL,
  person: Person,
  connection: Connection,
  jar: CookieJar = createCookieJar(),
): Promise<URL> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const typed = { email: person.user, password: person.password, decision: person.decision ?? 'allow' };
  const answered = new Set<string>();

  let url = authorizationUrl;
  let submission: string | undefined;
  try {
    for (let step = 0; step < mostSteps; step += 1) {
      if (url.origin !== new URL(connection.issuer).origin) return url;
      const answer = await visit(url, submission);
      const { location } = answer.headers;
      if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
        url = new URL(location, url);
        submission = undefined;
        continue;
      }
      const form = parseForm(answer.body);
      const complaint = alertOn(answer.body);
      if (form === null || complaint !== null) {
        throw new SignInError(
          complaint ?? `The page at ${url.pathname} (status ${answer.status}) has no form.`,
        );
      }
      url = new URL(form.action, url);
      // A page that asks for the same again has not taken the answer, whatever it says.
      const question = `${url.pathname} ${form.names.join()}`;
      if (answered.has(question))
        throw new SignInError(`The page at ${url.pathname} asks for the same again.`);
      answered.add(question);
      submission = new URLSearchParams({ ...form.hidden, ...pick(typed, form.names) }).toString();
    }
    throw new SignInError(`The sign-in did not end within ${mostSteps} pages.`);
  } finally {
    agent.destroy();
  }

  async function visit(address: URL, form: string | undefined): Promise<Answer> {
    const headers: Record<string, string> = { accept: 'text/html' };
    const cookies = jar.headerFor(address.pathname);
    if (cookies !== '') headers['cookie'] = cookies;
    if (form !== undefined) headers['content-type'] = 'application/x-www-form-urlencoded';
    const method = form === undefined ? 'GET' : 'POST';
    const answer = await send({ ...connection, agent }, address, { method, headers, body: form ?? '' });
    jar.store(answer.headers['set-cookie']);
    return answer;
  }
}

interface Form {
  readonly action: string;
  readonly hidden: Readonly<Record<string, string>>;
  /** What there is to fill in or to press. */
  readonly names: readonly string[];
}

/** The first form of a page; null where there is none. */
function parseForm(page: string): Form | null {
  const [, head, content] = /<form\b([^>]*)>(.*?)<\/form>/s.exec(page) ?? [];
  if (head === undefined || content === undefined) return null;
  const controls = [...content.matchAll(/<(?:input|button)\b([^>]*)>/g)].map(([, text = '']) => ({
    name: attributeOf(text, 'name'),
    type: attributeOf(text, 'type'),
    value: attributeOf(text, 'value') ?? '',
  }));
  const hidden: Record<string, string> = {};
  const names: string[] = [];
  for (const { name, type, value } of controls) {
    if (name === undefined) continue;
    if (type === 'hidden') hidden[name] = value;
    else if (!names.includes(name)) names.push(name);
  }
  return { action: attributeOf(head, 'action') ?? '', hidden, names };
}

function alertOn(page: string): string | null {
  const text = /<p\b[^>]*\brole="alert"[^>]*>(.*?)<\/p>/s.exec(page)?.[1];
  return text === undefined ? null : unescape(text.trim());
}

function attributeOf(tag: string, name: string): string | undefined {
  const text = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1];
  return text === undefined ? undefined : unescape(text);
}

const characters: Readonly<Record<string, string>> = {
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
  '&amp;': '&',
};

function unescape(text: string): string {
  return text.replace(/&(?:lt|gt|quot|#39|amp);/g, (entity) => characters[entity] ?? entity);
}

function pick(values: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (name in values ? [[name, values[name]!]] : [])));
}
