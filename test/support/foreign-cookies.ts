/** `Set-Cookie` fields of a server on another port, by what is wrong with them. The last is the heaviest. */
export const foreignCookies: Readonly<Record<string, readonly string[]>> = {
  'of the former names of Sidekey': [
    `sidekey=${'a'.repeat(43)}; Path=/`,
    'sidekey-session=x; Path=/',
    'sidekey-browser=x; Path=/',
  ],
  'of one name and several paths': ['/', '/v2', '/v2/me', '/sign-in', '/connect'].map(
    (path) => `sidekey=${'b'.repeat(43)}; Path=${path}`,
  ),
  'with values that are no text': [
    'sidekey="; Path=/',
    'x=\u00ff\u00fe; Path=/',
    '=nameless; Path=/',
    'y=a,b=c; Path=/',
  ],
  'without an end': ['z; Path=/', 'sidekey; Path=/; Max-Age=31536000', 'sidekey=; Path=/'],
  'of the greatest number and size': Array.from(
    { length: 180 },
    (_, index) => `c${index}=${'x'.repeat(4_000)}; Path=/; Max-Age=31536000`,
  ),
};

/** Returns the field `Cookie` that a browser with these cookies sends. */
export function cookieFieldOf(cookies: readonly string[]): string {
  return cookies.map((each) => each.split(';')[0]).join('; ');
}
