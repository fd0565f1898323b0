import type { Context } from '../context.ts';
import { details } from '../table.ts';
import { dateTime, isoTime, relativeTime } from '../time.ts';
import { openCa } from './open.ts';
import { fingerprintText } from './words.ts';

/** `sidekey ca show`. Rejects with what `openCa` throws. */
export async function showCa({ withView, output, now }: Context): Promise<void> {
  const authority = await withView((view) => openCa(view, now));
  const { name, certificateFile, fingerprint, notBefore, notAfter } = authority;
  const names = authority.permittedNames.map(({ text }) => text);
  output.result(
    {
      name,
      certificate: certificateFile,
      fingerprint_sha256: fingerprint,
      not_before: isoTime(notBefore),
      not_after: isoTime(notAfter),
      permitted_names: names,
    },
    details(name, {
      certificate: certificateFile,
      'SHA-256': fingerprintText(fingerprint),
      begins: dateTime(notBefore),
      ends: `${dateTime(notAfter)} (${relativeTime(notAfter, now())})`,
      'signs for': names.length === 0 ? 'any name' : names.join(', '),
    }),
  );
}
