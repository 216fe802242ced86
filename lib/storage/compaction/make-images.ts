/**
 * Image layers of a range of keys as of one LSN, from the layers that a read at that LSN would visit, in one pass over them:
 *
 *   image ═══════════╗
 *   delta ─────────  ╠══► versions of one key at a time ──► reconstruct ──► new image
 *   delta ───────    ║
 *
 * A page counts only if its block is below its fork's size as of the LSN: what a truncation cut off is not there.
 * A key that cannot be rebuilt ends it all: the records stay where they are, and reads name the reason.
 */
import type { Lsn } from '../../postgres/lsn.ts';
import { isPageKey, keyBlock, sizeKeyOfPage, type Key, type KeyRange } from '../key.ts';
import { keyBefore } from '../layers/layer-map.ts';
import { MergeCursor } from '../layers/merge.ts';
import type { LayerReader } from '../layers/reader.ts';
import { reconstruct } from '../reconstruct.ts';
import { imageValue, startsChain, type Value, type Version } from '../value.ts';
import type { Output, OutputFile } from './output.ts';

/** A layer, and which of its versions count. */
export interface ImageInput {
  reader: LayerReader;
  /** Exclusive. */
  after: Lsn;
  /** Inclusive. */
  upTo: Lsn;
}
/** Keys to which the same layers apply. */
export interface ImagePart {
  keys: KeyRange;
  inputs: readonly ImageInput[];
}
export interface ImageCreation {
  /** They fill a range of keys, in order. */
  parts: readonly ImagePart[];
  lsn: Lsn;
  /** Size keys of the forks and segments that the range has pages of, and their blocks as of `lsn`. */
  sizes: ReadonlyMap<Key, number>;
  /** Files after which it stops; the rest of the range is left as it is. */
  filesMax: number;
}

/** Versions of a key that are held before they are replayed: a busy page may have a million. */
const VERSIONS_MAX = 1_000;

/** Throws ReconstructError, LayerError, and what the output throws. */
export async function makeImages(creation: ImageCreation, output: Output): Promise<void> {
  const { parts, lsn, sizes, filesMax } = creation;
  const { generation } = output;
  const last = parts[parts.length - 1].keys.last;
  let { first } = parts[0].keys;
  let file: OutputFile | null = null;
  let files = 0;
  const finish = async (one: OutputFile, end: Key): Promise<void> => {
    await one.finish({ kind: 'image', keys: { first, last: end }, lsn, generation });
    files++;
  };
  for (const { keys, inputs } of parts) {
    for await (const { key, content } of contents(keys, inputs, sizes)) {
      if (file !== null && file.writer.bytesWritten >= output.fileBytesTarget) {
        await finish(file, keyBefore(key));
        first = key;
        file = null;
        if (files === filesMax) return;
      }
      file ??= await output.open();
      if (!file.writer.add(key, lsn, imageValue(content))) continue;
      output.check();
      await file.writer.drain();
    }
  }
  await finish(file ?? (await output.open()), last);
}

/** The keys of a part that are there, with their contents. */
async function* contents(
  keys: KeyRange,
  inputs: readonly ImageInput[],
  sizes: ReadonlyMap<Key, number>,
): AsyncGenerator<{ key: Key; content: Uint8Array }> {
  const merged = new MergeCursor(
    inputs.map(({ reader, after, upTo }) => reader.cursor(keys, { after, upTo })),
  );
  const isThere = forkSizes(sizes);
  const versions: Version[] = [];
  let key: Key | null = null;
  let base: Uint8Array | null = null;
  const replay = (): void => {
    base = reconstruct(key!, base, versions);
    versions.length = 0;
  };
  const rebuilt = (): { key: Key; content: Uint8Array } | null => {
    if (key === null) return null;
    replay();
    const content = base;
    base = null;
    return content === null ? null : { key, content };
  };
  for (;;) {
    const found = merged.next();
    if (!(typeof found === 'boolean' ? found : await found)) break;
    if (merged.key !== key) {
      const before = rebuilt();
      if (before !== null) yield before;
      key = merged.key;
    }
    if (!isThere(key)) continue;
    // Copied: the block that it is in may be gone when the last version of the key is reached.
    const value = merged.value.slice() as Value;
    if (startsChain(value)) {
      versions.length = 0;
      base = null;
    } else if (versions.length === VERSIONS_MAX) replay();
    versions.push({ lsn: merged.lsn, value });
  }
  const before = rebuilt();
  if (before !== null) yield before;
}

/** Whether a key is within its fork; pages of a fork come together. */
function forkSizes(sizes: ReadonlyMap<Key, number>): (key: Key) => boolean {
  let prefix = '';
  let blocks = 0;
  return (key) => {
    if (!isPageKey(key)) return true;
    if (!key.startsWith(prefix) || prefix === '') {
      prefix = key.slice(0, 14);
      blocks = sizes.get(sizeKeyOfPage(key)) ?? 0;
    }
    return keyBlock(key) < blocks;
  };
}
