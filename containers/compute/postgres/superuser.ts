/**
 * This process's own connections as the reserved superuser: one for SQL, opened when it is first needed, and one
 * for the replication protocol's commands.
 *
 * The latter belongs to no database, so it costs no catalog pages on the way to the first client, and it tells WAL
 * positions while statements run on the other one.
 */
import { parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { Connection, type Result } from './connection.ts';
import { quoteIdentifier } from './quote.ts';
import { ADMIN_ROLE } from './settings.ts';

/** Nobody owns a way to change what unqualified names mean on these connections, or how texts are read. */
const SESSION = '-c search_path=pg_catalog -c standard_conforming_strings=on -c statement_timeout=0';
const APPLICATION = 'ebb_compute';

export class Superuser {
  readonly #socketPath: string;
  #sql: Promise<Connection> | null = null;
  #replicating: Promise<Connection> | null = null;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Runs SQL in database `postgres`. Throws ServerError or ConnectionError. */
  async query(sql: string): Promise<Result[]> {
    const connection = await (this.#sql = this.#reuse(this.#sql, () => this.connect('postgres')));
    return connection.query(sql);
  }

  /** A connection of its own, to be closed by the caller. */
  connect(database: string): Promise<Connection> {
    return this.#open({ database, parameters: { application_name: APPLICATION, options: SESSION } });
  }

  /** pg_current_wal_flush_lsn: at or behind every commit that Postgres has reported to anyone. */
  async flushLsn(): Promise<Lsn> {
    const [result] = await this.#replication('IDENTIFY_SYSTEM');
    return parseLsn(result?.rows[0]?.[2] ?? '');
  }

  /** Makes a physical replication slot that keeps WAL from the last checkpoint on. Throws as `query`. */
  async createSlot(name: string): Promise<void> {
    await this.#replication(`CREATE_REPLICATION_SLOT ${quoteIdentifier(name)} PHYSICAL (RESERVE_WAL)`);
  }

  async #replication(command: string): Promise<Result[]> {
    this.#replicating = this.#reuse(this.#replicating, () =>
      this.#open({ parameters: { application_name: APPLICATION, replication: 'true' } }),
    );
    return (await this.#replicating).query(command);
  }

  async close(): Promise<void> {
    const open = [this.#sql, this.#replicating];
    this.#sql = null;
    this.#replicating = null;
    for (const promise of open) {
      const connection = await promise?.catch(() => null); // one that never came needs no closing
      await connection?.close();
    }
  }

  #open(options: { database?: string; parameters: Record<string, string> }): Promise<Connection> {
    return Connection.connect({ socketPath: this.#socketPath, user: ADMIN_ROLE, ...options });
  }

  /** The connection that is there, or a new one where there is none or it has ended. */
  #reuse(current: Promise<Connection> | null, open: () => Promise<Connection>): Promise<Connection> {
    if (current === null) return open();
    return current.then(
      (connection) => (connection.isOpen ? connection : open()),
      () => open(),
    );
  }
}
