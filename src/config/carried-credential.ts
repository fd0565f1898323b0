import type { InjectPlace, PastedToken } from '../grants/provider.ts';
import { namesOf } from '../policy/hmac-names.ts';
import { namesIn, parseTemplate } from '../policy/template.ts';

/** What of a definition says which credentials there are, and how they are carried. */
interface Carriage {
  readonly inject?: readonly InjectPlace[] | undefined;
  readonly token?: PastedToken | undefined;
  readonly flows?: readonly unknown[] | undefined;
}

/**
 * Why no credential that `connect` gets for a provider could be carried as its `inject` says: the end of a sentence. Null:
 * one could, or nothing is said of how one is got.
 */
export function carriageProblem({ inject = [], token, flows = [] }: Carriage): string | null {
  const carried = token?.carry.kind;
  if (carried === undefined && flows.length === 0) return null;
  const isSingle = flows.length > 0 || carried === 'inject';
  const isPair = carried === 'basic';
  for (const { as: plan } of inject) {
    const wants = wantedBy(plan);
    if (wants === 'pair' && !isPair) {
      return 'names a user name and a password, and what is connected has none: write token: { carry: { basic: … } }';
    }
    if (wants === 'single' && !isSingle)
      return 'carries one value, and what is connected is none: leave carry out';
    if (wants === 'secret' && !isSingle && !isPair) {
      return 'signs with one value, or with a user name and a password, and what is connected is neither';
    }
  }
  return null;
}

/** `secret`: either will do. Null: whatever there is. */
function wantedBy(plan: InjectPlace['as']): 'single' | 'pair' | 'secret' | null {
  switch (plan.kind) {
    case 'cookie':
    case 'json':
    case 'form':
      return 'single';
    case 'headers': {
      const names = plan.headers.flatMap(([, written]) => namesIn(parseTemplate(written) ?? []));
      return names.includes('token') ? 'single' : 'pair';
    }
    case 'hmac':
      return namesOf(plan).includes('key') ? 'pair' : 'secret';
    default:
      return null;
  }
}
