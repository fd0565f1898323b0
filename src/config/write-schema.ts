import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { configSchema } from './schema.ts';
import { shippedFile } from './shipped.ts';

/**
 * The JSON Schema of the config file, for editors: draft 7, which all of them read. It is what a person may write,
 * before defaults; single values are checked more closely by the program than a JSON Schema can say.
 */
export function renderJsonSchema(): string {
  const schema = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-07',
    // Zod leaves examples out where a value is transformed, since they could be of the value after. Here they are not.
    override: ({ zodSchema, jsonSchema }) => {
      const examples = z.globalRegistry.get(zodSchema)?.['examples'];
      if (Array.isArray(examples) && examples.length > 0) jsonSchema.examples = examples;
    },
  });
  return `${JSON.stringify(schema, null, 2)}\n`;
}

// npm run schema
if (import.meta.main) {
  const file = shippedFile('sidekey.schema.json');
  writeFileSync(file, renderJsonSchema());
  process.stderr.write(`wrote ${file}\n`);
}
