import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { pathsOf, readPlaces } from '../../../../src/clients/confine/places.ts';

const place = {
  path: z.string().regex(/^(~\/|\/|\.)/),
  variable: z
    .string()
    .regex(/^[A-Z][A-Z0-9_]*$/)
    .optional(),
  source: z.url({ protocol: /^https$/ }),
};

describe('config/confinement.json', () => {
  it('has a path and a source for each entry, and no other keys', () => {
    const entry = z.strictObject(place);
    const extra = { program: z.string(), sets: z.boolean(), from: z.string() };
    const schema = z.strictObject({
      hidden: z.array(entry),
      writable: z.array(entry.extend(z.object(extra).partial().shape)),
      scratch: z.array(place.path),
      protected: z.array(entry),
      sockets: z.array(z.string().regex(/^[A-Z0-9_]+$/)),
    });
    expect(z.safeParse(schema, readPlaces()).error).toBeUndefined();
  });

  it.each(['hidden', 'writable', 'protected'] as const)('lists no place of %s twice', (list) => {
    const paths = readPlaces()[list].map(({ path, variable = '' }) => `${path} ${variable}`);
    expect(paths.filter((path, index) => paths.indexOf(path) !== index)).toEqual([]);
  });
});

describe('the paths of a place', () => {
  const context = { folder: '/project', homes: ['/home/alice'] };

  it.each([
    ['~/.config/gh', undefined, {}, ['/home/alice/.config/gh']],
    ['~/.config/gh', undefined, { XDG_CONFIG_HOME: '/x' }, ['/home/alice/.config/gh', '/x/gh']],
    ['~/.configured', undefined, { XDG_CONFIG_HOME: '/x' }, ['/home/alice/.configured']],
    [
      '~/.kube/config',
      'KUBECONFIG',
      { KUBECONFIG: '/a:b::' },
      ['/home/alice/.kube/config', '/a', '/project/b'],
    ],
    ['~/.config/gh', undefined, { XDG_CONFIG_HOME: 'relative' }, ['/home/alice/.config/gh']],
  ])('%s with the variable %s', (path, variable, env, expected) => {
    expect(pathsOf({ path, variable }, { env, ...context })).toEqual(expected);
  });
});
