/** `1F:0C:9A:…`, as other tools show it, so that it can be compared by eye. */
export function fingerprintText(hex: string): string {
  return hex.toUpperCase().match(/../g)?.join(':') ?? '';
}
