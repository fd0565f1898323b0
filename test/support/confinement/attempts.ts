import type { Attempt } from './attempt.ts';
import { changes } from './changes.ts';
import { connections } from './connections.ts';
import { kernel } from './kernel.ts';
import { reads } from './reads.ts';

/** All attempts, in the order in which the command makes them. */
export const attempts: readonly Attempt[] = [...reads, ...connections, ...kernel, ...changes];
