import { signal } from '@preact/signals';
import { call, path } from './api.ts';
import { referenceOf } from './matrix.tsx';
import type { Grant } from '../sdk/client/operations.ts';

/** Names of grants by their ID. */
const names = signal<Readonly<Record<string, string>>>({});
const requested = new Set<string>();
let running = 0;
/** Maximum number of requests for names at one time: rows of any number of grants may pass. */
const maxRunning = 4;

/** Returns the name of a grant for people, as far as it is known: the page renders again when it comes. */
export function grantName(id: string): string {
  if (!requested.has(id) && running < maxRunning) {
    requested.add(id);
    running += 1;
    void call<Grant>(path`GET /v2/grants/${id}`)
      .then((grant) => (names.value = { ...names.value, [id]: referenceOf(grant) }))
      // A removed grant has no name.
      .catch(() => {})
      .finally(() => (running -= 1));
  }
  return names.value[id] ?? id.slice(0, 8);
}
