/**
 * A new timeline: the template becomes one image layer over all keys at the LSN where the timeline's WAL starts. It is
 * uploaded and named by an index before the timeline is used, so that no WAL is ever upon pages that could be lost.
 */
import { INVALID_LSN, parseLsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS } from '../../../lib/storage/key.ts';
import type { ImageDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { Modification } from '../../../lib/storage/value.ts';
import { assert } from '../../../lib/assert.ts';
import type { LayerStore } from '../layers/layer-store.ts';
import type { PageserverContext } from './context.ts';
import { RemoteIndex, type RemoteIndexOptions } from './remote-index.ts';

/** Throws SupersededError, StorageError, and what the import throws. */
export async function bootstrap(
  context: PageserverContext,
  store: LayerStore,
  remote: RemoteIndexOptions,
): Promise<RemoteIndex> {
  const modifications: Modification[] = [];
  await context.importTemplate(remote.spec, (key, value) => modifications.push({ key, value }));
  modifications.sort((a, b) => (a.key < b.key ? -1 : 1));
  const lsn = parseLsn(remote.spec.startLsn);
  const layer = await store.create(async (writer) => {
    for (const { key, value } of modifications) if (writer.add(key, lsn, value)) await writer.drain();
    return { kind: 'image', keys: ALL_KEYS, lsn, generation: context.generation } satisfies ImageDescriptor;
  });
  assert(layer !== null, 'an import gives a layer');
  await store.upload(layer);
  layer.close();
  return RemoteIndex.create(remote, { lsn, previousLsn: INVALID_LSN }, [layer]);
}
