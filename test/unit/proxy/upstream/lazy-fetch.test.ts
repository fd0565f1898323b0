import { describe, expect, it, vi } from 'vitest';
import { lazyFetch } from '../../../../src/proxy/upstream/client.ts';

function setup() {
  const close = vi.fn(() => Promise.resolve());
  const open = vi.fn(() => Promise.resolve({ fetch: () => Promise.resolve(new Response('told')), close }));
  return { late: lazyFetch(open), open, close };
}

describe('a lazy fetch', () => {
  it('opens once, at its first use', async () => {
    const { late, open } = setup();
    expect(open).not.toHaveBeenCalled();
    const answers = await Promise.all([late.fetch('https://a.test/'), late.fetch('https://b.test/')]);
    expect(await Promise.all(answers.map((answer) => answer.text()))).toStrictEqual(['told', 'told']);
    expect(open).toHaveBeenCalledTimes(1);
  });

  it('closes if it was opened, and does not open afterwards', async () => {
    const used = setup();
    await used.late.fetch('https://a.test/');
    await used.late.close();
    expect(used.close).toHaveBeenCalledTimes(1);
    const unused = setup();
    await unused.late.close();
    await expect(unused.late.fetch('https://a.test/')).rejects.toThrowError('closed');
    expect(unused.open).not.toHaveBeenCalled();
  });
});
