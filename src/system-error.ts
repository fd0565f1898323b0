/** The system's name of an error, such as `ENOENT`, which is worth a search; `unknown error` where it has none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

/** Whether it is one of these errors of the system. */
export function isSystemError(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes(systemCode(error));
}
