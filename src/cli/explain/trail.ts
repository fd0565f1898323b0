import { SidekeyError } from '../../errors.ts';

/** One step of the decision, in the order of the proxy. */
export interface Step {
  readonly step: StepName;
  readonly ok: boolean;
  readonly text: string;
}

/** The steps, in the order of the proxy. */
export type StepName =
  | 'authority'
  | 'lease'
  | 'agent'
  | 'domain'
  | 'rule'
  | 'decision'
  | 'grant'
  | 'token'
  | 'approval'
  | 'audience'
  | 'injection'
  | 'echoes'
  | 'address';

/** Notes each step that was gone. */
export interface Trail {
  went(step: StepName, text: string): void;
  /** Notes the step at which the way ends, and ends it. */
  failed(step: StepName, refusal: SidekeyError): never;
}

/** How a way ends that nothing refuses. */
export interface Ending {
  /** How the request would leave, as the end of a sentence. */
  readonly outcome: string;
  /** Whether a person is asked first. */
  readonly held: boolean;
}

/** A way that was gone to its end, or to the step that refused. */
export interface Walked extends Ending {
  readonly steps: readonly Step[];
  /** Null: the request would leave, or wait. */
  readonly refusal: SidekeyError | null;
}

/**
 * Follows a way that answers how it ends.
 *
 * @throws what the way throws, other than the refusal that it noted
 */
export async function follow(way: (trail: Trail) => Promise<Ending>): Promise<Walked> {
  const steps: Step[] = [];
  let noted: SidekeyError | null = null;
  const trail: Trail = {
    went(step, text) {
      steps.push({ step, ok: true, text });
    },
    failed(step, refusal) {
      steps.push({ step, ok: false, text: refusal.message });
      noted = refusal;
      throw refusal;
    },
  };
  try {
    return { steps, refusal: null, ...(await way(trail)) };
  } catch (error) {
    if (!(error instanceof SidekeyError) || error !== noted) throw error;
    return { steps, refusal: error, outcome: 'refused', held: false };
  }
}
