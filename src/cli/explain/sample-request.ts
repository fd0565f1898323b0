import type { InjectPlan } from '../../grants/provider.ts';

/** The least of a request that a credential can be put into. */
export interface SampleRequest {
  readonly path: string;
  readonly fields: readonly string[];
  /** Null: none. */
  readonly body: Buffer | null;
}

/** A request that a plan can be shown by: explain knows a method and a path, and no body. */
export function sampleRequest(plan: InjectPlan): SampleRequest {
  switch (plan.kind) {
    case 'path':
      return { path: `${plan.prefixes[0]}/`, fields: [], body: null };
    case 'json':
      return { path: '/', fields: ['Content-Type', 'application/json'], body: Buffer.from('{}') };
    case 'form':
      return {
        path: '/',
        fields: ['Content-Type', 'application/x-www-form-urlencoded'],
        body: Buffer.from('a=b'),
      };
    default:
      return { path: '/', fields: [], body: null };
  }
}
