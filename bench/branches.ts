/**
 * How long making a branch takes, from the API's POST to its answer, whatever the size of what is branched.
 *
 *   node bench/branches.ts FOLDER SIZE_MB [rounds, default 40]
 *
 * The Ebb of FOLDER is filled up to SIZE_MB first, if it has less: do that in a run of its own, for filling takes its time.
 * Every branch is deleted again, untimed. Forms of one round follow each other, so that all see the same machine.
 */
import pg from 'pg';
import { startEbb } from '../test/support/ebb.ts';
import { median, quantile, table } from './support.ts';

const [folder, sizeText, roundsText = '40'] = process.argv.slice(2);
const size = Number(sizeText);
if (!folder || !(size > 0)) throw new Error('node bench/branches.ts FOLDER SIZE_MB [rounds]');
const ebb = await startEbb({ dir: folder });

interface Made {
  branch: { id: string };
}

try {
  const { project } = await ebb.inspectProject();
  const api = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const response = await fetch(`${ebb.httpUrl}/api/v2/projects/${project.id}${path}`, {
      method,
      headers: { authorization: `Bearer ${ebb.apiKey}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as T;
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  };

  const client = new pg.Client(ebb.postgresUrl);
  client.on('error', () => undefined); // it ends with the Ebb that it is connected to
  await client.connect();
  await client.query('CREATE TABLE IF NOT EXISTS filler (id bigint PRIMARY KEY, payload text)');
  const { rows: had } = await client.query<{ max: string }>('SELECT coalesce(max(id), 0) AS max FROM filler');
  // About 1 kB a row with its index entry: 1,000 rows are 1 MB.
  for (let filled = Number(had[0].max) / 1000; filled < size; filled += 20) {
    await client.query(
      `INSERT INTO filler SELECT i, repeat(md5(i::text), 30) FROM generate_series($1::bigint, $2::bigint) i`,
      [filled * 1000 + 1, (filled + 20) * 1000],
    );
    console.error(`filled ${filled + 20} of ${size} MB`);
  }
  const { rows: is } = await client.query<{ bytes: string; lsn: string; time: string }>(
    `SELECT pg_database_size(current_database())::text AS bytes, pg_current_wal_insert_lsn()::text AS lsn,
       to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time`,
  );
  const { lsn, time } = is[0];

  const forms: [string, object, object[]][] = [
    ['at the head', {}, []],
    ['at the head, with an endpoint', {}, [{ type: 'read_write' }]],
    ['at an LSN', { parent_lsn: lsn }, []],
    ['at a time (pageserver awake)', { parent_timestamp: time }, []],
  ];
  const times = forms.map((): number[] => []);
  for (let round = -2; round < Number(roundsText); round++) {
    await client.query('UPDATE filler SET payload = payload WHERE id = 1'); // the head moves
    for (const [i, [, branch, endpoints]] of forms.entries()) {
      const begin = performance.now();
      const made = await api<Made>('POST', '/branches', { branch, endpoints });
      if (round >= 0) times[i].push(performance.now() - begin);
      await api('DELETE', `/branches/${made.branch.id}`);
    }
  }
  await client.end();
  const database = `${(Number(is[0].bytes) / 1e6).toFixed(0)} MB`;
  const ms = (value: number) => value.toFixed(1);
  table(
    ['branch', 'database', 'times', 'min ms', 'p50 ms', 'p99 ms'],
    forms.map(([what], i) => [
      what,
      database,
      String(times[i].length),
      ms(Math.min(...times[i])),
      ms(median(times[i])),
      ms(quantile(times[i], 0.99)),
    ]),
  );
} finally {
  await ebb.interrupt();
}
