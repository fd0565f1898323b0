import * as fc from './fast-check.ts';

const characters = 'ABCXYZabcxyz0189._@|+~-'.split('');

/** Any name of a user. Many resemble each other, a path, an option or a selector. */
export const userName: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom('A', 'a', '0', 'z'),
    fc.array(fc.oneof(fc.constantFrom(...characters), fc.constantFrom('--user', '+grant', '..', 'ice')), {
      maxLength: 20,
    }),
  )
  .map(([first, rest]) => first + rest.join(''));

/** User IDs of products, and names that differ from them in little. */
export const userNames = [
  'alice',
  'Alice',
  'alice@example.com',
  'Alice@example.com',
  'alice+tag@example.com',
  'alice+grant',
  'alice|grant',
  'auth0|123',
  'google-oauth2|1',
  'samlp|corp|a~b',
  '00u1..x--user',
  '3f0e5d1c-6f0b-4f43-9a56-0d5a4c1b2e3f',
  'a'.repeat(128),
];

/** Texts that name no user. Each could be taken for something else if it did. */
export const notUserNames = [
  '',
  '..',
  '.alice',
  '--user',
  '-x',
  '+alice',
  '@alice',
  '|alice',
  '~root',
  'alice/github',
  '../alice',
  'alice:token',
  'alice=1',
  'alice+grant=github',
  'alice%40example.com',
  'alice%2fbob',
  'alice bob',
  'alice\nbob',
  'alice\n',
  'alice\0',
  'alice,bob',
  'alice;id',
  'alice$(id)',
  'alice`id`',
  "o'brien@example.com",
  '=1+1',
  'al\u0131ce',
  'аlice',
  'alice\u200b',
  'ａlice',
  'a'.repeat(129),
];
