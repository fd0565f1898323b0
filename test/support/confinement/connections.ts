import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Attempt, Target } from './attempt.ts';
import { call, loopbackAddress, unixAddress } from './system.ts';

async function reach(to: string | { readonly port: number; readonly host: string }): Promise<void> {
  const socket = typeof to === 'string' ? connect(to) : connect(to);
  try {
    await once(socket, 'connect');
  } finally {
    socket.destroy();
  }
}

/** Unix sockets of other programs. */
const sockets: readonly (readonly [what: string, path: (target: Target) => string])[] = [
  ['a socket below /tmp, such as that of tmux or an SSH agent', ({ temp }) => join(temp, 'agent.sock')],
  ['a socket in home', ({ home }) => join(home, '.local/share/agent.sock')],
  ['a socket in the project', ({ project }) => join(project, 'server.sock')],
  [
    'a socket in the project that its program bound by a relative name',
    ({ project }) => join(project, 'relative.sock'),
  ],
  ['a socket through a link in the project', ({ project }) => join(project, 'link-to-socket')],
  [
    'a socket below /tmp by the root of another process',
    ({ temp, outerPid }) => `/proc/${outerPid}/root${temp}/agent.sock`,
  ],
  ['an abstract socket', ({ abstractName }) => `\0${abstractName}`],
];

const [unix, inet, inet6, netlink, packet, alg, vsock] = [1, 2, 10, 16, 17, 38, 40];
const [stream, datagram, raw] = [1, 2, 3];

/** Sockets that no rule of names, ports or network namespaces covers, or that the command does not need. */
const families: readonly (readonly [
  what: string,
  words: readonly [family: number, type: number, protocol: number],
  unconfined: Attempt['unconfined'],
])[] = [
  ['of a virtual machine (AF_VSOCK)', [vsock, stream, 0], 'is not tried'],
  ['of the cryptography of the kernel (AF_ALG)', [alg, 5, 0], 'is not tried'],
  ['of network packets (AF_PACKET)', [packet, raw, 0x0300], 'as root'],
  ['of Bluetooth', [31, raw, 1], 'is not tried'],
  ['of TIPC', [30, 5, 0], 'is not tried'],
  ['of RDS', [21, 5, 0], 'is not tried'],
  ['of SMC', [43, stream, 0], 'is not tried'],
  ['of AF_XDP', [44, raw, 0], 'is not tried'],
  ['of Qualcomm routers (AF_QIPCRTR)', [42, datagram, 0], 'is not tried'],
  ['of KCM', [41, datagram, 0], 'is not tried'],
];

/** Sockets that a network namespace makes harmless: Landlock alone refuses to make them. */
const withoutNamespace: typeof families = [
  ['of raw ICMP', [inet, raw, 1], 'as root'],
  ['of MPTCP', [inet, stream, 262], 'is not tried'],
  ['of SCTP', [inet, stream, 132], 'is not tried'],
  ['of MPTCP over IPv6', [inet6, stream, 262], 'is not tried'],
  ['of audit messages', [netlink, raw, 9], 'succeeds'],
  ['of netfilter', [netlink, raw, 12], 'succeeds'],
];

export const connections: readonly Attempt[] = [
  {
    name: 'connect to a port of this machine',
    run: ({ tcpPort }) => reach({ port: tcpPort, host: '127.0.0.1' }),
    unconfined: 'succeeds',
  },
  {
    name: 'connect to a port of this machine by an IPv6 address',
    run: ({ tcpPort }) => reach({ port: tcpPort, host: '::ffff:127.0.0.1' }),
    unconfined: 'succeeds',
  },
  {
    name: 'connect to a port of this machine with the first data (TCP Fast Open)',
    run({ tcpPort }) {
      const fast = 0x20000000;
      call(
        'sendto',
        call('socket', inet, stream, 0),
        Buffer.from('x'),
        1,
        fast,
        loopbackAddress(tcpPort),
        16,
      );
    },
    unconfined: 'succeeds',
  },
  {
    name: 'send a datagram to a port of this machine',
    async run({ udpPort }) {
      const socket = createSocket('udp4');
      try {
        socket.connect(udpPort, '127.0.0.1');
        await once(socket, 'connect');
        socket.send('x');
        await once(socket, 'message');
      } finally {
        socket.close();
      }
    },
    unconfined: 'succeeds',
  },
  {
    name: 'let this machine connect to it',
    async run(_target, outer) {
      const server = createServer().listen(0, '0.0.0.0');
      await once(server, 'listening');
      await outer(`connect ${(server.address() as AddressInfo).port}`);
      server.close();
    },
    unconfined: 'succeeds',
  },
  {
    name: 'let this machine connect to it without an address of its own',
    run() {
      call('listen', call('socket', inet, stream, 0), 1);
    },
    unconfined: 'succeeds',
    harmless: 'it listens in a network that only the run reaches',
  },
  ...sockets.map(([what, path]): Attempt => ({
    name: `connect to ${what}`,
    run: (target) => reach(path(target)),
    unconfined: 'succeeds',
  })),
  {
    name: 'send a datagram to a Unix socket from a pair of sockets',
    run({ home }) {
      const pair = Buffer.alloc(8);
      call('socketpair', unix, datagram, 0, pair);
      const address = unixAddress(join(home, '.local/share/datagram.sock'));
      call('connect', pair.readInt32LE(0), address, address.length);
    },
    unconfined: 'succeeds',
  },
  ...families.map(([what, words, unconfined]): Attempt => ({
    name: `make a socket ${what}`,
    run: () => call('socket', ...words),
    unconfined,
  })),
  ...withoutNamespace.map(([what, words, unconfined]): Attempt => ({
    name: `make a socket ${what}`,
    run: () => call('socket', ...words),
    unconfined,
    harmless: 'it belongs to the network of the run',
  })),
];
