/** Loaded into a node before anything else: sets its clock by SKEW_MS milliseconds. */
const skewMs = Number(process.env['SKEW_MS']);
const { now } = Date;

globalThis.Date = class extends Date {
  constructor(...given: readonly unknown[]) {
    super(...((given.length === 0 ? [now() + skewMs] : given) as [number]));
  }

  static override now(): number {
    return now() + skewMs;
  }
} as typeof Date;
