/** A text as one word of a POSIX shell, in quotes where the shell would act on it: for a line to paste. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
