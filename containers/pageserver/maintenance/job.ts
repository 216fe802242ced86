/**
 * What compaction asks another thread to do: plain data, since layers are files that never change. The caller has opened
 * the files, so that nothing that becomes of them meanwhile matters.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key, KeyRange } from '../../../lib/storage/key.ts';
import type { LayerDescriptor } from '../../../lib/storage/layers/descriptor.ts';

export interface JobLayer {
  /** Open file descriptor of the process. */
  file: number;
  timelineId: string;
  descriptor: LayerDescriptor;
  size: number;
}

interface JobOutput {
  timelineId: string;
  generation: number;
  /** Outputs are written to `{pathPrefix}{number}.partial`. */
  pathPrefix: string;
  fileBytesTarget: number;
  layers: JobLayer[];
}
export interface MergeJob extends JobOutput {
  kind: 'merge';
  startLsn: Lsn;
  endLsn: Lsn;
}
export interface ImageJob extends JobOutput {
  kind: 'image';
  lsn: Lsn;
  /** In key order; `layer` is an index into `layers`. */
  parts: { keys: KeyRange; inputs: { layer: number; after: Lsn; upTo: Lsn }[] }[];
  sizes: [Key, number][];
  filesMax: number;
}
export type CompactionJob = MergeJob | ImageJob;

export interface JobFile {
  path: string;
  descriptor: LayerDescriptor;
  size: number;
}
/** Does one job; rejects with what went wrong, and then leaves no files. */
export interface CompactionRunner {
  run(job: CompactionJob, signal: AbortSignal): Promise<JobFile[]>;
}

/**
 * `refused`: redo refused a page, so that no image can be made of it. `cancelled`: nobody wants it any more. `failed`: all else;
 * another attempt may do better.
 */
export type CompactionErrorCode = 'refused' | 'cancelled' | 'failed';

export class CompactionError extends Error {
  override readonly name = 'CompactionError';
  readonly code: CompactionErrorCode;
  constructor(code: CompactionErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}
