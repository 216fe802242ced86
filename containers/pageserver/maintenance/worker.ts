/** The compaction thread's entry: jobs in, files out, one after another. */
import { parentPort } from 'node:worker_threads';
import { CompactionError, type CompactionErrorCode, type CompactionJob, type JobFile } from './job.ts';
import { runJob } from './run-job.ts';

export type ToWorker = { tag: 'run'; id: number; job: CompactionJob } | { tag: 'cancel'; id: number };
export type FromWorker =
  | { tag: 'done'; id: number; files: JobFile[] }
  | { tag: 'failed'; id: number; code: CompactionErrorCode; message: string };

const running = new Map<number, AbortController>();
const port = parentPort;
if (port === null) throw new Error('this is run as a worker thread');
const answer = (message: FromWorker): void => port.postMessage(message);

port.on('message', (message: ToWorker) => {
  if (message.tag === 'cancel') running.get(message.id)?.abort();
  else void run(message.id, message.job);
});

async function run(id: number, job: CompactionJob): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    answer({ tag: 'done', id, files: await runJob(job, controller.signal) });
  } catch (error) {
    const { code, message } = error as CompactionError;
    answer({ tag: 'failed', id, code, message });
  } finally {
    running.delete(id);
  }
}
