/**
 * What a person types to run this program: where npm runs it from a checkout there is no `sidekey` on the PATH.
 * `npm_command` is what npm tells its children (`exec` is npx).
 */
export function commandName(npmCommand: string | undefined = process.env['npm_command']): string {
  return ['exec', 'start', 'run', 'run-script'].includes(npmCommand ?? '') ? 'npx sidekey' : 'sidekey';
}

/** A text for a person, with the commands in it (at its beginning, or after an arrow) as they are typed here. */
export function asTyped(text: string, name: string = commandName()): string {
  return name === 'sidekey' ? text : text.replace(/(^|→ )sidekey (?=[a-z-])/g, `$1${name} `);
}
