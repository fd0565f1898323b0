/**
 * Files whose tests need more of POSIX than Windows has, for `npm test` there. They concern functions that
 * exist on Windows too; those functions are also covered by the other tests.
 */
export const posixOnly: readonly string[] = [
  // Mode bits, owners and symbolic links.
  'store/run-file',
  'audit/head',
  'audit/log',
  'audit/pack',
  'audit/read-lines',
  'ca/authority',
  'ca/bundle',
  'clients/trust-files',
  'config/catalog',
  'config/load',
  'config/locate',
  'config/regular-file',
  'config/secret-reference',
  'config/sources',
  'config/watch',
  'config/write-config',
  'lib/private-file',
  'store/sqlite',
  'store/sqlite-file',
  'store/store-permissions',
  'store/vault/file',
  // A reset connection whose received bytes stay readable: Windows drops them.
  'proxy/upstream/read-before-failing',
  // Paths with slashes, in what is expected.
  'operations/find-logins',
  'grants/references',
  'clients/tables',
  'config/audit-settings',
  'config/problem',
  'docs-links',
  'grants/sources/source',
  'lib/error-facts',
  // Removal of a file that is open.
  'audit/file-lock',
  'audit/ship',
  'audit/writer-slot',
  // Programs: sh, sleep, openssl, getconf.
  'cli/connect/browser',
  'grants/lock-holder',
  'grants/sources/ask',
  'grants/missing-consent',
  'lib/shell-word',
  'proxy/upstream/client-certificates',
  'store/vault/secret-service',
  'proxy/upstream/dial',
  // Mechanisms of Linux.
  'clients/confine/landlock',
  'clients/confine/places',
  // Options of V8 that differ.
  'app/machine-gc',
]
  .map((name) => `test/unit/${name}.test.ts`)
  .concat(
    [
      // They start the API, which has not been tried on Windows.
      'connect/id-jag',
      'connect/kept-sign-in',
      'connect/oidc-clients',
      'connect/browser',
      'connect/elsewhere',
      'connect/needs',
      'connect/refusals',
      'connect/source',
      'connect/without-person',
      'grants/grant-activity',
      'grants/grant-import',
      'run/ca-install',
      'run/command',
      'run/env',
      'run/fetch',
      'run/confined',
      'run/opening',
      'run/signals',
      'run/skill',
    ].map((name) => `test/integration/${name}.test.ts`),
  );
