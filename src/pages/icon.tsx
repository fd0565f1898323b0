import { signal } from '@preact/signals';
import type { JSX } from 'preact';

/** Icons of providers, and tiles with letters for those without one. */

/** Paths by the name of the provider, on a field of 24 by 24; undefined: not requested yet. */
const icons = signal<Readonly<Record<string, string>> | undefined>(undefined);

async function load(): Promise<void> {
  icons.value = {};
  try {
    icons.value = (await (await fetch('/ui/icons.json')).json()) as Readonly<Record<string, string>>;
  } catch {
    // Letters stay.
  }
}

/** The icon of a provider. It says nothing to screen readers: the name is beside it. */
export function Icon({ provider }: { readonly provider: string }): JSX.Element {
  if (icons.peek() === undefined) void load();
  const paths = icons.value ?? {};
  const path = Object.hasOwn(paths, provider) ? paths[provider] : undefined;
  if (path !== undefined)
    return (
      <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
        <path d={path} />
      </svg>
    );
  const words = provider.split('-');
  const letters = words.length > 1 ? words.map((word) => word.slice(0, 1)).join('') : provider;
  const sum = Array.from(provider).reduce((total, letter) => (total * 31 + letter.charCodeAt(0)) % 9_973, 7);
  return (
    <span class="icon letters" style={{ '--hue': (sum % 8) * 45 }} aria-hidden="true">
      {letters.slice(0, 2)}
    </span>
  );
}
