import type { CertifiedKey } from '../../examples/helpdesk/certificate.ts';
import type { StartOptions } from './process.ts';

/** A subject of measurements: a way from the client to the upstream. */
export interface Subject {
  /** Name for `--only`. */
  readonly id: string;
  /** The head of its column. */
  readonly title: string;
  /** Description and version. */
  readonly what: string;
  /** True if the subject adds the credential; otherwise the client must send it. */
  readonly adds: boolean;
  /** The reason why the subject cannot reach hosts outside public DNS; null: it can. */
  readonly coldReason: string | null;
  /**
   * Files that it holds open for each tunnel, at least: one to the client, and one to the upstream where it
   * keeps that.
   */
  readonly filesPerTunnel: number;
  /**
   * Writes what one instance is started with; each has a folder and a port of its own. Null: there is no
   * program on the way.
   */
  prepare: ((folder: string) => Promise<Prepared>) | null;
}

/** An instance that can be started, stopped and started again. */
export interface Prepared extends StartOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly port: number;
  /** `NAME:TOKEN` of the client for the proxy; left out: it is asked for none. */
  readonly proxyUser?: string | undefined;
  /** The file that its audit records go to; left out: it has none. */
  readonly auditFile?: string | undefined;
  /** Certificates that a client must trust on this way, PEM; read after the start. */
  ca(): Promise<string>;
}

/** Upstream and settings that all subjects share. */
export interface Ground {
  /** The folder of this run. */
  readonly folder: string;
  /** The one host that is asked for again and again, on the port. */
  readonly host: string;
  readonly port: number;
  /** Hosts for the first exchange with each, resolved to 127.0.0.1 by a list of each subject's own. */
  readonly coldHosts: readonly string[];
  /** PEM of the upstream's root, and its file. */
  readonly root: string;
  readonly rootFile: string;
  /** Value that the upstream requires after `Bearer `. */
  readonly token: string;
  /** An authority for proxies that want an RSA key. */
  readonly rsaAuthority: CertifiedKey;
}
