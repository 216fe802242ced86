/** Where compaction writes to: layer files, one after another, each of about a target size. */
import type { LayerDescriptor } from '../layers/descriptor.ts';
import type { LayerWriter } from '../layers/writer.ts';

/** A file that is being written. */
export interface OutputFile {
  writer: LayerWriter;
  /** The file is whole, and is this layer. */
  finish(descriptor: LayerDescriptor): Promise<void>;
}

export interface Output {
  open(): Promise<OutputFile>;
  /** Bytes at which a file is ended, and another begun. */
  fileBytesTarget: number;
  generation: number;
  /** Called now and then; throws when the work is not wanted any more. */
  check(): void;
}
