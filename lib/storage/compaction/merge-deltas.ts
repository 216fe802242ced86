/**
 * Deltas over ranges of LSNs become deltas over ranges of keys:
 *
 *   level 0   ▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬        level 1   ┌────┬────┬────┐
 *             ▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬   ──►            │    │    │    │
 *             ▬▬▬▬▬▬▬▬▬▬▬▬▬▬▬                  └────┴────┴────┘
 *
 * Every version of the inputs is in one of the outputs. All versions of a key go into one file, however many there are.
 */
import type { Lsn } from '../../postgres/lsn.ts';
import { ALL_KEYS } from '../key.ts';
import { MergeCursor } from '../layers/merge.ts';
import type { LayerReader } from '../layers/reader.ts';
import type { Output, OutputFile } from './output.ts';

export interface DeltaMerge {
  inputs: readonly LayerReader[];
  /** Of the outputs: from the oldest to the newest input. */
  startLsn: Lsn;
  endLsn: Lsn;
}

/** Throws LayerError, and what the output throws. */
export async function mergeDeltas({ inputs, startLsn, endLsn }: DeltaMerge, output: Output): Promise<void> {
  const merged = new MergeCursor(inputs.map((input) => input.cursor(ALL_KEYS)));
  const { generation } = output;
  let file: OutputFile | null = null;
  const finish = async ({ writer, finish }: OutputFile): Promise<void> => {
    const keys = { first: writer.firstKey!, last: writer.lastKey! };
    await finish({ kind: 'delta', keys, startLsn, endLsn, generation });
  };
  for (;;) {
    const found = merged.next();
    if (!(typeof found === 'boolean' ? found : await found)) break;
    const { key, lsn } = merged;
    if (file !== null && file.writer.bytesWritten >= output.fileBytesTarget && file.writer.lastKey !== key) {
      await finish(file);
      file = null;
    }
    file ??= await output.open();
    if (!file.writer.add(key, lsn, merged.value)) continue;
    output.check();
    await file.writer.drain();
  }
  if (file !== null) await finish(file);
}
