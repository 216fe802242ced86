/**
 * The account: which projects there are, and which endpoint has which number and name.
 *
 * One object. It is asked when projects are listed or made and when a cancel request names an endpoint by its
 * number; no connection and no query passes through it.
 */
import { DurableObject } from 'cloudflare:workers';
import type { Env } from '../../workers/env.ts';
import type { AccountRpc } from '../contracts.ts';

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS project(id TEXT PRIMARY KEY, created_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS endpoint(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project_id TEXT NOT NULL);
`;

export class Account extends DurableObject<Env> implements AccountRpc {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec(SCHEMA);
  }

  projects(): string[] {
    return this.#sql
      .exec<{ id: string }>('SELECT id FROM project ORDER BY created_at, id')
      .toArray()
      .map((row) => row.id);
  }
  addProject(projectId: string): void {
    this.#sql.exec('INSERT INTO project VALUES (?, ?)', projectId, new Date().toISOString());
  }
  removeProject(projectId: string): void {
    this.#sql.exec('DELETE FROM endpoint WHERE project_id = ?', projectId);
    this.#sql.exec('DELETE FROM project WHERE id = ?', projectId);
  }

  /** Takes the first of `names` that is free for an endpoint; null when none is. */
  reserveEndpoint(projectId: string, names: string[]): { endpointId: string; endpointNumber: number } | null {
    const taken = (query: string, value: SqlStorageValue) =>
      this.#sql.exec(query, value).toArray().length > 0;
    const endpointId = names.find((name) => !taken('SELECT 1 FROM endpoint WHERE id = ?', name));
    if (endpointId === undefined) return null;
    let endpointNumber: number;
    do endpointNumber = crypto.getRandomValues(new Uint32Array(1))[0] & 0x7fff_ffff;
    while (endpointNumber === 0 || taken('SELECT 1 FROM endpoint WHERE number = ?', endpointNumber));
    this.#sql.exec('INSERT INTO endpoint VALUES (?, ?, ?)', endpointNumber, endpointId, projectId);
    return { endpointId, endpointNumber };
  }

  removeEndpoint(endpointId: string): void {
    this.#sql.exec('DELETE FROM endpoint WHERE id = ?', endpointId);
  }

  endpointOfNumber(endpointNumber: number): Promise<string | null> {
    const rows = this.#sql
      .exec<{ id: string }>('SELECT id FROM endpoint WHERE number = ?', endpointNumber)
      .toArray();
    return Promise.resolve(rows[0]?.id ?? null);
  }
}
