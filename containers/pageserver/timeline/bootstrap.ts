/**
 * A new timeline: the template becomes one image layer over all keys at the LSN where the timeline's WAL starts. It is
 * uploaded and named by an index before the timeline is used, so that no WAL is ever upon pages that could be lost.
 */
import { INVALID_LSN, parseLsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS } from '../../../lib/storage/key.ts';
import type { ImageDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { Modification } from '../../../lib/storage/value.ts';
import { assert } from '../../../lib/assert.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import type { LayerStore } from '../layers/layer-store.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { PageserverContext } from './context.ts';
import { RemoteIndex, type RemoteIndexOptions } from './remote-index.ts';

/** Throws SupersededError, StorageError, and what the import throws. */
export async function bootstrap(
  context: PageserverContext,
  store: LayerStore,
  remote: RemoteIndexOptions,
): Promise<RemoteIndex> {
  const lsn = parseLsn(remote.spec.startLsn);
  const { generation } = context;
  const descriptor = { kind: 'image', keys: ALL_KEYS, lsn, generation } satisfies ImageDescriptor;
  return RemoteIndex.create(remote, { lsn, previousLsn: INVALID_LSN }, async () => {
    const ready = (await context.firstLayer?.(remote.spec, descriptor)) ?? null;
    const layer =
      ready === null
        ? await importLayer(context, store, remote.spec, descriptor)
        : await store.add(descriptor, ready);
    await store.upload(layer);
    layer.close();
    return [layer];
  });
}

async function importLayer(
  context: PageserverContext,
  store: LayerStore,
  spec: TimelineSpec,
  descriptor: ImageDescriptor,
): Promise<StoredLayer> {
  const modifications: Modification[] = [];
  await context.importTemplate(spec, (key, value) => modifications.push({ key, value }));
  modifications.sort((a, b) => (a.key < b.key ? -1 : 1));
  const layer = await store.create(async (writer) => {
    for (const { key, value } of modifications)
      if (writer.add(key, descriptor.lsn, value)) await writer.drain();
    return descriptor;
  });
  assert(layer !== null, 'an import gives a layer');
  return layer;
}
