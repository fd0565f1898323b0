import { z } from 'zod';
import { type SourceForm, sourceForms } from '../domain/credential.ts';
import { packageText, shippedFile } from '../lib/package-files.ts';
import { parseConfigDocument } from './document.ts';
import { configInvalid } from './problem.ts';
import { validate } from './validate.ts';

/** A program that is run for a source. */
export interface SourceProgram {
  readonly argv: readonly string[];
  /** Text that the program reads on standard input; null: none. */
  readonly input: string | null;
  readonly form: SourceForm | null;
  /** Environment variables of the program besides the usual ones. */
  readonly environment: readonly string[];
  /** The next step if the program prints no credential; null: not known. */
  readonly login: string | null;
}

const words = z.array(z.string().min(1)).min(1);
const runs = z.record(z.string(), words);

const presetsSchema = z.record(
  z.string(),
  z.strictObject({
    login: z.string(),
    form: z.enum(sourceForms),
    environment: z.array(z.string()),
    input: z.string().default(''),
    run: runs,
    run_on_macos: runs.optional(),
  }),
);
type Presets = z.infer<typeof presetsSchema>;

let presets: Presets | undefined;

/** Reads the presets once; they are part of the program. */
function readPresets(): Presets {
  if (presets !== undefined) return presets;
  const document = parseConfigDocument(packageText(shippedFile('sources.yaml')));
  const result = validate(presetsSchema as z.ZodType<Presets>, document);
  if ('problems' in result) throw configInvalid('config/sources.yaml', result.problems);
  return (presets = result.value);
}

/** Returns the texts that sources may have: `gh`, `gh:{host}`. */
export function presetTexts(): readonly string[] {
  return Object.values(readPresets()).flatMap(({ run }) => Object.keys(run));
}

/** Returns the program for a source, with its parts filled in; null if no preset has that form. */
export function presetProgram(from: string, platform: NodeJS.Platform): SourceProgram | null {
  for (const { run, run_on_macos, input, form, environment, login } of Object.values(readPresets())) {
    for (const [text, argv] of Object.entries((platform === 'darwin' ? run_on_macos : null) ?? run)) {
      const parts = partsOf(from, text);
      if (parts === null) continue;
      const fill = (word: string) => word.replace(/\{(\w+)\}/g, (_, name: string) => parts[name] ?? '');
      return { argv: argv.map(fill), input: fill(input), form, environment, login };
    }
  }
  return null;
}

/** Returns the parts of a source by the names in the text of a preset; null: it has another form. */
function partsOf(from: string, text: string): Readonly<Record<string, string>> | null {
  const pattern = text.split(/(\{\w+\})/).map((piece) =>
    // A word that begins with a dash would be an option of the program.
    piece.startsWith('{') ? `(?<${piece.slice(1, -1)}>(?!-).+)` : piece.replace(/\W/g, '\\$&'),
  );
  const match = new RegExp(`^${pattern.join('')}$`).exec(from);
  return match && (match.groups ?? {});
}
