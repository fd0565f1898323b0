/**
 * The name of a parameter or a cookie as the most forgiving server reads it: decoded, without case, up to what makes an
 * array of it (`key[]`), with `.` and blanks as the underscore that PHP makes of them. What is of one name by this is of
 * one name to somebody, and of two such he might read the wrong one.
 */
export function forgivingName(written: string): string {
  // Nearly all are plain.
  if (/^[a-z0-9_-]*$/.test(written)) return written;
  const decoded = written
    .replaceAll('+', ' ')
    .replace(/%u([0-9A-Fa-f]{4})|%([0-9A-Fa-f]{2})/g, (_, wide?: string, byte?: string) =>
      String.fromCharCode(Number.parseInt(wide ?? byte ?? '', 16)),
    );
  const [whole = ''] = decoded.split('\0', 1);
  return whole
    .trim()
    .replace(/(?<=.)\[.*$/s, '')
    .replace(/[ .]/g, '_')
    .toLowerCase();
}
