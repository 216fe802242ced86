/**
 * The template as a layer, made once beside it (`18.layer`): a new timeline's first layer is this file with the
 * system identifier changed (lib/storage/layers/adopt.ts), instead of thousands of pages read and compressed again.
 *
 *   node containers/pageserver/template/template-layer.ts TEMPLATE
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { constants, zstdCompress } from 'node:zlib';
import { promisify } from 'node:util';
import { decodeControlFile, encodeControlFile } from '../../../lib/postgres/control-file.ts';
import { parseLsn } from '../../../lib/postgres/lsn.ts';
import { TIMELINE_START_LSN, type TimelineSpec } from '../../../lib/protocol/specs.ts';
import { ALL_KEYS, CONTROL_FILE_KEY } from '../../../lib/storage/key.ts';
import { adoptLayer } from '../../../lib/storage/layers/adopt.ts';
import type { ImageDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import { LayerWriter } from '../../../lib/storage/layers/writer.ts';
import { imageValue, plainContent, type Modification } from '../../../lib/storage/value.ts';
import { importTemplate } from '../import/template.ts';
import { layerCodec } from '../layers/codec.ts';
import { templateLayerPath } from './paths.ts';

const compress = promisify(zstdCompress);
/** Compressed once, uploaded for every timeline; level 12 is 6 % smaller and needs three times as long. */
const params = { [constants.ZSTD_c_compressionLevel]: 3 };
/** Of nobody: an adopted layer has its own. */
const NO_TIMELINE = '0'.repeat(32);

/** Makes the layer of a template, in place of an older one. Throws TemplateError and what reading throws. */
export async function makeTemplateLayer(directory: string): Promise<void> {
  const lsn = parseLsn(TIMELINE_START_LSN);
  const modifications: Modification[] = [];
  await importTemplate({ directory, startLsn: lsn, systemIdentifier: 0n }, (key, value) =>
    modifications.push({ key, value }),
  );
  modifications.sort((a, b) => (a.key < b.key ? -1 : 1));
  const path = templateLayerPath(directory);
  const partial = `${path}.${process.pid}.partial`;
  const file = await open(partial, 'w');
  try {
    const codec = { ...layerCodec, compress: (bytes: Uint8Array) => compress(bytes.slice(), { params }) };
    const sink = async (bytes: Uint8Array) => void (await file.write(bytes));
    const writer = new LayerWriter({ timelineId: NO_TIMELINE, codec, sink });
    for (const { key, value } of modifications) if (writer.add(key, lsn, value)) await writer.drain();
    await writer.finish({ kind: 'image', keys: ALL_KEYS, lsn, generation: 0 });
    await rename(partial, path);
  } finally {
    await file.close();
    await rm(partial, { force: true });
  }
}

/**
 * The file of a new timeline's first layer; null where the template has no layer made, or for another LSN.
 * Throws LayerError when the layer is damaged or of another version.
 */
export async function firstLayerOf(
  directory: string,
  spec: TimelineSpec,
  descriptor: ImageDescriptor,
): Promise<Uint8Array | null> {
  if (spec.startLsn !== TIMELINE_START_LSN) return null;
  let file: Uint8Array;
  try {
    file = await readFile(templateLayerPath(directory));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const systemIdentifier = BigInt(spec.systemIdentifier);
  const adoption = {
    timelineId: spec.timelineId,
    descriptor,
    key: CONTROL_FILE_KEY,
    change: (value: Uint8Array) =>
      imageValue(encodeControlFile({ ...decodeControlFile(plainContent(value)!), systemIdentifier })),
  };
  return adoptLayer(file, adoption, layerCodec);
}

if (import.meta.main && process.argv[1]?.endsWith('template-layer.ts')) {
  const directory = process.argv[2];
  if (directory === undefined) {
    console.error('usage: template-layer.ts TEMPLATE');
    process.exit(2);
  }
  await makeTemplateLayer(directory);
}
