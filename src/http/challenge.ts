/** One challenge (RFC 9110 §11.6.1). The scheme and the parameter names are in lower case. The first of two equal names counts. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Maximum number of characters of a field that are read. */
const maxLength = 8_192;

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const equals = /[ \t]*=[ \t]*/y;
const quoted = /"((?:[^"\\]|\\[^])*)"/y;
/** A token68, as Negotiate sends it, before a comma or the end. */
const token68 = /[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const between = /[ \t,]*/y;

/**
 * Returns the challenges of one `WWW-Authenticate` field in linear time. The first syntax error ends the list. Parameters
 * without commas between them are accepted.
 */
export function challengesIn(field: string): readonly Challenge[] {
  const text = field.slice(0, maxLength);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  for (;;) {
    take(between);
    const name = take(token)?.[0].toLowerCase();
    if (name === undefined) return challenges;
    if (take(equals) === null) {
      challenges.push({ scheme: name, parameters: new Map() });
      take(token68);
      continue;
    }
    const [, inQuotes] = take(quoted) ?? [];
    const value = inQuotes?.replace(/\\([^])/g, '$1') ?? take(token)?.[0];
    const parameters = challenges.at(-1)?.parameters;
    if (value === undefined || parameters === undefined) return challenges;
    if (!parameters.has(name)) parameters.set(name, value);
  }
}
