/** A relation by its name (asked of the database) or by its numbers. */
import { InspectError, type InspectClient } from './client.ts';

export interface Relation {
  spcOid: number;
  dbOid: number;
  relNumber: number;
  /** Access method (`heap`, `btree`, …), `sequence`, or null when only numbers were given. */
  kind: string | null;
}

const RELATION_QUERY = `
  SELECT coalesce(nullif(c.reltablespace, 0), d.dattablespace)::int8 AS spc,
         CASE WHEN c.relisshared THEN 0 ELSE d.oid::int8 END AS db,
         pg_relation_filenode(c.oid)::int8 AS rel,
         CASE c.relkind WHEN 'S' THEN 'sequence' ELSE am.amname END AS kind
    FROM pg_class c
    JOIN pg_database d ON d.datname = current_database()
    LEFT JOIN pg_am am ON am.oid = c.relam
   WHERE c.oid = $1::regclass`;

/** Resolves `name` in `database` by SQL. Throws InspectError when there is no such relation, or it has no pages. */
export async function relationByName(
  client: InspectClient,
  name: string,
  database: string | undefined,
): Promise<Relation> {
  type Row = { spc: string; db: string; rel: string | null; kind: string | null };
  const [row] = await client.sql<Row>(RELATION_QUERY, [name], database);
  if (!row?.rel)
    throw new InspectError(`${name} is a relation without pages of its own (a view, or partitioned)`);
  return { spcOid: Number(row.spc), dbOid: Number(row.db), relNumber: Number(row.rel), kind: row.kind };
}

/** Parses `1663/16384/16385`: tablespace, database, relation file number. Throws InspectError. */
export function relationByNumbers(text: string): Relation {
  const match = /^(\d{1,10})\/(\d{1,10})\/(\d{1,10})$/.exec(text);
  if (!match)
    throw new InspectError(`--rel ${text}: expected tablespace/database/relation, such as 1663/16384/16385`);
  return { spcOid: Number(match[1]), dbOid: Number(match[2]), relNumber: Number(match[3]), kind: null };
}

const FORKS = ['main', 'fsm', 'vm', 'init'];

/** ForkNumber of a fork's name or number. Throws InspectError. */
export function forkNumber(text: string): number {
  const number = FORKS.includes(text) ? FORKS.indexOf(text) : Number(text);
  if (FORKS[number] === undefined) throw new InspectError(`--fork ${text}: expected ${FORKS.join(', ')}`);
  return number;
}
