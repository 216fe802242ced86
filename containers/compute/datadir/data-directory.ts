/**
 * The data directory of a compute: what Postgres has at the boot LSN, without copying it first.
 *
 * `prepareDataDirectory` does all that needs no manifest (starting the readers, mounting) so that it can run while the
 * log is recovered; `open` then lays out the directory in milliseconds, whatever the database's size.
 */
import type {
  DataDirectory,
  DataDirectoryContent,
  DataDirectoryPlace,
  PreparedDataDirectory,
} from './types.ts';
import { prepareFuse } from './fuse-directory.ts';
import { preparePlain } from './plain-directory.ts';
import { DataDirectoryError } from './types.ts';

/** Throws DataDirectoryError `mount` when FUSE is demanded and cannot be had. */
export async function prepareDataDirectory(place: DataDirectoryPlace): Promise<PreparedDataDirectory> {
  if (place.mode === 'plain') return preparePlain(place);
  try {
    return await prepareFuse(place);
  } catch (error) {
    if (place.mode === 'fuse' || !(error instanceof DataDirectoryError) || error.code !== 'mount')
      throw error;
    place.log.info({ reason: error.message }, 'no FUSE here: a plain data directory will be filled instead');
    return preparePlain(place);
  }
}

/** Both steps at once. Throws DataDirectoryError. */
export async function openDataDirectory(
  options: DataDirectoryPlace & DataDirectoryContent,
): Promise<DataDirectory> {
  const prepared = await prepareDataDirectory(options);
  try {
    return await prepared.open(options);
  } catch (error) {
    await prepared.close();
    throw error;
  }
}
