import { expect, it } from 'vitest';
import { upstreamFailure } from '../../../src/proxy/attempt.ts';
import { authorityOf } from './policy/policy-for-test.ts';

it('an upstream failure names the config key of client certificates if the upstream requires one after the handshake', () => {
  const code = 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED';
  const error = Object.assign(new Error('alert'), { code });
  expect(upstreamFailure(error, authorityOf('api.example'), false)).toMatchObject({
    code: 'upstream_tls',
    message: `The TLS connection to api.example failed: it wants a client certificate (${code}).`,
    hint: 'see upstream.client_certificates',
  });
  const other = Object.assign(new Error('alert'), { code: 'ERR_SSL_WRONG_VERSION_NUMBER' });
  expect(upstreamFailure(other, authorityOf('api.example'), false).hint).not.toContain('client_certificates');
});
