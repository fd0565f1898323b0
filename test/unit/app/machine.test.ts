import { describe, expect, test } from 'vitest';
import { cpuQuota, readMachine, workerCount, type Machine } from '../../../src/app/machine.ts';

const laptop: Machine = { isContainer: false, cores: 8, quota: null, memory: null };
const container: Machine = { ...laptop, isContainer: true };
const gibibyte = 2 ** 30;

describe('the number of workers', () => {
  test.each([
    ['the configured number', 3, laptop, 3],
    ['the configured number, also in a container', 1, container, 1],
    ['one by default', null, laptop, 1],
    ['the number of cores in a container', null, container, 8],
    ['the number of cores for auto', 'auto', laptop, 8],
    ['the CPU quota in whole cores', 'auto', { ...container, quota: 2.5 }, 2],
    ['at least one', 'auto', { ...container, quota: 0.5 }, 1],
    ['limited by the memory', null, { ...container, cores: 64, memory: gibibyte }, 5],
  ] as const)('is %s', (_, wanted, machine, count) => {
    expect(workerCount(wanted, machine)).toBe(count);
  });
});

describe('the machine', () => {
  test('is a container in Kubernetes or when the environment says so', () => {
    expect(readMachine({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }).isContainer).toBe(true);
    expect(readMachine({ container: 'lxc' }).isContainer).toBe(true);
    expect(readMachine({}).cores).toBeGreaterThan(0);
  });

  test.each([
    ['no cgroup files', {}, null],
    ['no limit', { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' }, null],
    [
      'a limit at the root, as in a container',
      { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '150000 100000\n' },
      1.5,
    ],
    [
      'a lower limit in the parent group',
      {
        '/proc/self/cgroup': '0::/a/b\n',
        '/sys/fs/cgroup/a/b/cpu.max': '400000 100000\n',
        '/sys/fs/cgroup/a/cpu.max': '200000 100000\n',
      },
      2,
    ],
    [
      'control groups of version 1',
      {
        '/proc/self/cgroup': '4:memory:/\n3:cpu,cpuacct:/\n0::/\n',
        '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n',
        '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      },
      3,
    ],
    [
      'version 1 without a limit',
      {
        '/proc/self/cgroup': '3:cpu:/\n',
        '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
        '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      },
      null,
    ],
  ])('has the CPU quota of its control group with %s', (_, files, cores) => {
    expect(cpuQuota((path) => (files as Record<string, string>)[path] ?? null)).toBe(cores);
  });
});
