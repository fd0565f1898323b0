/**
 * A sink for syslog: RFC 5424 messages, whose MSG is the line as it stands in the file. Over UDP one message a datagram (RFC
 * 5426); over TCP and unix sockets framed by counted octets (RFC 6587 §3.4.1), or a newline each where the receiver knows no
 * better.
 *
 * Syslog has no acknowledgement: over UDP a message may be lost on the way, and of a connection that breaks, what the
 * system had taken and not yet sent.
 */
import type { Socket } from 'node:net';
import type { AuditLine } from '../event.ts';
import { type Datagrams, severityOf, type Sink, type SinkTransports, SinkFailure } from './sink.ts';
import { reasonOf } from './webhook.ts';

/** Where a syslog receiver is. */
type SyslogAddress =
  | { readonly transport: 'udp' | 'tcp' | 'tls'; readonly host: string; readonly port: number }
  | { readonly transport: 'unix'; readonly path: string };

/** Where to, and how. */
interface SyslogOptions {
  readonly address: SyslogAddress;
  /** RFC 5424 §6.2.1: 0 to 23. */
  readonly facility: number;
  readonly framing: 'octet-counting' | 'newline';
  readonly transports: () => SinkTransports;
}

/** A sink that keeps one connection, made anew where it broke. */
export function syslogSink({ address, facility, framing, transports: transports }: SyslogOptions): Sink {
  return address.transport === 'udp'
    ? datagramSink(() => transports().openDatagrams(address.host, address.port), facility)
    : streamSink(
        () =>
          address.transport === 'unix'
            ? transports().connectLocal(address.path)
            : transports().connect(address.host, address.port, address.transport === 'tls'),
        facility,
        framing,
      );
}

/** RFC 5424 §6.3: the numbers of severities. */
const severities = { info: 6, warning: 4, error: 3 } as const;

/** The message of a line (RFC 5424 §6). */
function syslogMessage({ line, text }: { line: AuditLine; text: string }, facility: number): string {
  const priority = facility * 8 + severities[severityOf(line)];
  const host = printable(line.node.replace(/\/\d+$/, ''), 255);
  // MSG is UTF-8 without a byte order mark, as most receivers want it (MSG-ANY).
  return `<${priority}>1 ${line.time} ${host} sidekey ${printable(line.node.replace(/^.*\//, ''), 128)} ${printable(line.event, 32)} - ${text}`;
}

/** PRINTUSASCII of at most that many characters; the nil value where there is none. */
function printable(text: string, most: number): string {
  return text.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, most) || '-';
}

function datagramSink(open: () => Promise<Datagrams>, facility: number): Sink {
  let datagrams: Datagrams | undefined;
  return {
    async deliver({ lines }) {
      try {
        datagrams ??= await open();
        for (const line of lines) await datagrams.send(Buffer.from(syslogMessage(line, facility)));
      } catch (cause) {
        datagrams?.close();
        datagrams = undefined;
        throw new SinkFailure(`the syslog receiver cannot be reached (${reasonOf(cause)})`, { cause });
      }
    },
    close: () => datagrams?.close(),
  };
}

function streamSink(
  connect: () => Promise<Socket>,
  facility: number,
  framing: SyslogOptions['framing'],
): Sink {
  let socket: Socket | undefined;

  async function open(): Promise<Socket> {
    const opened = await connect();
    opened.on('error', () => {}).on('close', () => (socket = socket === opened ? undefined : socket));
    // A receiver that ends its side takes nothing more; what it says is of no interest.
    opened.on('end', () => opened.destroy()).resume();
    return (socket = opened);
  }

  return {
    async deliver({ lines }, signal) {
      const text = lines.map((line) => frame(syslogMessage(line, facility), framing)).join('');
      try {
        await send(socket?.writable === true ? socket : await open(), text, signal);
      } catch (cause) {
        socket?.destroy();
        socket = undefined;
        throw new SinkFailure(`the syslog receiver cannot be reached (${reasonOf(cause)})`, { cause });
      }
    },
    close: () => void socket?.end(),
  };
}

function frame(message: string, framing: SyslogOptions['framing']): string {
  return framing === 'newline' ? `${message}\n` : `${Buffer.byteLength(message)} ${message}`;
}

/** Resolves when the system has taken it all: a receiver that does not read holds up this sink alone. */
function send(socket: Socket, text: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error | null) => {
      signal.removeEventListener('abort', aborted);
      socket.off('close', closed);
      if (error === undefined || error === null) resolve();
      else reject(error);
    };
    const aborted = () => settle(new Error('it took too long', { cause: signal.reason }));
    const closed = () => settle(new Error('it closed the connection'));
    signal.addEventListener('abort', aborted, { once: true });
    socket.once('close', closed);
    socket.write(text, settle);
  });
}
