import type { Sample } from './measures.ts';

/** All that was measured, by subject and by measure, a sample a round. */
export class Results {
  readonly #samples = new Map<string, Sample[]>();
  readonly #gaps = new Map<string, string>();
  /** Windows that were not used, because the machine was busy with other work, and such windows that were. */
  dropped = 0;
  busy = 0;

  add(subject: string, measure: string, sample: Sample): void {
    const key = `${subject} ${measure}`;
    this.#samples.set(key, [...(this.#samples.get(key) ?? []), sample]);
  }

  /** Notes why there is no figure. */
  leaveOut(subject: string, measure: string, reason: string): void {
    this.#gaps.set(`${subject} ${measure}`, reason);
  }

  gap(subject: string, measure: string): string | null {
    return this.#gaps.get(`${subject} ${measure}`) ?? null;
  }

  /** A figure of every round. */
  all(subject: string, measure: string, figure: string): readonly number[] {
    return (this.#samples.get(`${subject} ${measure}`) ?? []).flatMap(({ figures }) => figures[figure] ?? []);
  }

  /** True if the client limited the rate in most rounds. */
  isClientBound(subject: string, measure: string): boolean {
    const samples = this.#samples.get(`${subject} ${measure}`) ?? [];
    return samples.filter((sample) => sample.isClientBound).length * 2 > samples.length;
  }

  /** All measurements, for `--json`. */
  raw(): Readonly<Record<string, unknown>> {
    return {
      samples: Object.fromEntries(this.#samples),
      left_out: Object.fromEntries(this.#gaps),
    };
  }
}

/** The middle one; NaN of none. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
