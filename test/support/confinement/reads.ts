import { linkSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { assertSecret, type Attempt, type Target } from './attempt.ts';

/** Files that a confined command must not read. */
const hidden: readonly (readonly [what: string, path: (target: Target) => string])[] = [
  ['a key of SSH', ({ home }) => join(home, '.ssh/id_ed25519')],
  ['a credential file at the top of home', ({ home }) => join(home, '.netrc')],
  ['a credential in a folder that is hidden', ({ home }) => join(home, 'snap/token')],
  ['the token of gh', ({ home }) => join(home, '.config/gh/hosts.yml')],
  ['a credential file that a variable names', ({ outside }) => join(outside, 'aws-credentials')],
  ['the config of Sidekey', ({ sidekey }) => join(sidekey, 'config/sidekey.yaml')],
  ['the key of Sidekey', ({ sidekey }) => join(sidekey, 'data/master.key')],
  ['the store of Sidekey', ({ sidekey }) => join(sidekey, 'data/sidekey.db')],
  ['the audit log of Sidekey', ({ sidekey }) => join(sidekey, 'data/audit.jsonl')],
  ['the CA of Sidekey', ({ sidekey }) => join(sidekey, 'certs/ca.key')],
  ['a client secret of Sidekey', ({ clientSecret }) => clientSecret],
  ['a client secret of a definition of Sidekey', ({ outside }) => join(outside, 'definition.secret')],
  ['a private key of a certificate of Sidekey', ({ outside }) => join(outside, 'tls/admin.key')],
  ['Sidekey at its usual place', ({ home }) => join(home, '.local/state/sidekey/data/master.key')],
  ['a key of SSH through a link in the project', ({ project }) => join(project, 'link-to-ssh/id_ed25519')],
  ['a credential file through a link in home', ({ home }) => join(home, 'link-to-netrc')],
  ['a credential file whose name in home is a link', ({ home }) => join(home, 'dotfiles/npmrc')],
  ['a key of SSH by the root of its process', ({ home }) => `/proc/self/root${home}/.ssh/id_ed25519`],
  [
    'a key of SSH by its working folder',
    ({ home, project }) => `/proc/self/cwd/${relative(project, home)}/.ssh/id_ed25519`,
  ],
  [
    'a key of SSH by the root of another process',
    ({ home, outerPid }) => `/proc/${outerPid}/root${home}/.ssh/id_ed25519`,
  ],
  ['the environment of the process that started the run', ({ outerPid }) => `/proc/${outerPid}/environ`],
  ['a file in the temporary folder of the machine', ({ temp }) => join(temp, 'secret')],
];

/** Files that appear, or are replaced, while the command runs. */
const replaced: readonly (readonly [
  what: string,
  path: (target: Target) => string,
  passes?: Attempt['passes'],
])[] = [
  ['a key of Sidekey that is rotated during the run', ({ sidekey }) => join(sidekey, 'data/master.key')],
  ['a credential file that is replaced during the run', ({ home }) => join(home, '.netrc')],
  ['a credential file that appears during the run', ({ home }) => join(home, '.pypirc')],
  ['a credential file that appears in a folder of home', ({ home }) => join(home, '.cargo/credentials.toml')],
];

export const reads: readonly Attempt[] = [
  ...hidden.map(([what, path]): Attempt => ({
    name: `read ${what}`,
    run: (target) => assertSecret(readFileSync(path(target), 'latin1')),
    unconfined: 'succeeds',
  })),
  ...replaced.map(([what, path, passes = {}]): Attempt => ({
    name: `read ${what}`,
    async run(target, outer) {
      await outer(`replace ${path(target)}`);
      assertSecret(readFileSync(path(target), 'latin1'));
    },
    unconfined: 'succeeds',
    passes,
  })),
  {
    name: 'list the files of Sidekey',
    run({ sidekey }) {
      if (!readdirSync(join(sidekey, 'data')).includes('master.key')) throw new Error('not in it');
    },
    unconfined: 'succeeds',
  },
  {
    name: 'learn the name of a hidden file',
    run: ({ home }) => statSync(join(home, '.ssh/id_ed25519')),
    unconfined: 'succeeds',
    passes: { landlock: 'Landlock has no right for stat(2)' },
  },
  {
    name: 'make a hard link to a hidden file',
    run({ home, project }) {
      linkSync(join(home, '.netrc'), join(project, 'linked'));
      assertSecret(readFileSync(join(project, 'linked'), 'latin1'));
    },
    unconfined: 'succeeds',
  },
  {
    name: 'rename a hidden folder into the project',
    run({ home, project }) {
      renameSync(join(home, '.ssh'), join(project, 'moved'));
      renameSync(join(project, 'moved'), join(home, '.ssh'));
    },
    unconfined: 'succeeds',
  },
  {
    name: 'rename a client secret of Sidekey into a folder that the command reads',
    run({ clientSecret, project }) {
      renameSync(clientSecret, join(project, 'tools/moved'));
      renameSync(join(project, 'tools/moved'), clientSecret);
    },
    unconfined: 'succeeds',
  },
  {
    name: 'rename the folder of a client secret of Sidekey',
    run({ clientSecret }) {
      renameSync(dirname(clientSecret), `${dirname(clientSecret)}-moved`);
      renameSync(`${dirname(clientSecret)}-moved`, dirname(clientSecret));
    },
    unconfined: 'succeeds',
  },
  {
    name: 'read a file that a parent process left open',
    run() {
      const open = readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          // A pipe would wait.
          return statSync(`/proc/self/fd/${fd}`).isFile()
            ? [readFileSync(`/proc/self/fd/${fd}`, 'latin1')]
            : [];
        } catch {
          return [];
        }
      });
      assertSecret(open.join(''));
    },
    // Node.js closes them.
    unconfined: 'is not tried',
  },
  ...(['environ', 'cmdline'] as const).map((file): Attempt => ({
    name: `read a variable of the person in ${file} of any process`,
    run() {
      const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
      const texts = all.map((pid) => {
        try {
          return readFileSync(join('/proc', pid, file), 'latin1');
        } catch {
          return '';
        }
      });
      assertSecret(texts.join(''));
    },
    unconfined: 'succeeds',
    ...(file === 'cmdline' && {
      passes: { landlock: 'arguments of processes are files of /proc that everybody may read' },
    }),
  })),
  {
    name: 'read the files of another run',
    run: ({ temp }) => assertSecret(readFileSync(join(temp, 'sidekey-run-other/trust/ca.pem'), 'latin1')),
    unconfined: 'succeeds',
  },
];
