import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { assertSecret, type Attempt, type Target } from './attempt.ts';
import { call } from './system.ts';

/** Runs a script of the shell; throws if it fails. Returns its output. */
function shell(script: string, ...words: readonly string[]): string {
  return execFileSync('/bin/sh', ['-c', script, 'sh', ...words], {
    encoding: 'latin1',
    stdio: 'pipe',
    timeout: 4_000,
  });
}

/**
 * Throws if a call fails with the error of the filter of system calls (EPERM). There is no terminal to call.
 */
function passesFilter(run: () => unknown): void {
  try {
    run();
  } catch (cause) {
    if (cause instanceof Error && Reflect.get(cause, 'errno') === constants.errno.EPERM) throw cause;
  }
}

/** Scripts that see what mounts hide: `$1` is home, `$2` a process outside. */
const mounting: readonly (readonly [what: string, script: string, unconfined?: Attempt['unconfined']])[] = [
  ['unmount what covers a hidden folder', 'umount "$1/.ssh"; cat "$1/.ssh/id_ed25519"'],
  [
    'unmount what covers a hidden folder in a user namespace of its own',
    'unshare -Ur -m sh -c \'umount -l "$1/.ssh" || umount -l "$1"; cat "$1/.ssh/id_ed25519"\' sh "$1"',
  ],
  [
    'bind home to another place in a user namespace of its own',
    'unshare -Ur -m sh -c \'mkdir -p m && mount --bind "$1" m && cat m/.ssh/id_ed25519\' sh "$1"',
  ],
  [
    'bind the root to another place in a user namespace of its own',
    'unshare -Ur -m sh -c \'mkdir -p m && mount --bind / m && cat "m$1/.ssh/id_ed25519"\' sh "$1"',
    'is not tried',
  ],
  [
    'lay home below an overlay in a user namespace of its own',
    'unshare -Ur -m sh -c \'mkdir -p m && mount -t overlay o -o lowerdir="$1:/usr" m && cat m/.ssh/id_ed25519\' sh "$1"',
  ],
  [
    'make home writable by a mount in a user namespace of its own',
    'unshare -Ur -m sh -c \'mount -o remount,bind,rw "$1" && echo x >> "$1/.bashrc" && cat "$1/.ssh/id_ed25519"\' sh "$1"',
    'is not tried',
  ],
  [
    'move the root (pivot_root) in a user namespace of its own',
    'unshare -Ur -m sh -c \'mkdir -p m && mount --rbind / m && mkdir -p m/tmp/o && cd m && pivot_root . tmp/o && cat "$1/.ssh/id_ed25519"\' sh "$1"',
    'is not tried',
  ],
  ['enter the files of the first process', 'nsenter -t 1 -m cat "$1/.ssh/id_ed25519"', 'is not tried'],
  [
    'enter the files of the process that started the run',
    'nsenter -t "$2" -m cat "$1/.ssh/id_ed25519"',
    'as root',
  ],
  ['change the root', 'chroot / cat "$1/.ssh/id_ed25519"', 'as root'],
];

/** Files of the kernel, opened to be written and left alone. */
const kernelFiles = [
  '/proc/sys/kernel/core_pattern',
  '/proc/sys/kernel/modprobe',
  '/proc/sysrq-trigger',
  '/proc/sys/vm/drop_caches',
  '/sys/kernel/uevent_helper',
  '/sys/power/state',
];

const processes: readonly Attempt[] = [
  {
    name: 'signal the process that started the run',
    run: ({ outerPid }) => process.kill(outerPid, 0),
    unconfined: 'succeeds',
  },
  {
    name: 'signal another process',
    run: ({ victimPid }) => process.kill(victimPid, 0),
    unconfined: 'succeeds',
  },
  {
    name: 'trace another process',
    run: ({ victimPid }) => call('ptrace', 0x4206, victimPid, 0, 0),
    unconfined: 'succeeds',
  },
  {
    name: 'trace the process that started the run',
    run: ({ outerPid }) => call('ptrace', 0x4206, outerPid, 0, 0),
    unconfined: 'is not tried',
  },
  {
    name: 'read the memory of another process',
    run: ({ victimPid }) => closeSync(openSync(`/proc/${victimPid}/mem`, 'r')),
    unconfined: 'succeeds',
  },
  {
    name: 'take an open file of another process',
    run: ({ victimPid }) => call('pidfd_getfd', call('pidfd_open', victimPid, 0), 0, 0),
    unconfined: 'succeeds',
  },
  {
    name: 'take a socket or pipe of the first process of the run',
    run() {
      for (let fd = 3; fd < 100; fd += 1) {
        const [isTaken] = [readlinkSync(`/proc/1/fd/${fd}`)].filter((name) => /^(socket|pipe)/.test(name));
        if (isTaken !== undefined) return;
      }
      throw new Error('none');
    },
    unconfined: 'is not tried',
  },
  {
    name: 'change the limits of another process',
    run: ({ victimPid }) => call('prlimit64', victimPid, 7, 0, Buffer.alloc(16)),
    unconfined: 'succeeds',
  },
  {
    name: 'see another process',
    run: ({ victimPid }) => readFileSync(`/proc/${victimPid}/status`),
    unconfined: 'succeeds',
    passes: { landlock: 'Landlock has no namespace of processes' },
  },
  {
    name: 'use the messages and shared memory of System V of this machine',
    run: ({ victimPid }) => call('msgget', victimPid, 0),
    unconfined: 'succeeds',
  },
];

const hasPrivileges: Attempt = {
  name: 'have or gain privileges (capabilities, setuid programs)',
  run() {
    const status = readFileSync('/proc/self/status', 'latin1');
    const first = readFileSync('/proc/1/status', 'latin1');
    const isClean =
      /^NoNewPrivs:\s1$/m.test(status) &&
      !/^Cap(Inh|Prm|Eff|Amb|Bnd):\s0*[1-9a-f]/m.test(status.replace(/^CapBnd.*$/m, isRoot ? '$&' : ''));
    if (isClean && (process.env['APART'] !== '1' || /^CapEff:\s0+$/m.test(first))) throw new Error('none');
  },
  unconfined: 'is not tried',
};
const isRoot = process.getuid?.() === 0;

export const kernel: readonly Attempt[] = [
  ...processes,
  hasPrivileges,
  ...mounting.map(([name, script, unconfined = 'succeeds']): Attempt => ({
    name,
    run: ({ home, outerPid }: Target) => assertSecret(shell(script, home, String(outerPid))),
    unconfined,
  })),
  ...kernelFiles.map((path): Attempt => ({
    name: `open ${path} to write`,
    run: () => closeSync(openSync(path, 'r+')),
    unconfined: 'is not tried',
  })),
  {
    name: 'make a device',
    run({ project }) {
      // A disk: the first of the virtual ones.
      call('mknodat', -100, Buffer.from(`${join(project, 'disk')}\0`), 0o60666, 254 * 256);
      closeSync(openSync(join(project, 'disk'), 'r'));
    },
    unconfined: 'is not tried',
  },
  {
    name: 'read the messages and files of debugging of the kernel',
    run: () => [readdirSync('/sys/kernel/debug'), openSync('/sys/kernel/debug/sched/features', 'r')],
    unconfined: 'is not tried',
  },
  {
    name: 'see a terminal of another program',
    run() {
      if (readdirSync('/dev/pts').every((name) => name === 'ptmx')) throw new Error('none');
      readdirSync('/dev/pts').forEach(
        (name) => name !== 'ptmx' && closeSync(openSync(`/dev/pts/${name}`, 'r+')),
      );
    },
    unconfined: 'is not tried',
  },
  {
    name: 'see a device that not every program uses',
    run() {
      const own = /^(null|zero|full|u?random|tty|console|ptmx|pts|shm|fd|core|std(in|out|err))$/;
      if (readdirSync('/dev').every((name) => own.test(name))) throw new Error('none');
    },
    unconfined: 'succeeds',
  },
  {
    name: 'open the memory of the machine',
    run: () => closeSync(openSync('/dev/mem', 'r')),
    unconfined: 'is not tried',
  },
  {
    name: 'use the keyrings of the kernel',
    run: () => call('keyctl', 0, -4, 1),
    unconfined: 'succeeds',
  },
  {
    name: 'store a key in the keyrings of the kernel',
    run: () => call('add_key', Buffer.from('user\0'), Buffer.from('sidekey-test\0'), Buffer.from('x'), 1, -4),
    unconfined: 'succeeds',
  },
  {
    name: 'use io_uring',
    run: () => call('io_uring_setup', 1, Buffer.alloc(120)),
    unconfined: 'is not tried',
  },
  ...(
    [
      ['type into a terminal (TIOCSTI)', 0x5412],
      ['choose what the console pastes (TIOCLINUX)', 0x541c],
      ['load another line discipline for a terminal (TIOCSETD)', 0x5423],
      ['close a terminal to other programs (TIOCEXCL)', 0x540c],
    ] as const
  ).map(([name, request]): Attempt => ({
    name,
    run: () => passesFilter(() => call('ioctl', 0, request, Buffer.alloc(16))),
    unconfined: 'succeeds',
  })),
];
