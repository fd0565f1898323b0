import { execFile } from 'node:child_process';
import { join } from 'node:path';

/** The Python interpreter with botocore, and the folder of the scripts. */
export const python = process.env['SIDEKEY_TEST_PYTHON'] ?? 'python3';
const folder = import.meta.dirname;

/** Runs one of the scripts in this folder to its end. */
export function runPython(script: string, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      python,
      ['-I', join(folder, script)],
      { maxBuffer: 64 * 1_048_576 },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${script}: ${stderr}`, { cause: error }));
      },
    );
    child.stdin?.end(input);
  });
}

/** True when there is a Python with botocore and boto3 on this machine. */
export const botocoreMissing = await new Promise<string | false>((resolve) => {
  execFile(python, ['-I', '-c', 'import botocore, boto3'], (error) =>
    resolve(error === null ? false : 'Python with botocore and boto3 is not installed'),
  );
});
