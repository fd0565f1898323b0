import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that does not outlive the process. */
export interface Folder {
  /** Absolute. */
  readonly path: string;
  /** Removes it with all it holds. */
  remove(): Promise<void>;
}

/**
 * Makes a fresh folder for the owner alone (mkdtemp: 0700). It goes when the process exits, however it does.
 */
export async function makeFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'sidekey-demo-'));
  const atExit = (): void => rmSync(path, { recursive: true, force: true });
  process.on('exit', atExit);
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true });
      process.off('exit', atExit);
    },
  };
}
