import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Reads every file below a folder, and names those that hold one of the texts. */
export async function searchFiles(
  folder: string,
  texts: readonly string[],
): Promise<{ readonly files: number; readonly holding: readonly string[] }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const holding: string[] = [];
  for (const file of files) {
    const bytes = await readFile(file);
    if (texts.some((text) => bytes.includes(text))) holding.push(file);
  }
  return { files: files.length, holding };
}
