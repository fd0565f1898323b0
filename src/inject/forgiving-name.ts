/**
 * The name of a parameter or a cookie as the most forgiving server reads it: decoded, without case, up to what makes an
 * array of it (`key[]`; to some `[key]` is the same), with `.` and blanks as the underscore that PHP makes of them. What is
 * of one name by this is of one name to somebody, and of two such he might read the wrong one.
 */
export function forgivingName(written: string): string {
  // Nearly all are plain.
  if (/^[a-z0-9_-]*$/.test(written)) return written;
  const plain = written.replaceAll('+', ' ');
  const decoded = plain.includes('%')
    ? plain.replace(/%u([0-9A-Fa-f]{4})|%([0-9A-Fa-f]{2})/g, (_, wide?: string, byte?: string) =>
        String.fromCharCode(Number.parseInt(wide ?? byte ?? '', 16)),
      )
    : plain;
  const end = decoded.indexOf('\0');
  return (end < 0 ? decoded : decoded.slice(0, end))
    .trim()
    .replace(/^\[+/, '')
    .replace(/[[\]].*$/s, '')
    .replace(/[ .]/g, '_')
    .toLowerCase();
}
