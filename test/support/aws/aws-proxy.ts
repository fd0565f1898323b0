import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Credential } from '../../../src/domain/credential.ts';
import { anyone, placeholderCodes, readForm } from '../../../src/proxy/placeholders/codes.ts';
import { clientEnvironment } from '../client-program.ts';
import { type SidekeyOptions, startSidekey, type TestSidekey } from '../sidekey.ts';
import { tempFolder } from '../temp-folder.ts';
import { temporaryKeys } from '../clouds.ts';
import { upstreamHost } from '../upstream.ts';
import { startAwsDouble, type AwsDouble } from './aws-double.ts';

/** The real keys, which no client has. */
export const realKeys = { id: 'AKIAREALREALREALREAL', secret: 'the/real+secret/of/the/grant+0123456789a' };

/** The keys of a second account. */
export const otherKeys = { id: 'AKIAOTHEROTHEROTHERS', secret: 'the/other+secret/of/the/grant+012345678' };

/** The placeholder keys that clients sign with. */
export const placeholder = { id: 'AKIASIDEKEYPLACEHOLD', secret: 'sidekey-placeholder' };

/** The keys of a grant without an assumed role. */
export const ownKeys: Credential = {
  type: 'aws',
  accessKeyId: realKeys.id,
  secretAccessKey: realKeys.secret,
  sessionToken: null,
  region: null,
};

/** A proxy with a grant for a test double of AWS, and the folder and environment of a client. */
export interface AwsProxy {
  readonly aws: AwsDouble;
  readonly sidekey: TestSidekey;
  /** The folder of the client. */
  readonly folder: string;
  readonly env: Record<string, string>;
  /** Adds the grant `other` with the keys of a second account. */
  readonly addOther: () => Promise<void>;
  /** Returns the placeholder for the access key ID of a grant. */
  readonly keyOf: (grant: string) => string;
  /** `https://SERVICE.eu-west-1.amazonaws.com:PORT` */
  readonly url: (service: string) => string;
  /** Expects that every request was signed with the real keys, and that the client never saw them. */
  readonly onlySidekeyHadThem: (outputs: readonly string[]) => Promise<void>;
}

export async function startAwsProxy(
  credential: Credential = ownKeys,
  config: object = {},
  options: Pick<SidekeyOptions, 'clouds' | 'env'> = {},
): Promise<AwsProxy> {
  const aws = await startAwsDouble(realKeys, otherKeys, temporaryKeys);
  const [state, folder] = [await tempFolder(), await tempFolder()];
  await writeFile(join(state, 'aws-ca.pem'), aws.ca);
  const everywhere = `*.amazonaws.com:${aws.port}`;
  const sidekey = await startSidekey({
    ...options,
    folder: state,
    domains: { [everywhere]: { grant: 'aws' } },
    config: {
      upstream: {
        ca: ['aws-ca.pem', 'upstream-ca.pem'],
        resolve: Object.fromEntries([...aws.hosts, upstreamHost].map((host) => [host, '127.0.0.1'])),
        private_addresses: ['127.0.0.1/32'],
      },
      ...config,
    },
  });
  const grants = [await sidekey.grant([everywhere], { name: 'aws', provider: 'aws', credential })];
  const codes = placeholderCodes(sidekey.proxy.state.vault);
  const form = readForm('ASIASIDE000000000000')!;
  const env = {
    ...clientEnvironment(sidekey),
    AWS_CA_BUNDLE: sidekey.caFile,
    AWS_ACCESS_KEY_ID: placeholder.id,
    AWS_SECRET_ACCESS_KEY: placeholder.secret,
    AWS_REGION: 'eu-west-1',
    AWS_DEFAULT_REGION: 'eu-west-1',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_MAX_ATTEMPTS: '1',
  };
  return {
    aws,
    sidekey,
    folder,
    env,
    keyOf: (name) => codes.make(form, anyone, grants.find((grant) => grant.name === name)!.id),
    addOther: async () => {
      const { id: accessKeyId, secret: secretAccessKey } = otherKeys;
      const credential = { ...ownKeys, accessKeyId, secretAccessKey } as Credential;
      grants.push(await sidekey.grant([everywhere], { name: 'other', provider: 'aws', credential }));
    },
    url: (service) => `https://${service}.eu-west-1.amazonaws.com:${aws.port}`,
    onlySidekeyHadThem: async (outputs) => {
      expect(aws.seen.length).toBeGreaterThan(0);
      expect(aws.seen.filter(({ refused }) => refused !== undefined)).toEqual([]);
      for (const { id, fields } of aws.seen) {
        expect(id).not.toBe(placeholder.id);
        expect(JSON.stringify(fields)).not.toContain(placeholder.id);
      }
      const written = await Promise.all(
        (await readdir(folder, { recursive: true, withFileTypes: true }))
          .filter((entry) => entry.isFile())
          .map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')),
      );
      const told = [...written, ...outputs, sidekey.logged(), JSON.stringify(await sidekey.audit())].join(
        '\n',
      );
      for (const secret of [realKeys.secret, otherKeys.secret, temporaryKeys.secret, temporaryKeys.token])
        expect(told).not.toContain(secret);
      expect(outputs.join('\n')).not.toContain(realKeys.id);
    },
  };
}
