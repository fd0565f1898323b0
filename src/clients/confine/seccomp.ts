import { constants } from 'node:os';
import { SidekeyError } from '../../lib/errors.ts';

/**
 * A filter of system calls (seccomp(2)), as a program of classic BPF. No rule depends on a path, because a
 * filter cannot read memory.
 */

/** Instructions of `linux/bpf_common.h`, and answers of `linux/seccomp.h`. */
const load = 0x20;
const jumpIfEqual = 0x15;
const jumpIfAny = 0x45;
const answer = 0x06;
const allow = 0x7fff0000;
const refuse = 0x00050000;

/** Offsets in `struct seccomp_data`: number, architecture, and the low halves of the arguments. */
const atNumber = 0;
const atArchitecture = 4;
const argument = (index: number) => 16 + 8 * index;

/** Numbers of the calls (`asm/unistd.h`), and of the architecture (`linux/audit.h`), for x64 and arm64. */
const numbers = {
  audit: [0xc000003e, 0xc00000b7],
  ioctl: [16, 29],
  socket: [41, 198],
  socketpair: [53, 199],
  listen: [50, 201],
  sendto: [44, 206],
  sendmsg: [46, 211],
  sendmmsg: [307, 269],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  prlimit64: [302, 261],
  shmget: [29, 194],
  semget: [64, 190],
  msgget: [68, 186],
  mq_open: [240, 180],
  shmat: [30, 196],
  shmctl: [31, 195],
  semop: [65, 193],
  semctl: [66, 191],
  semtimedop: [220, 192],
  msgsnd: [69, 189],
  msgrcv: [70, 188],
  msgctl: [71, 187],
  io_uring_setup: [425, 425],
} as const;
type Architecture = Readonly<Record<keyof typeof numbers, number>>;

/** Returns the numbers of an architecture; null: they are not known. */
function numbersOf(arch: string): Architecture | null {
  const at = ['x64', 'arm64'].indexOf(arch);
  if (at < 0) return null;
  const pairs = Object.entries(numbers).map(([name, pair]) => [name, pair[at]]);
  return Object.fromEntries(pairs) as Architecture;
}

/** Bit in the numbers of the x32 interface, which has separate calls for the same functions. */
const x32 = 0x40000000;

/**
 * Requests whose effect on a terminal outlasts the run (ioctl_tty(2), ioctl_console(2)): `TIOCSTI` types into
 * it, `TIOCLINUX` pastes on the console, `TIOCSETD` loads a line discipline, `TIOCEXCL` closes it to others.
 * `TIOCSCTTY` is allowed: terminal programs need it, and only a capability takes a terminal from a session.
 */
const refusedIoctls = [0x5412, 0x541c, 0x5423, 0x540c];
/** Families of sockets: `AF_UNIX`, `AF_INET`, `AF_NETLINK`, `AF_INET6`. */
const [unix, inet, netlink, inet6] = [1, 2, 16, 10];
const stream = 1;
const sequence = 5;
/** Calls for memory, semaphores and messages that processes of a machine share by a number. */
const sharedByNumber = [
  'shmget',
  'shmat',
  'shmctl',
  'semget',
  'semop',
  'semctl',
  'semtimedop',
  'msgget',
  'msgsnd',
  'msgrcv',
  'msgctl',
  'mq_open',
] as const;
/** Bits of a socket's type that are not flags. */
const typeBits = 0xf;
const fastOpen = 0x20000000;

type Instruction = readonly [code: number, jt: number, jf: number, value: number];

/**
 * Returns the program, in the form that `bwrap --seccomp` reads. Refuses `refusedIoctls` and the keyrings of
 * the kernel. Refuses `io_uring`, whose work no filter sees. Refuses socket families that reach beyond a
 * namespace (`AF_VSOCK`). Refuses programs of another architecture every call.
 *
 * @param sockets `tcp`: refuses all sockets except TCP clients, and what a process could do to
 * others, for a command without namespaces
 * @throws SidekeyError `input_invalid` if the numbers of this architecture are not known
 */
export function seccompProgram(sockets: 'all' | 'tcp'): Buffer {
  const calls = numbersOf(process.arch);
  if (calls === null)
    throw new SidekeyError('input_invalid', `No filter of system calls is known for ${process.arch}.`, {
      hint: 'run the program in a container that reaches nothing but the proxy: docs/containers.md',
    });
  const { EPERM, ENOSYS, EACCES, EAFNOSUPPORT } = constants.errno;
  const program: Instruction[] = [
    [load, 0, 0, atArchitecture],
    [jumpIfEqual, 1, 0, calls.audit],
    [answer, 0, 0, refuse | ENOSYS],
    [load, 0, 0, atNumber],
    ...(process.arch === 'x64'
      ? ([
          [jumpIfAny, 0, 1, x32],
          [answer, 0, 0, refuse | ENOSYS],
        ] as const)
      : []),
    ...(['keyctl', 'add_key', 'request_key'] as const).flatMap((name) =>
      onCall(calls[name], [[answer, 0, 0, refuse | EPERM]]),
    ),
    ...onCall(calls.io_uring_setup, [[answer, 0, 0, refuse | ENOSYS]]),
    ...onCall(calls.ioctl, [
      [load, 0, 0, argument(1)],
      ...refusedIoctls.flatMap((request) => onCall(request, [[answer, 0, 0, refuse | EPERM]])),
      [answer, 0, 0, allow],
    ]),
    ...(sockets === 'tcp' ? withoutNamespaces(calls, EACCES) : knownFamilies(calls, EAFNOSUPPORT)),
    [answer, 0, 0, allow],
  ];
  return Buffer.concat(program.map(encode));
}

/** Refuses sockets of other families than those that every program may need. */
function knownFamilies(calls: Architecture, error: number): readonly Instruction[] {
  return (['socket', 'socketpair'] as const).flatMap((name) =>
    onCall(calls[name], [
      [load, 0, 0, argument(0)],
      ...[unix, inet, netlink, inet6].flatMap((family) => onCall(family, [[answer, 0, 0, allow]])),
      [answer, 0, 0, refuse | error],
    ]),
  );
}

/**
 * Refuses all sockets except TCP clients and sockets for routing tables, and refuses connections by the first
 * data sent. Refuses limits of other processes, and memory, semaphores and messages that processes share by a
 * number.
 */
function withoutNamespaces(calls: Architecture, error: number): readonly Instruction[] {
  const no: Instruction = [answer, 0, 0, refuse | error];
  const yes: Instruction = [answer, 0, 0, allow];
  const flagsAt = { sendto: 3, sendmsg: 2, sendmmsg: 3 } as const;
  const typeIsOf = (...types: readonly number[]): readonly Instruction[] => [
    [load, 0, 0, argument(1)],
    [0x54, 0, 0, typeBits],
    ...types.flatMap((type) => onCall(type, [yes])),
    no,
  ];
  return [
    ...onCall(calls.socket, [
      [load, 0, 0, argument(0)],
      ...onCall(unix, [no]),
      // Routing tables (rtnetlink(7)), which list addresses.
      ...onCall(netlink, [[load, 0, 0, argument(2)], [jumpIfEqual, 0, 1, 0], yes, no]),
      [jumpIfEqual, 2, 0, inet],
      [jumpIfEqual, 1, 0, inet6],
      no,
      // The protocol: none named, or TCP.
      [load, 0, 0, argument(2)],
      [jumpIfEqual, 2, 0, 0],
      [jumpIfEqual, 1, 0, 6],
      no,
      ...typeIsOf(stream),
    ]),
    // A datagram socket of a pair can still connect to any Unix socket.
    ...onCall(calls.socketpair, [[load, 0, 0, argument(0)], ...onCall(unix, typeIsOf(stream, sequence)), no]),
    // Everybody could connect. Landlock does not see a listening socket that has bound no port.
    ...onCall(calls.listen, [no]),
    // The process itself is 0.
    ...onCall(calls.prlimit64, [[load, 0, 0, argument(0)], ...onCall(0, [yes]), no]),
    ...sharedByNumber.flatMap((name) => onCall(calls[name], [no])),
    ...(['sendto', 'sendmsg', 'sendmmsg'] as const).flatMap((name) =>
      onCall(calls[name], [[load, 0, 0, argument(flagsAt[name])], [jumpIfAny, 0, 1, fastOpen], no, yes]),
    ),
  ];
}

/** Runs instructions if the loaded value equals another, and skips them otherwise. */
function onCall(value: number, then: readonly Instruction[]): readonly Instruction[] {
  return [[jumpIfEqual, 0, then.length, value], ...then];
}

function encode([code, jt, jf, value]: Instruction): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(jt, 2);
  bytes.writeUInt8(jf, 3);
  bytes.writeUInt32LE(value >>> 0, 4);
  return bytes;
}
