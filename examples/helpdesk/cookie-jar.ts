/** A browser's cookies for one host (the part of RFC 6265 §5 that one host needs). */
export interface CookieJar {
  /** Takes the `Set-Cookie` fields of a response. */
  store(fields: readonly string[] | undefined): void;
  /** The `Cookie` field for a request to this path; '' where none fits. */
  headerFor(path: string): string;
}

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly path: string;
}

/** An empty jar. */
export function createCookieJar(): CookieJar {
  const cookies = new Map<string, Cookie>();
  return {
    store(fields = []) {
      for (const field of fields) {
        const [pair = '', ...attributes] = field.split(';').map((part) => part.trim());
        const at = pair.indexOf('=');
        const name = pair.slice(0, at);
        const path = attribute(attributes, 'path') ?? '/';
        const key = `${name};${path}`;
        if (hasEnded(attributes)) cookies.delete(key);
        else cookies.set(key, { name, value: pair.slice(at + 1), path });
      }
    },
    headerFor(path) {
      return [...cookies.values()]
        .filter((cookie) => matches(path, cookie.path))
        .map(({ name, value }) => `${name}=${value}`)
        .join('; ');
    },
  };
}

function attribute(attributes: readonly string[], name: string): string | undefined {
  const found = attributes.find((text) => text.toLowerCase().startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

function hasEnded(attributes: readonly string[]): boolean {
  const maxAge = attribute(attributes, 'max-age');
  if (maxAge !== undefined) return Number(maxAge) <= 0;
  const expires = attribute(attributes, 'expires');
  return expires !== undefined && Date.parse(expires) <= Date.now();
}

/** RFC 6265 §5.1.4. */
function matches(path: string, cookiePath: string): boolean {
  if (path === cookiePath) return true;
  return path.startsWith(cookiePath.endsWith('/') ? cookiePath : `${cookiePath}/`);
}
