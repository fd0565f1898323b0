import type { Grant } from '../grants/grant.ts';
import type { Provider } from '../grants/provider.ts';
import type { Holder, PlaceholderCodes } from './codes.ts';
import { jwtForm, plainForm, readForm, type PlaceholderForm } from './form.ts';

/** Who holds placeholders, for which grant. */
export interface HeldGrant {
  readonly holders: readonly Holder[];
  /** Id. */
  readonly grant: string;
}

/** Every text that stands for a grant in these hands: in the forms of its provider's variables, and in those for any. */
export function placeholdersOf(
  { holders, grant }: HeldGrant,
  { environment }: Pick<Provider, 'environment'>,
  codes: Pick<PlaceholderCodes, 'make'>,
): readonly string[] {
  const own = environment.flatMap(({ placeholder }) => formsOf(placeholder));
  const forms = [...own, plainForm, jwtForm];
  return [...new Set(forms.flatMap((form) => holders.map((holder) => codes.make(form, holder, grant))))];
}

/** What stands in for the credential of a provider in a program's environment. */
export type Mint = (provider: string, template: string) => string;

/**
 * Placeholders for a holder, each for the first of its grants of that provider: those that the domain map offers come first. A template without room for a code stays
 * as it is, and so does one of a provider of which there is no grant.
 */
export function mintFor(
  holder: Holder,
  grants: readonly Pick<Grant, 'id' | 'provider'>[],
  codes: Pick<PlaceholderCodes, 'make'>,
): Mint {
  return (provider, template) => {
    const form = readForm(template);
    const grant = grants.find((each) => each.provider === provider);
    return form === null || grant === undefined ? template : codes.make(form, holder, grant.id);
  };
}

function formsOf(template: string | null): readonly PlaceholderForm[] {
  const form = template === null ? null : readForm(template);
  return form === null ? [] : [form];
}
