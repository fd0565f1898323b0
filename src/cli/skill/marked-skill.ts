import { hash } from 'node:crypto';

/** The line of the front matter by which a file is known for one that was installed and not changed since. */
const mark = /^ {2}sidekey-digest: "([0-9a-f]{64})"\n/m;

/** The skill as it is installed: with a digest of all the rest. @throws where the text has no front matter */
export function markedSkill(text: string): string {
  const end = text.indexOf('\n---\n');
  if (!text.startsWith('---\n') || end < 0) throw new Error('the skill has no front matter');
  const before = `${text.slice(0, end)}\nmetadata:\n`;
  const after = text.slice(end + 1);
  return `${before}  sidekey-digest: "${hash('sha256', before + after)}"\n${after}`;
}

/** Whether a file is as some version of ours wrote it. Not a proof of anything: whoever wants to can make one. */
export function isUnchanged(text: string): boolean {
  const [line = '', digest] = mark.exec(text) ?? [];
  return digest !== undefined && hash('sha256', text.replace(line, '')) === digest;
}
