import { examples, group, type Register } from './command.ts';

/** `sidekey ca`: what clients of the proxy have to trust. */
export const registerCa: Register = (program, bind) => {
  const ca = group(program, 'ca', 'the certificate authority that clients of the proxy trust');
  examples(
    ca
      .command('show')
      .description('its name, fingerprint and end')
      .action(bind(async () => (await import('./ca/show.ts')).showCa)),
    'sidekey ca show',
  );
  examples(
    ca
      .command('export')
      .description('what clients are given to trust; none of it is secret')
      .option(
        '--format <format>',
        "pem: our certificate alone; bundle: with this machine's roots; p12: the bundle for Java",
        'pem',
      )
      .option('--out <file>', 'write it there instead of to standard output')
      .option(
        '--password-file <file>',
        'the password of the p12 (else SIDEKEY_P12_PASSWORD, else changeit, as Java expects)',
      )
      .action(bind(async () => (await import('./ca/export.ts')).exportCa)),
    'sidekey ca export --format bundle --out bundle.pem   # for SSL_CERT_FILE',
    'sidekey ca export --format p12 --out trust.p12       # for -Djavax.net.ssl.trustStore',
  );
};
