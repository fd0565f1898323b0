import type { Domain } from '../../policy/domain-map.ts';
import { echoWords } from './echo-words.ts';

/** What an entry does, in a few words. */
export function describeAction({ action }: Domain): string {
  switch (action.kind) {
    case 'tunnel':
      return 'tunnel (blind, no credential)';
    case 'deny':
      return 'refused';
    case 'grant':
      return [
        `grant ${action.grant}`,
        action.insecure ? ', also over plain http' : '',
        echoWords[action.echoGuard ?? 'auto'].inMap,
      ].join('');
  }
}
