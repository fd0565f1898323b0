/** Types of the used part of node-forge, whose own types describe only the module that loads all parts. */
declare module 'node-forge/lib/asn1.js' {
  /** `value`: the content bytes of a primitive as latin1, or the values in a constructed value. */
  export interface Asn1 {
    readonly tagClass: number;
    readonly type: number;
    readonly value: string | Asn1[];
  }
  interface Bytes {
    getBytes(): string;
  }
  const module: {
    readonly Class: Readonly<Record<'UNIVERSAL' | 'CONTEXT_SPECIFIC', number>>;
    readonly Type: Readonly<Record<TypeName, number>>;
    create(tagClass: number, type: number, constructed: boolean, value: string | Asn1[]): Asn1;
    oidToDer(dotted: string): Bytes;
    integerToDer(value: number): Bytes;
    dateToUtcTime(date: Date): string;
    dateToGeneralizedTime(date: Date): string;
    toDer(value: Asn1): Bytes;
    fromDer(bytes: string, options: { readonly decodeBitStrings: boolean }): Asn1;
  };
  type TypeName =
    | 'BOOLEAN'
    | 'INTEGER'
    | 'BITSTRING'
    | 'OCTETSTRING'
    | 'NULL'
    | 'OID'
    | 'UTF8'
    | 'SEQUENCE'
    | 'SET'
    | 'UTCTIME'
    | 'GENERALIZEDTIME'
    | 'BMPSTRING';
  export default module;
}
