/** `WWW-Authenticate` as APIs write it (RFC 9110 §11.6.1). Pure; its time grows with the text, and no faster. */

/** What one challenge says. Names of parameters and the scheme are in lower case; of a name that comes twice the first counts. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Characters of one field that are read; what stands behind them is an upstream's that says too much. */
const most = 8_192;

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const equals = /[ \t]*=[ \t]*/y;
const quoted = /"((?:[^"\\]|\\[^])*)"/y;
/** Credentials of one piece, such as those of Negotiate; they end where a list goes on. */
const token68 = /[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const between = /[ \t,]*/y;

/**
 * The challenges of one field, which may be several. What cannot be read ends it: what came before counts. Parameters
 * without commas between them are read too, as some servers write them.
 */
export function challengesIn(field: string): readonly Challenge[] {
  const text = field.slice(0, most);
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
