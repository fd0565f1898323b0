/** A field line: its name as it is written, and its value. */
export type Field = readonly [name: string, value: string];
