/**
 * What the bootstrap superuser made in a database, given to another role: everything but the system's own objects and members of
 * extensions, which stay with the superuser as those of a trusted extension do.
 *
 * REASSIGN OWNED refuses to do this for the bootstrap superuser, whose objects it takes for the system's; so each is altered by name.
 */
import { quoteLiteral } from '../../containers/compute/postgres/quote.ts';
import type { Superuser } from '../../containers/compute/postgres/superuser.ts';

const FIRST_USER_OID = 16_384;
const BOOTSTRAP = 10;

/** One ALTER … OWNER TO for each object; `%2$I` is the new owner. */
const ALTERATIONS: readonly string[] = [
  // Schemas first: what is in them can be owned by whoever may create there.
  `SELECT format('ALTER SCHEMA %1$I OWNER TO %2$I', nspname, owner.name) FROM pg_namespace n, owner
   WHERE mine(nspowner, n.oid, 'pg_namespace') AND nspname !~ '^pg_'`,
  // Sequences of columns, indexes and TOAST tables go with their tables.
  `SELECT format('ALTER %3$s %1$s OWNER TO %2$I', c.oid::regclass, owner.name,
     CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
       WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END)
   FROM pg_class c, owner
   WHERE mine(relowner, c.oid, 'pg_class') AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f') AND relpersistence <> 't'
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')`,
  `SELECT format('ALTER ROUTINE %1$s OWNER TO %2$I', p.oid::regprocedure, owner.name) FROM pg_proc p, owner
   WHERE mine(proowner, p.oid, 'pg_proc')`,
  `SELECT format('ALTER TYPE %1$s OWNER TO %2$I', format_type(t.oid, NULL), owner.name) FROM pg_type t, owner
   WHERE mine(typowner, t.oid, 'pg_type') AND typtype IN ('b', 'd', 'e', 'r', 'c')
     AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
     AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')`,
  `SELECT format('ALTER LARGE OBJECT %1$s OWNER TO %2$I', l.oid, owner.name) FROM pg_largeobject_metadata l, owner
   WHERE lomowner = ${BOOTSTRAP}`,
  `SELECT format('ALTER STATISTICS %1$I.%3$I OWNER TO %2$I', nspname, owner.name, stxname)
   FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace, owner
   WHERE mine(stxowner, s.oid, 'pg_statistic_ext')`,
  `SELECT format('ALTER COLLATION %1$I.%3$I OWNER TO %2$I', nspname, owner.name, collname)
   FROM pg_collation c JOIN pg_namespace n ON n.oid = collnamespace, owner
   WHERE mine(collowner, c.oid, 'pg_collation')`,
  `SELECT format('ALTER OPERATOR %1$s OWNER TO %2$I', o.oid::regoperator, owner.name) FROM pg_operator o, owner
   WHERE mine(oprowner, o.oid, 'pg_operator')`,
  `SELECT format('ALTER TEXT SEARCH CONFIGURATION %1$s OWNER TO %2$I', c.oid::regconfig, owner.name)
   FROM pg_ts_config c, owner WHERE mine(cfgowner, c.oid, 'pg_ts_config')`,
  `SELECT format('ALTER TEXT SEARCH DICTIONARY %1$s OWNER TO %2$I', d.oid::regdictionary, owner.name)
   FROM pg_ts_dict d, owner WHERE mine(dictowner, d.oid, 'pg_ts_dict')`,
];

/** Throws ServerError for what cannot be given away. */
export async function transferOwnership(superuser: Superuser, database: string, to: string): Promise<void> {
  const connection = await superuser.connect(database);
  try {
    for (const alteration of ALTERATIONS) {
      const query = alteration.replaceAll(
        /mine\((\w+), ([\w.]+), '(\w+)'\)/g,
        (_, owner: string, oid: string, catalog: string) =>
          `${owner} = ${BOOTSTRAP} AND ${oid} >= ${FIRST_USER_OID} AND NOT EXISTS (SELECT FROM pg_depend x
             WHERE x.classid = '${catalog}'::regclass AND x.objid = ${oid} AND x.deptype = 'e')`,
      );
      const [found] = await connection.query(
        `WITH owner AS (SELECT ${quoteLiteral(to)}::text AS name) ${query}`,
      );
      for (const [statement] of found.rows) await connection.query(statement!);
    }
  } finally {
    await connection.close();
  }
}
