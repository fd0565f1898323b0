/** A client of the inspector of another Node.js process. */
import type { HeapProfiler, Profiler, Runtime } from 'node:inspector';

/** The inspector of a process that was started with `--inspect=127.0.0.1:PORT`. */
export interface Inspector {
  /** @throws Error where the process refuses it or gives no answer in 30 s */
  post<Result = unknown>(method: string, params?: object): Promise<Result>;
  /** The JSON value of an expression in the process. @throws Error where it throws */
  evaluate<Value>(expression: string): Promise<Value>;
  close(): void;
}

const patienceMs = 30_000;

interface Message {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export async function openInspector(port: number): Promise<Inspector> {
  const list = await fetch(`http://127.0.0.1:${port}/json/list`, { signal: AbortSignal.timeout(patienceMs) });
  const [first] = (await list.json()) as readonly { readonly webSocketDebuggerUrl: string }[];
  if (first === undefined) throw new Error('the inspector has no target');
  const socket = new WebSocket(first.webSocketDebuggerUrl);
  const open = new Map<number, Waiting>();
  let count = 0;
  const lost = () => {
    for (const { reject } of open.values()) reject(new Error('the inspector is gone'));
    open.clear();
  };
  socket.addEventListener('close', lost);
  socket.addEventListener('message', ({ data }) => {
    const { id, result, error } = JSON.parse(String(data)) as Message;
    const waiting = id === undefined ? undefined : open.get(id);
    if (id === undefined || waiting === undefined) return;
    open.delete(id);
    if (error === undefined) waiting.resolve(result);
    else waiting.reject(new Error(error.message));
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve(), { once: true });
    socket.addEventListener('error', () => reject(new Error('the inspector refuses')), { once: true });
  });
  const inspector: Inspector = {
    post<Result>(method: string, params: object = {}) {
      count += 1;
      const id = count;
      let timer: NodeJS.Timeout | undefined;
      const answer = new Promise<unknown>((resolve, reject) => {
        open.set(id, { resolve, reject });
        timer = setTimeout(() => reject(new Error(`no answer to ${method}`)), patienceMs);
        socket.send(JSON.stringify({ id, method, params }));
      }).finally(() => clearTimeout(timer));
      return answer as Promise<Result>;
    },
    async evaluate<Value>(expression: string) {
      const { result, exceptionDetails } = await inspector.post<Runtime.EvaluateReturnType>(
        'Runtime.evaluate',
        { expression, returnByValue: true },
      );
      if (exceptionDetails !== undefined)
        throw new Error(exceptionDetails.exception?.description ?? 'it threw');
      return result.value as Value;
    },
    close: () => socket.close(),
  };
  return inspector;
}

/** A function of a profile and its own share. */
export interface Share {
  readonly name: string;
  /** File and line. */
  readonly where: string;
  /** Microseconds or bytes. */
  readonly self: number;
}

/** Time of the main thread since the start, by the clock: other programs on the core prolong both alike. */
export interface Collected {
  /** Pauses for the garbage collector. */
  readonly pausedMs: number;
  /** Time that the event loop did not wait. */
  readonly activeMs: number;
}

/** Starts to count the pauses for the garbage collector in the process. */
export async function countCollections(inspector: Inspector): Promise<() => Promise<Collected>> {
  await inspector.evaluate(`{
    const { PerformanceObserver } = process.getBuiltinModule('node:perf_hooks');
    globalThis.__benchCollected = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) globalThis.__benchCollected += duration;
    }).observe({ entryTypes: ['gc'] });
    0;
  }`);
  return () =>
    inspector.evaluate<Collected>(
      `({ pausedMs: globalThis.__benchCollected, activeMs: performance.eventLoopUtilization().active })`,
    );
}

/** Bytes that V8 has allocated in the heap since the start; null where it does not count them. */
export function allocatedBytes(inspector: Inspector): Promise<number | null> {
  return inspector.evaluate(
    `process.getBuiltinModule('node:v8').getHeapStatistics().total_allocated_bytes ?? null`,
  );
}

/** Samples allocations while `work` runs; objects that are collected meanwhile count too. */
export async function sampleHeap<Result>(
  inspector: Inspector,
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly shares: readonly Share[] }> {
  await inspector.post('HeapProfiler.startSampling', {
    samplingInterval: 32_768,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  });
  const result = await work();
  const { profile } = await inspector.post<HeapProfiler.StopSamplingReturnType>('HeapProfiler.stopSampling');
  const shares: Share[] = [];
  const visit = ({ callFrame, selfSize, children }: HeapProfiler.SamplingHeapProfileNode): void => {
    shares.push(shareOf(callFrame, selfSize));
    for (const child of children) visit(child);
  };
  visit(profile.head);
  return { result, shares: merged(shares) };
}

/** Profiles the main thread while `work` runs. */
export async function sampleCpu<Result>(
  inspector: Inspector,
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly shares: readonly Share[] }> {
  await inspector.post('Profiler.enable');
  await inspector.post('Profiler.setSamplingInterval', { interval: 500 });
  await inspector.post('Profiler.start');
  const result = await work();
  const { profile } = await inspector.post<Profiler.StopReturnType>('Profiler.stop');
  await inspector.post('Profiler.disable');
  const spent = new Map<number, number>();
  for (const [index, id] of (profile.samples ?? []).entries())
    spent.set(id, (spent.get(id) ?? 0) + (profile.timeDeltas?.[index] ?? 0));
  return {
    result,
    shares: merged(profile.nodes.map(({ id, callFrame }) => shareOf(callFrame, spent.get(id) ?? 0))),
  };
}

function shareOf({ functionName, url, lineNumber }: Runtime.CallFrame, self: number): Share {
  const file = url.replace(/^.*\/(?=(?:src|dist|test|node_modules)\/)/, '').replace(/^file:\/\//, '');
  return {
    name: functionName === '' ? '(anonymous)' : functionName,
    where: url === '' ? '' : `${file}:${lineNumber + 1}`,
    self,
  };
}

/** One for each function, the largest first. */
function merged(shares: readonly Share[]): readonly Share[] {
  const sums = new Map<string, Share>();
  for (const share of shares) {
    const key = `${share.name} ${share.where}`;
    sums.set(key, { ...share, self: (sums.get(key)?.self ?? 0) + share.self });
  }
  return [...sums.values()].toSorted((a, b) => b.self - a.self);
}

/** Executed code of a step: files, named functions, and their calls, among the files that `isOwn` selects. */
export interface Passed {
  readonly files: number;
  readonly functions: number;
  readonly calls: number;
}

/** Starts precise coverage. The function that it answers tells what `work` ran. */
export async function countFunctions(
  inspector: Inspector,
  isOwn: (url: string) => boolean,
): Promise<(work: () => Promise<unknown>) => Promise<Passed>> {
  await inspector.post('Profiler.enable');
  await inspector.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  return async (work) => {
    await inspector.post('Profiler.takePreciseCoverage');
    await work();
    const { result } = await inspector.post<Profiler.TakePreciseCoverageReturnType>(
      'Profiler.takePreciseCoverage',
    );
    const counts = result
      .filter(({ url }) => isOwn(url))
      .map(({ functions }) =>
        functions
          .filter(({ functionName }) => functionName !== '')
          .map(({ ranges }) => ranges[0]?.count ?? 0)
          .filter((count) => count > 0),
      )
      .filter(({ length }) => length > 0);
    const all = counts.flat();
    return {
      files: counts.length,
      functions: all.length,
      calls: all.reduce((sum, count) => sum + count, 0),
    };
  };
}
