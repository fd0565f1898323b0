import { describe, expect, it } from 'vitest';
import { createPipeline } from '../../../src/proxy/pipeline.ts';

describe('a pipeline', () => {
  it('runs what one connection asked for in order, one after the other', async () => {
    const pipeline = createPipeline();
    const connection = {};
    const story: string[] = [];
    const works = [
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
    ];
    const runs = works.map(({ promise }, i) =>
      pipeline.run(connection, async () => {
        story.push(`begin ${i}`);
        await promise;
        story.push(`end ${i}`);
      }),
    );
    for (const { resolve } of works.toReversed()) resolve();
    await Promise.all(runs);
    expect(story).toEqual(['begin 0', 'end 0', 'begin 1', 'end 1', 'begin 2', 'end 2']);
  });

  it('begins at once where nothing is under way, and lets connections not wait for each other', async () => {
    const pipeline = createPipeline();
    const begun: string[] = [];
    const slow = Promise.withResolvers<void>();
    const first = pipeline.run({}, () => {
      begun.push('first');
      return slow.promise;
    });
    await pipeline.run({}, () => {
      begun.push('second');
      return Promise.resolve();
    });
    expect(begun).toEqual(['first', 'second']);
    slow.resolve();
    await first;
  });

  it('is busy, and counts what is left, until the last has ended', async () => {
    const pipeline = createPipeline();
    const connection = {};
    expect(pipeline.isBusy(connection)).toBe(false);
    const works = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
    const runs = works.map(({ promise }) => pipeline.run(connection, () => promise));
    expect(pipeline.depth(connection)).toBe(2);
    works[0].resolve();
    await runs[0];
    expect(pipeline.isBusy(connection)).toBe(true);
    expect(pipeline.depth(connection)).toBe(1);
    works[1].resolve();
    await runs[1];
    expect(pipeline.isBusy(connection)).toBe(false);
    expect(pipeline.depth(connection)).toBe(0);
  });
});
