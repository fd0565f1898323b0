/** System calls for attempts of a confined command, without the checks of Node.js. */
/** Numbers of the calls on x64 and arm64 (`asm/unistd.h`). */
const numbers = {
  ioctl: [16, 29],
  socket: [41, 198],
  connect: [42, 203],
  bind: [49, 200],
  sendto: [44, 206],
  socketpair: [53, 199],
  listen: [50, 201],
  mknodat: [259, 33],
  msgget: [68, 186],
  msgctl: [71, 187],
  ptrace: [101, 117],
  add_key: [248, 217],
  keyctl: [250, 219],
  prlimit64: [302, 261],
  process_vm_readv: [310, 270],
  io_uring_setup: [425, 425],
  pidfd_open: [434, 434],
  pidfd_getfd: [438, 438],
} as const;

/** Calls the kernel. @throws Error with the number of the error (`errno`) if the kernel refuses */
export function call(name: keyof typeof numbers, ...words: readonly (number | Buffer)[]): number {
  // Not imported: the tests read the table of attempts too, and Node.js warns of the import.
  const { dlopen, getInt32, getRawPointer } = process.getBuiltinModule('node:ffi');
  const { functions } = dlopen(null, {
    syscall: { arguments: ['i64', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'], return: 'i64' },
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const number = numbers[name][process.arch === 'arm64' ? 1 : 0];
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = words.map((word) =>
    typeof word === 'number' ? BigInt(word) : getRawPointer(word),
  );
  const result = Number(functions.syscall(BigInt(number), a, b, c, d, e, f));
  if (result < 0)
    throw Object.assign(new Error(`${name} is refused`), {
      errno: getInt32(functions['__errno_location']()),
    });
  return result;
}

/** Returns `struct sockaddr_un`. */
export function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(110);
  address.writeUInt16LE(1, 0);
  address.write(path, 2);
  return address;
}

/** Returns `struct sockaddr_in` of the loopback address. */
export function loopbackAddress(port: number): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(2, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  return address;
}
