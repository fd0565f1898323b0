import type { Socket } from 'node:net';
import type { ReadLine } from '../position.ts';
import { type Datagrams, severityOf, type Sink, type SinkTransports, SinkFailure } from './sink.ts';
import { reasonOf } from './http.ts';

type SyslogAddress =
  | { readonly transport: 'udp' | 'tcp' | 'tls'; readonly host: string; readonly port: number }
  | { readonly transport: 'unix'; readonly path: string };

interface SyslogOptions {
  readonly address: SyslogAddress;
  /** RFC 5424 §6.2.1: 0 to 23. */
  readonly facility: number;
  readonly framing: 'octet-counting' | 'newline';
  readonly transports: () => SinkTransports;
}

/**
 * Creates a sink for syslog. The MSG of each RFC 5424 message is the line as it is in the file. UDP carries
 * one message per datagram (RFC 5426); TCP and Unix sockets use octet counting (RFC 6587 §3.4.1), or a
 * newline after each message. The sink keeps one connection, and reconnects if it breaks.
 *
 * Syslog has no acknowledgement: UDP may lose a message, and a broken connection loses what was not sent yet.
 */
export function syslogSink({ address, facility, framing, transports }: SyslogOptions): Sink {
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

/** Severity numbers (RFC 5424 §6.2.1). */
const severities = { info: 6, warning: 4, error: 3 } as const;

/** Returns the message of a line (RFC 5424 §6). */
function syslogMessage({ line, text }: ReadLine, facility: number): string {
  const priority = facility * 8 + severities[severityOf(line)];
  const host = printable(line.node.replace(/\/\d+$/, ''), 255);
  // UTF-8 without a byte order mark, as most receivers expect (MSG-ANY).
  return `<${priority}>1 ${line.time} ${host} sidekey ${printable(line.node.replace(/^.*\//, ''), 128)} ${printable(line.event, 32)} - ${text}`;
}

/** Returns PRINTUSASCII of at most `max` characters; the NILVALUE for an empty text. */
function printable(text: string, max: number): string {
  return text.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, max) || '-';
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
    // A receiver that closes its side accepts nothing more; its data is ignored.
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

/** Resolves when the system has accepted all bytes: a slow receiver delays only this sink. */
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
