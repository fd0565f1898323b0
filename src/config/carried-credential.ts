import type { InjectPlace, PastedToken, PlaceholderPlace } from '../grants/provider.ts';
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

/**
 * Why nothing could take the place of a placeholder where a definition says so: the end of a sentence. Null: it could. A
 * signature over what is replaced behind it would not hold, and credentials that sign are no value that could stand anywhere.
 */
export function placeholdersProblem({ inject = [], placeholders = [], dpop = null }: Placing): string | null {
  if (placeholders.length === 0) return null;
  const signs = inject.find(({ as: { kind } }) => signing.has(kind));
  if (signs !== undefined) return `does not go with inject: ${signs.as.kind}, which sends no credential`;
  const inTarget = placeholders.find((place) => place === 'path');
  return inTarget !== undefined && dpop !== null
    ? 'names the path, which the proofs of dpop are signed over'
    : null;
}

const signing: ReadonlySet<string> = new Set(['aws_sigv4', 'hmac', 'client_certificate']);

/** What of a definition says where placeholders become the credential. */
interface Placing extends Pick<Carriage, 'inject'> {
  readonly placeholders?: readonly PlaceholderPlace[] | undefined;
  readonly dpop?: unknown;
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
