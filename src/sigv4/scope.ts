/** What a signature is good for: one day, one region, one service. */
export interface Scope {
  /** `YYYYMMDD`, UTC. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

/** The one algorithm that is signed with. */
export const algorithm = 'AWS4-HMAC-SHA256';

/** As it stands in the credential and in the string to sign. */
export function scopeText({ date, region, service }: Scope): string {
  return `${date}/${region}/${service}/aws4_request`;
}

/** `YYYYMMDDTHHMMSSZ`. `now` in milliseconds since the epoch. */
export function timestampOf(now: number): string {
  return `${new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

/** Milliseconds since the epoch; null where the text is no timestamp. */
export function parseTimestamp(text: string): number | null {
  const iso = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.test(text)
    ? text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z')
    : '';
  const at = Date.parse(iso);
  return Number.isNaN(at) ? null : at;
}
