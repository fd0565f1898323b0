import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { deskToken, runHome, type RunHome } from '../../support/run-command.ts';

/** Says what its proxy is, and waits until it may end. */
const waiting = ['sh', '-c', 'echo proxy=$HTTPS_PROXY; read line; exit 0'] as const;

/** A proxy of the same store, asked with the user information of another one's URL. */
const asker = async ({ at, upstream }: RunHome) => {
  const { url, caFile } = await at.start();
  return (proxy: string) =>
    curl(
      '-x',
      url.replace('//', `//${new URL(proxy).username}:${new URL(proxy).password}@`),
      '--cacert',
      caFile,
      `${upstream.url}/`,
    );
};

describe.skipIf(curlMissing)('the lease that sidekey run creates (curl)', () => {
  test('is valid only while the command runs, with or without a running proxy', async () => {
    const place = await runHome();
    const ask = await asker(place);
    const command = place.start(['--', ...waiting]);
    const proxy = await command.told('proxy');
    expect(await ask(proxy)).toMatchObject({ status: 200 });
    command.write('\n');
    expect(await command.ended).toMatchObject({ exit: 0 });
    expect(await ask(proxy)).toMatchObject({ connectStatus: 403 });
    expect(await place.events('lease.revoked')).toHaveLength(1);
    expect(await place.at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('ends soon after kill -9, and together with the command after a signal', async () => {
    const place = await runHome();
    const killed = place.start(['--', ...waiting]);
    await killed.told('proxy');
    killed.signal('SIGKILL');
    await killed.ended;
    const [left] = (await place.at.json(['lease', 'list'])) as { expires_in: number; grants: null }[];
    expect(left).toMatchObject({ agent: 'run', grants: null });
    expect(left?.expires_in).toBeLessThanOrEqual(300);
    const ended = place.start(['--', ...waiting]);
    await ended.told('proxy');
    ended.signal('SIGTERM');
    expect(await ended.ended).toMatchObject({ signal: 'SIGTERM' });
    expect(await place.at.json(['lease', 'list'])).toHaveLength(1);
  });

  test('expires after --ttl even if the command continues', async () => {
    const place = await runHome();
    // Asks until it is refused.
    const script = `while curl -sS -o /dev/null -f ${place.upstream.url}/ 2>/dev/null; do :; done; echo refused=yes; curl -s ${place.upstream.url}/ | head -c 0; exit 0`;
    const { exit, stdout, stderr } = await place.run(['--ttl', '2s', '--', 'sh', '-c', script]);
    expect({ exit, stdout }).toEqual({ exit: 0, stdout: 'refused=yes\n' });
    expect(stderr).toContain('lease_expired');
  });

  test('permits the given grants', async () => {
    const place = await runHome();
    const asks = ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', `${place.upstream.url}/`];
    await place.at.grant('other', { type: 'api_key', value: 'other-token-0123456789' });
    expect(await place.run(['--quiet', '--grant', 'desk', '--', ...asks])).toMatchObject({ stdout: '200' });
    expect(await place.run(['--quiet', '--grant', 'other', '--', ...asks])).toMatchObject({ stdout: '403' });
    expect(await place.run(['--grant', 'none', '--', ...asks])).toMatchObject({ exit: 4, stdout: '' });
  });

  test('permits only what its agent may use, and the agent named run can be narrowed or disabled', async () => {
    const place = await runHome();
    const asks = ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', `${place.upstream.url}/`];
    await place.at.grant('other', { type: 'api_key', value: 'other-token-0123456789' });
    await place.at.run(['agent', 'create', 'narrow', '--grant', 'other']);
    const narrow = await place.run(['--agent', 'narrow', '--', ...asks]);
    expect(narrow).toMatchObject({ stdout: '403', stderr: expect.stringContaining('grant_missing') });
    expect(await place.run(['--agent', 'nobody', '--', ...asks])).toMatchObject({ exit: 2, stdout: '' });
    await place.run(['--quiet', '--', 'true']);
    await place.at.run(['agent', 'bind', 'run', '--remove', '--everything']);
    expect(await place.run(['--quiet', '--', ...asks])).toMatchObject({ stdout: '403' });
    await place.at.run(['agent', 'set', 'run', '--disable']);
    expect(await place.run(['--', ...asks])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('sidekey agent set run --enable'),
    });
    const { stdout } = await place.at.run(['agent', 'list']);
    expect(stdout).toMatch(/^run +disabled +- +nothing +0 /m);
  });

  test('is used for programs that cannot authenticate, if the config requires no token', async () => {
    const place = await runHome();
    const bare = [
      'sh',
      '-c',
      `curl -s -o /dev/null -w '%{http_connect}' -x "http://\${HTTPS_PROXY#*@}" ${place.upstream.url}/`,
    ];
    const wrong = [
      'sh',
      '-c',
      `curl -s -o /dev/null -w '%{http_connect}' -x "http://run:wrong@\${HTTPS_PROXY#*@}" ${place.upstream.url}/`,
    ];
    expect(await place.run(['--', ...bare])).toMatchObject({
      stdout: '200',
      stderr: expect.stringContaining('1 request with a credential'),
    });
    expect(await place.run(['--', ...wrong])).toMatchObject({
      stdout: '407',
      stderr: expect.stringContaining('1 refused'),
    });
    expect(place.seen).toEqual([`Bearer ${deskToken}`]);
    const strict = await runHome(undefined, () => ({
      proxy: { listen: '127.0.0.1:0', authentication: 'required' },
    }));
    const strictly = bare.map((word) => word.replaceAll(place.upstream.url, strict.upstream.url));
    expect(await strict.run(['--', ...strictly])).toMatchObject({ stdout: '407' });
    expect(strict.seen).toEqual([]);
  });
});
