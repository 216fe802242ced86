/** Does a compaction job, on whatever thread it is called. */
import { readSync } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { assertNever } from '../../../lib/assert.ts';
import { makeImages } from '../../../lib/storage/compaction/make-images.ts';
import { mergeDeltas } from '../../../lib/storage/compaction/merge-deltas.ts';
import type { Output } from '../../../lib/storage/compaction/output.ts';
import { LayerReader, type BlockCache } from '../../../lib/storage/layers/reader.ts';
import { LayerWriter } from '../../../lib/storage/layers/writer.ts';
import { ReconstructError } from '../../../lib/storage/reconstruct.ts';
import { layerCodec } from '../layers/codec.ts';
import { CompactionError, type CompactionJob, type JobFile, type JobLayer } from './job.ts';

/** Every block is read once. */
const NO_CACHE: BlockCache = { get: () => undefined, set: () => undefined, delete: () => undefined };

/** Throws CompactionError. */
export async function runJob(job: CompactionJob, signal: AbortSignal): Promise<JobFile[]> {
  const files: JobFile[] = [];
  const handles = new Set<FileHandle>();
  try {
    const layers = await Promise.all(job.layers.map(openLayer));
    const output = outputOf(job, { files, handles }, signal);
    if (job.kind === 'merge')
      await mergeDeltas({ inputs: layers, startLsn: job.startLsn, endLsn: job.endLsn }, output);
    else if (job.kind === 'image')
      await makeImages(
        {
          parts: job.parts.map(({ keys, inputs }) => ({
            keys,
            inputs: inputs.map(({ layer, after, upTo }) => ({ reader: layers[layer], after, upTo })),
          })),
          lsn: job.lsn,
          sizes: new Map(job.sizes),
          filesMax: job.filesMax,
        },
        output,
      );
    else assertNever(job, 'compaction job');
    return files;
  } catch (error) {
    for (const handle of handles) await handle.close();
    for (const { path } of files) await rm(path, { force: true });
    if (error instanceof CompactionError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new CompactionError(error instanceof ReconstructError ? 'refused' : 'failed', message, error);
  }
}

function openLayer({ file, timelineId, descriptor, size }: JobLayer): Promise<LayerReader> {
  const read = (offset: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    const count = readSync(file, bytes, 0, length, offset);
    return count === length ? bytes : bytes.subarray(0, count);
  };
  return LayerReader.open({ descriptor, timelineId, size }, { read }, layerCodec, NO_CACHE, '');
}

/** Files that have been begun are in `files`, so that they can be removed whatever happens. */
function outputOf(
  job: CompactionJob,
  { files, handles }: { files: JobFile[]; handles: Set<FileHandle> },
  signal: AbortSignal,
): Output {
  const { timelineId, generation, pathPrefix, fileBytesTarget } = job;
  const check = (): void => {
    if (signal.aborted) throw new CompactionError('cancelled', 'compaction is not wanted any more');
  };
  return {
    generation,
    fileBytesTarget,
    check,
    open: async () => {
      check();
      const path = `${pathPrefix}${files.length}.partial`;
      const file = await open(path, 'w');
      handles.add(file);
      const entry: JobFile = { path, descriptor: job.layers[0].descriptor, size: 0 };
      files.push(entry);
      const sink = async (bytes: Uint8Array) => void (await file.write(bytes));
      const writer = new LayerWriter({ timelineId, codec: layerCodec, sink });
      return {
        writer,
        finish: async (descriptor) => {
          entry.descriptor = descriptor;
          entry.size = await writer.finish(descriptor);
          handles.delete(file);
          await file.close();
        },
      };
    },
  };
}
