import { makeSdk } from '../../tools/sdk/generate.ts';

/** Makes the files that are not in git, before the first test. */
export default makeSdk;
