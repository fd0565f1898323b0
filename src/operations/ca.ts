import { z } from 'zod';
import { openCa } from '../ca/existing-authority.ts';
import { isoTime } from './format.ts';
import { time } from './members.ts';
import { reading } from './operation.ts';

/** The certificate authority that clients trust. */

export const showCa = reading({
  id: 'ca.show',
  summary: 'Show the certificate that clients trust.',
  scope: 'status:read',
  input: z.strictObject({}),
  output: z.strictObject({
    name: z.string(),
    certificate: z.string(),
    fingerprint_sha256: z.string(),
    not_before: time,
    not_after: time,
    permitted_names: z.array(z.string()),
  }),
  run: (parts) => openCa(parts, parts.now),
  answer: ({ name, certificateFile, fingerprint, notBefore, notAfter, permittedNames }) => ({
    name,
    certificate: certificateFile,
    fingerprint_sha256: fingerprint,
    not_before: isoTime(notBefore),
    not_after: isoTime(notAfter),
    permitted_names: permittedNames.map(({ text }) => text),
  }),
});

export const exportCa = reading({
  id: 'ca.export',
  summary: 'Export the certificates that clients trust, as PEM; none of it is secret.',
  scope: 'status:read',
  input: z.strictObject({
    format: z
      .enum(['pem', 'bundle'])
      .optional()
      .describe('pem: the CA certificate only; bundle: with the roots of the machine.'),
  }),
  output: z.strictObject({ format: z.string(), pem: z.string() }),
  async run(parts, { format = 'pem' }) {
    const { certificatePem: pem } = await openCa(parts, parts.now);
    if (format === 'pem') return { format, pem };
    const { pemBundle } = await import('../ca/trust-bundle.ts');
    return { format, pem: pemBundle(pem) };
  },
  answer: (exported) => exported,
});
