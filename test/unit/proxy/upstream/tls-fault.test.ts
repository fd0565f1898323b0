import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { SidekeyError } from '../../../../src/lib/errors.ts';
import { hintText } from '../../../../src/lib/hint.ts';
import { tlsFault } from '../../../../src/proxy/policy/peer.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { companyCa, tlsFaultCases } from './tls-fault-cases.ts';
import { dialerForTest, tlsUpstream, upstream } from './upstream-for-test.ts';

describe('a fault of TLS has a sentence and a hint of its own', () => {
  it.each(tlsFaultCases)('$fault', async ({ server, ca = companyCa, caKey = '', says, hint, never }) => {
    await using there = await (typeof server === 'function' ? upstream(server) : tlsUpstream(server));
    const dialer = dialerForTest({ pinned: { 'api.example': '127.0.0.1' }, ca, ...(caKey && { caKey }) });
    const failure = await dialer.connect(authorityOf(`api.example:${there.port}`)).then(
      (socket) => once(socket, 'close').then(() => null),
      (error: SidekeyError) => error,
    );
    expect(failure).toMatchObject({ code: 'upstream_tls' });
    expect(failure!.message).toMatch(says);
    expect(hintText(failure!.hint)).toMatch(hint);
    expect(hintText(failure!.hint)).not.toMatch(never ?? /upstream\.ca\b/);
  });

  it('names no text of a certificate that is not a host', () => {
    const cause = Object.assign(new Error('names'), {
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      cert: {
        subjectaltname: 'DNS:"a.example, DNS:evil", DNS:good.example, URI:x:\u001b[31m, DNS:\u001b[1m',
      },
    });
    expect(tlsFault(authorityOf('api.example'), cause).message).toContain('is for good.example (');
  });

  it('a key that is too weak is named by the message, because its code is none', () => {
    const cause = Object.assign(new Error('EE certificate key too weak'), { code: 'UNSPECIFIED' });
    expect(hintText(tlsFault(authorityOf('api.example'), cause).hint)).toContain('2048 bits');
  });
});
