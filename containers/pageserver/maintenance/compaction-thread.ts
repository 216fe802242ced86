/**
 * A thread of its own for merging, redo and packing, shared by all timelines of the pageserver, so that ingest and reads go on
 * beside it. It is started with the first job and keeps the process from nothing. Its memory is bounded: one that runs out
 * of it dies alone, its jobs fail, and the next job starts another.
 */
import { Worker } from 'node:worker_threads';
import { CompactionError, type CompactionJob, type CompactionRunner, type JobFile } from './job.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** Of JavaScript objects; what the files' blocks take comes on top, a block for each input. */
const HEAP_MEGABYTES_MAX = 256;

export class CompactionThread implements CompactionRunner {
  #worker: Worker | null = null;
  #id = 0;
  readonly #jobs = new Map<number, PromiseWithResolvers<JobFile[]>>();

  async run(job: CompactionJob, signal: AbortSignal): Promise<JobFile[]> {
    const id = ++this.#id;
    const result = Promise.withResolvers<JobFile[]>();
    this.#jobs.set(id, result);
    const worker = this.#started();
    worker.postMessage({ tag: 'run', id, job } satisfies ToWorker);
    const cancel = () => worker.postMessage({ tag: 'cancel', id } satisfies ToWorker);
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      return await result.promise;
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#jobs.delete(id);
    }
  }
  /** Ends the thread; jobs that run fail. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #started(): Worker {
    if (this.#worker !== null) return this.#worker;
    const worker = new Worker(workerUrl(), {
      trackUnmanagedFds: false, // the files are the process's, not the thread's
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MEGABYTES_MAX },
    });
    worker.unref();
    worker.on('message', (message: FromWorker) => {
      const job = this.#jobs.get(message.id);
      if (message.tag === 'done') job?.resolve(message.files);
      else job?.reject(new CompactionError(message.code, message.message));
    });
    worker.once('error', (cause) => this.#died(worker, cause));
    worker.once('exit', (code) => this.#died(worker, new Error(`exit code ${code}`)));
    this.#worker = worker;
    return worker;
  }
  #died(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    const error = new CompactionError('failed', `the compaction thread ended: ${cause.message}`, cause);
    for (const { reject } of this.#jobs.values()) reject(error);
  }
}

/** Run from the sources, or from a bundle that has the worker beside it. */
const workerUrl = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? 'worker.ts' : 'compaction-worker.js', import.meta.url);
