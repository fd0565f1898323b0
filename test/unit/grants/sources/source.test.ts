import { describe, expect, test } from 'vitest';
import { absoluteSource, describeSource, parseSource } from '../../../../src/grants/sources/source.ts';

/** The program that a source runs, as words. */
function argvOf(from: string, platform: NodeJS.Platform = 'linux'): readonly string[] {
  const source = parseSource(from, platform);
  return source.kind === 'command' ? source.argv : [];
}

describe('a preset', () => {
  test.each([
    ['gh', 'gh auth token'],
    ['gh:ghe.acme.test', 'gh auth token --hostname ghe.acme.test'],
    ['gcloud', 'gcloud config config-helper --format=json'],
    ['gcloud:a@acme.test', 'gcloud config config-helper --format=json --account=a@acme.test'],
    ['az', 'az account get-access-token --output json'],
    [
      'az:https://vault.azure.net',
      'az account get-access-token --output json --resource https://vault.azure.net',
    ],
    ['aws', 'aws configure export-credentials --format process'],
    ['aws-sso:dev', 'aws configure export-credentials --format process --profile dev'],
    ['op://work/github/token', 'op read --no-newline op://work/github/token'],
    ['bw://github', 'bw --nointeraction get password github'],
    ['pass:work/github', 'pass show work/github'],
    ['keyring:github', 'secret-tool lookup service github'],
    ['sops:/etc/x.yaml#token', 'sops --decrypt --extract ["token"] /etc/x.yaml'],
    ['docker-credential:pass#ghcr.io', 'docker-credential-pass get'],
    ['git-credential:github.com', 'git credential fill'],
  ])('%s runs %s', (from, words) => {
    expect(argvOf(from).join(' ')).toBe(words);
  });

  test('runs the program that belongs to the operating system', () => {
    expect(argvOf('keyring:github', 'darwin')[0]).toBe('security');
    expect(argvOf('gh', 'darwin')[0]).toBe('gh');
  });

  test('keeps any reference in one word', () => {
    expect(argvOf('pass:a b; rm $HOME `x`')).toEqual(['pass', 'show', 'a b; rm $HOME `x`']);
    expect(argvOf('sops:a#b#c.yaml#key')).toEqual([
      'sops',
      '--decrypt',
      '--extract',
      '["key"]',
      'a#b#c.yaml',
    ]);
  });

  test('writes to standard input of the helpers of Docker and git', () => {
    expect(parseSource('docker-credential:pass#ghcr.io', 'linux')).toMatchObject({ input: 'ghcr.io' });
    expect(parseSource('git-credential:github.com', 'linux')).toMatchObject({
      input: 'protocol=https\nhost=github.com\n\n',
    });
  });
});

describe('a source is refused', () => {
  test.each([
    '',
    'gh:',
    'gh:--with-token',
    'pass:-c',
    'pass:a\nb',
    'pass:a\0b',
    'file:a\u001bb',
    'git-credential:a\nb=c',
    'GH',
    ' gh',
    'gh auth token',
    'file:',
    'vault:',
    'vault:a/../sys/seal',
    'command:',
    'command:echo $TOKEN',
    'https://acme.test',
    'aws-web-identity:arn:aws:iam::1:role/a?token=github',
    'aws-web-identity:arn:aws:iam::123456789012:role/a',
    'aws-web-identity:arn:aws:iam::123456789012:role/a?token=env:TOKEN',
    'aws-web-identity:arn:aws:iam::123456789012:role/a?token=github&region=eu-west-1.other.test/',
    'aws-web-identity:arn:aws:iam::123456789012:role/a?token=github&endpoint=https://other.test',
    'aws-instance:a',
    'gcp-federation:projects/p/locations/global/workloadIdentityPools/a/providers/b?token=github',
    'gcp-instance?service_account=a@b.test/../c',
    'azure-federation:tenant?resource=https://vault.azure.net&token=github',
    'azure-federation:a/../b/c?resource=https://vault.azure.net&token=github',
    'azure-instance',
    'azure-instance?resource=https://vault.azure.net&client_id=a%26b',
  ])('%j', (from) => {
    expect(() => parseSource(from, 'linux')).toThrow(
      expect.objectContaining({ code: 'input_invalid', hint: expect.stringContaining('gh:HOST') }),
    );
  });
});

const at = (from: string) => absoluteSource(from, '/work', '/home/alice');

test('relative paths become absolute, and all other words stay unchanged', () => {
  expect(at('file:token')).toBe('file:/work/token');
  expect(at('file:~/a#b')).toBe('file:/home/alice/a#b');
  expect(at('file:/run/token')).toBe('file:/run/token');
  expect(at('sops:x.yaml#key')).toBe('sops:/work/x.yaml#key');
  expect(at('azure-federation:a/b?token=file:~/token&resource=https://vault.azure.net')).toBe(
    'azure-federation:a/b?token=file:/home/alice/token&resource=https://vault.azure.net',
  );
  expect(at('pass:a?token=file:b')).toBe('pass:a?token=file:b');
  expect(at('pass:work/github')).toBe('pass:work/github');
  expect(at('command:./helper x')).toBe('command:./helper x');
});

test('a command is described without its arguments', () => {
  expect(describeSource({ from: "command:'/opt/a b' --password hunter2" })).toBe('command:/opt/a b');
  expect(describeSource({ from: 'op://work/github/token' })).toBe('op://work/github/token');
});
