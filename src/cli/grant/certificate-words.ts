/** What people and programs are told of a grant's client certificate. */
import { certificateFacts } from '../../grants/certificate-facts.ts';
import type { Credential } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import { dateTime, isoTime, relativeTime } from '../time.ts';

/** Rows of `grant show` and `grant add`; none where the credential is no certificate. */
export function certificateRows(credential: Credential, now: number): Readonly<Record<string, string>> {
  const facts = certificateFacts(credential);
  if (facts === null) return {};
  const { subject, issuer, serial, validUntil, issuers } = facts;
  return {
    certificate: subject,
    'issued by': issuers === 0 ? issuer : `${issuer} (${issuers} of the issuers sent along)`,
    serial,
    'valid until': `${dateTime(validUntil)} (${relativeTime(validUntil, now)})`,
  };
}

/** The same for programs. */
export function certificateJson(credential: Credential): Readonly<Record<string, unknown>> {
  const facts = certificateFacts(credential);
  if (facts === null) return {};
  const { subject, issuer, serial, sha256, validFrom, validUntil, issuers } = facts;
  const times = { valid_from: isoTime(validFrom), valid_until: isoTime(validUntil) };
  return { certificate: { subject, issuer, serial, sha256, ...times, issuers_sent: issuers } };
}

/** Why a credential cannot be carried as the provider has it, where one of the two is about a certificate; null: it can. */
export function certificateMisfit(
  credential: Credential,
  { name, inject }: Pick<Provider, 'name' | 'inject'>,
): { readonly sentence: string; readonly hint: string } | null {
  const isCertificate = credential.type === 'client_certificate';
  const kinds = inject.map(({ as }) => as.kind).filter((kind) => kind !== 'own');
  const isShown = kinds.includes('client_certificate');
  if (isCertificate && !isShown) {
    return {
      sentence: `The provider ${name} does not have a client certificate shown, so requests with it are refused.`,
      hint: `in the provider: inject: client_certificate`,
    };
  }
  if (!isCertificate && isShown && kinds.every((kind) => kind === 'client_certificate')) {
    return {
      sentence: `The provider ${name} has a client certificate shown, and this credential is none.`,
      hint: `cat client.crt client.key | sidekey grant add NAME --provider ${name} --replace`,
    };
  }
  return null;
}
