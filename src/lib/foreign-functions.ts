import type * as ffi from 'node:ffi';
import { inputInvalid, SidekeyError } from './errors.ts';

/**
 * Loads the FFI of Node.js, without its warning that it is experimental.
 *
 * @param what the part that needs it, as the start of a sentence
 * @throws SidekeyError `input_invalid` on systems other than Linux, or if Node.js has no FFI
 */
export async function loadForeignFunctions(what: string): Promise<typeof ffi> {
  const hint = 'run Sidekey on Linux with Node.js 26.1 or later';
  if (process.platform !== 'linux') throw inputInvalid(`${what} works on Linux only.`, hint);
  const listeners = process.listeners('warning');
  process.removeAllListeners('warning');
  try {
    return await import('node:ffi');
  } catch (cause) {
    const sentence = `${what} needs the FFI of Node.js, which this one (${process.version}) does not have.`;
    throw new SidekeyError('input_invalid', sentence, { hint, cause });
  } finally {
    setImmediate(() => listeners.forEach((each) => process.on('warning', each)));
  }
}
