/**
 * Returns the address to send a browser back to; null if it is not registered, or if parsers may disagree on
 * it.
 *
 * @param registered addresses without a query; each covers its own path and the paths below it
 */
export function returnUrl(text: string, registered: readonly string[]): URL | null {
  const url = URL.parse(text);
  // Only the normal form: no user information, backslash, dot segment, upper case or number as the host.
  if (url === null || url.href !== text || url.username !== '' || url.password !== '') return null;
  if (text.includes('#') || url.pathname.includes('//') || /%(?:2e|2f|5c|00)/i.test(url.pathname))
    return null;
  return registered.some((prefix) => covers(new URL(prefix), url)) ? url : null;
}

function covers({ origin, pathname }: URL, url: URL): boolean {
  const folder = pathname.endsWith('/') ? pathname : `${pathname}/`;
  return origin === url.origin && (url.pathname === pathname || url.pathname.startsWith(folder));
}
