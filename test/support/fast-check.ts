/**
 * fast-check with a constant seed, so that a run in CI does not find new counterexamples.
 * `SIDEKEY_SEED=random npm test -- test/property` looks for new ones.
 */
import { configureGlobal } from 'fast-check';

const seed = process.env.SIDEKEY_SEED ?? '1';
if (seed !== 'random') configureGlobal({ seed: Number(seed) });

export * from 'fast-check';
