import type { AddressInfo, Server, Socket } from 'node:net';
import { loadForeignFunctions } from '../lib/foreign-functions.ts';
import { canonicalHost, hostOfIpv6 } from '../proxy/policy/authority.ts';
import type { Redirection } from '../proxy/transparent.ts';
import { nowhere, probeLoop } from '../proxy/upstream/loop-probe.ts';

/** `SO_ORIGINAL_DST` of `linux/netfilter_ipv4.h`; IPv6 has the same number at its own level. */
const originalDestination = 80;
const ipv4Level = 0;
const ipv6Level = 41;
/** `IP_TRANSPARENT` of `linux/in.h`, and `IPV6_TRANSPARENT` of `linux/in6.h`. */
const transparent = { ipv4: 19, ipv6: 75 };
/** Bytes of `sockaddr_in6`, the longer form. */
const addressBytes = 28;

/**
 * Opens the reader of original destinations. Uses the FFI of Node.js, whose sockets lack this option.
 *
 * @param instance distinguishes this Sidekey from others
 * @param token reads the token of the agent that owns the connections
 * @throws SidekeyError `input_invalid` if the system is not Linux, or its Node.js has no FFI
 */
export async function openRedirection(instance: string, token: Redirection['token']): Promise<Redirection> {
  const { dlopen } = await loadForeignFunctions('The redirection of connections');
  const { getsockopt, setsockopt } = dlopen(null, {
    getsockopt: { arguments: ['i32', 'i32', 'i32', 'buffer', 'buffer'], return: 'i32' },
    setsockopt: { arguments: ['i32', 'i32', 'i32', 'buffer', 'u32'], return: 'i32' },
  }).functions;
  const address = Buffer.alloc(addressBytes);
  const length = Buffer.alloc(4);
  let checked: Promise<void> | undefined;
  let ownPort = 0;

  function read(socket: Socket, level: number): boolean {
    length.writeUInt32LE(addressBytes);
    return getsockopt(descriptorOf(socket), level, originalDestination, address, length) === 0;
  }

  /** Rules may change after a failure. */
  function again(error: unknown): never {
    checked = undefined;
    throw error;
  }

  return {
    listens(server) {
      ownPort = (server.address() as AddressInfo).port;
      const one = Buffer.alloc(4);
      one.writeUInt32LE(1);
      // Fails without CAP_NET_ADMIN. TPROXY rules then hand nothing over and drop it.
      setsockopt(descriptorOf(server), ipv4Level, transparent.ipv4, one, one.length);
      setsockopt(descriptorOf(server), ipv6Level, transparent.ipv6, one, one.length);
    },
    destinationOf(socket) {
      const { localAddress = '', localPort } = socket;
      const local = localAddress.replace(/^::ffff:/, '');
      const isIpv6 = local.includes(':');
      // TPROXY keeps a connection's destination, which is then the local end.
      if (localPort !== ownPort) return `${isIpv6 ? canonicalHost(`[${local}]`) : local}:${localPort}`;
      if (!read(socket, isIpv6 ? ipv6Level : ipv4Level)) return null;
      const port = address.readUInt16BE(2);
      const host = isIpv6 ? hostOfIpv6(address.subarray(8, 24)) : address.subarray(4, 8).join('.');
      if (port === localPort && host === (isIpv6 ? canonicalHost(`[${local}]`) : local)) return null;
      return `${host}:${port}`;
    },
    answersProbe(socket, target) {
      if (target === nowhere) socket.end(instance);
      return target === nowhere;
    },
    check: () => probeLoop(instance),
    checkOnce: () => (checked ??= probeLoop(instance).catch(again)),
    token,
  };
}

/** Node.js has no public API for it. */
function descriptorOf(owner: Server | Socket): number {
  const handle = Reflect.get(owner, '_handle') as { readonly fd?: number } | null;
  return handle?.fd ?? -1;
}
