/**
 * `POST /sql` between the Worker (which has authenticated the caller) and the compute's pool.
 *
 * The body is the client's JSON, untouched (Neon's HTTP protocol: `{query, params}` or `{queries: […]}`); the
 * client's `Neon-*` option headers are passed on (but not its connection string); these headers are the
 * Worker's own. `role` and `database` are percent-encoded UTF-8 (encodeURIComponent), because header values
 * hold no other text.
 */
export const SQL_HEADER = {
  role: 'x-ebb-role',
  database: 'x-ebb-database',
  /** base64 of the SCRAM ClientKey (32 bytes) that the caller's password gives with the stored secret's salt. */
  clientKey: 'x-ebb-client-key',
} as const;

/** Bytes of one request body that are accepted. */
export const SQL_BODY_BYTES_MAX = 10 << 20;
