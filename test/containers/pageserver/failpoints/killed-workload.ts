/** What the pageservers that are killed ingest: enough for several uploads and compactions. */
export const KILLED_WAL = [160, 7] as const;
/** Less than its layers take. */
export const KILLED_DISK_BYTES = 200_000;
export const KILLED_SETTINGS = { openLayerBytesMax: 120_000, quietMs: 5 };
