import { SidekeyError } from '../../errors.ts';

/** One step of the decision, in the order of the proxy. */
export interface Step {
  readonly step: StepName;
  readonly ok: boolean;
  readonly text: string;
}

/** The steps, in the order of the proxy. */
export type StepName =
  'authority' | 'agent' | 'domain' | 'decision' | 'grant' | 'token' | 'audience' | 'injection' | 'address';

/** Notes each step that was gone. */
export interface Trail {
  went(step: StepName, text: string): void;
  /** Notes the step at which the way ends, and ends it. */
  failed(step: StepName, refusal: SidekeyError): never;
}

/** A way that was gone to its end, or to the step that refused. */
export interface Walked {
  readonly steps: readonly Step[];
  /** Null: the request would leave. */
  readonly refusal: SidekeyError | null;
  /** How it would leave, as the end of a sentence; `refused`. */
  readonly outcome: string;
}

/**
 * Follows a way that answers how it ends.
 *
 * @throws what the way throws, other than the refusal that it noted
 */
export async function follow(way: (trail: Trail) => Promise<string>): Promise<Walked> {
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
    return { steps, refusal: null, outcome: await way(trail) };
  } catch (error) {
    if (!(error instanceof SidekeyError) || error !== noted) throw error;
    return { steps, refusal: error, outcome: 'refused' };
  }
}
