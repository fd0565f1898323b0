/** A sink for who collects what processes write (containers, systemd): the lines as they stand in the file. */
import type { Sink, SinkExits } from './sink.ts';

/** A sink that writes to standard output. A reader that does not read holds up this sink alone. */
export function stdoutSink(exits: () => Pick<SinkExits, 'writeStdout'>): Sink {
  return {
    deliver: ({ lines }) => exits().writeStdout(lines.map(({ text }) => `${text}\n`).join('')),
    close() {},
  };
}
