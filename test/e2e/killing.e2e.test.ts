/**
 * Killing: four writers, and again and again a victim that gets `kill -9`.
 *
 * A writer's transaction inserts two halves of one number. A number that was acknowledged must be there exactly
 * once with both halves; one that was not may be there or not, but never half; and a new connection must get a
 * commit through within ten seconds of each kill.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { partOf, processTree } from '../support/inside.ts';

const ROUNDS = Number(process.env['EBB_KILL_ROUNDS'] ?? 30);
const WRITERS = 4;
const BACK_WITHIN_MS = 10_000;
const VICTIMS = ['postgres', 'compute', 'pageserver', 'workerd', 'everything'] as const;

/** A small seeded generator (mulberry32), so that a failing run can be repeated. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

class Writers {
  readonly acknowledged = new Set<string>();
  attempted = 0;
  #stopped = false;
  #onCommit: (() => void)[] = [];
  readonly #loops: Promise<void>[];

  constructor(url: string) {
    this.#loops = Array.from({ length: WRITERS }, (_, writer) => this.#write(url, writer));
  }
  /** Resolves at the next acknowledged commit of any writer. */
  nextCommit(): Promise<void> {
    return new Promise((resolve) => this.#onCommit.push(resolve));
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }
  async #write(url: string, writer: number): Promise<void> {
    let number = 0;
    while (!this.#stopped) {
      const client = new pg.Client({
        connectionString: url,
        connectionTimeoutMillis: 8000,
        query_timeout: 8000,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!this.#stopped) {
          number++;
          this.attempted++;
          await client.query('BEGIN');
          await client.query('INSERT INTO halves VALUES ($1, $2, 1)', [writer, number]);
          await client.query('INSERT INTO halves VALUES ($1, $2, 2)', [writer, number]);
          await client.query('COMMIT');
          this.acknowledged.add(`${writer}/${number}`);
          for (const resolve of this.#onCommit.splice(0)) resolve();
        }
      } catch (error) {
        if (process.env['EBB_KILL_VERBOSE']) console.log(`writer ${writer}: ${String(error)}`);
        await sleep(20);
      } finally {
        void client.end().catch(() => undefined);
      }
    }
  }
}

/** Resolves when a new connection has got a commit acknowledged. */
async function probe(url: string, when: string): Promise<void> {
  const deadline = performance.now() + 3 * BACK_WITHIN_MS;
  for (;;) {
    const client = new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: 8000,
      query_timeout: 8000,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query(`INSERT INTO probes VALUES (now())`);
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`${when}: no commit`, { cause: error });
      await sleep(20);
    } finally {
      void client.end().catch(() => undefined);
    }
  }
}

function kill(ebb: Ebb, victim: (typeof VICTIMS)[number]): number {
  const victims = victim === 'everything' ? processTree(ebb.pid) : partOf(ebb.pid, victim);
  for (const { pid } of victims) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  return victims.length;
}

test(`${ROUNDS} rounds of kill -9`, { retry: 0 }, async () => {
  const seed = Number(process.env['EBB_KILL_SEED'] ?? Date.now() % 1_000_000);
  const random = generator(seed);
  console.log(`killing: EBB_KILL_SEED=${seed}`);
  let ebb = await startEbb(process.env['EBB_KILL_DIR'] ? { dir: process.env['EBB_KILL_DIR'] } : {});
  const setup = new pg.Client(ebb.postgresUrl);
  await setup.connect();
  await setup.query(
    'CREATE TABLE halves (writer int, number int, half int); CREATE TABLE probes (at timestamptz)',
  );
  await setup.end();

  const writers = new Writers(ebb.postgresUrl);
  const counts: Record<string, number> = {};
  const back: number[] = [];
  try {
    await writers.nextCommit();
    for (let round = 1; round <= ROUNDS; round++) {
      // Any moment: an idle one, the middle of a commit, or while the last victim is still coming back.
      await sleep(random() * 400);
      // A pageserver that nobody needs at the moment may be away: then the draw is repeated.
      let victim: (typeof VICTIMS)[number];
      let killed: number;
      do {
        victim = VICTIMS[Math.floor(random() * VICTIMS.length)];
        killed = kill(ebb, victim);
      } while (killed === 0);
      const begin = performance.now();
      if (victim === 'everything') ebb = await ebb.restart();
      counts[victim] = (counts[victim] ?? 0) + 1;
      await probe(ebb.postgresUrl, `round ${round}, seed ${seed}: after killing ${victim}`);
      const took = performance.now() - begin;
      back.push(took);
      if (process.env['EBB_KILL_VERBOSE'])
        console.log(`round ${round}: ${victim} (${killed}), back after ${took.toFixed(0)} ms`);
      expect(took, `round ${round}, seed ${seed}: back after killing ${victim}`).toBeLessThan(BACK_WITHIN_MS);
    }
    await writers.stop();

    const reader = new pg.Client(ebb.postgresUrl);
    await reader.connect();
    const { rows } = await reader.query<{ writer: number; number: number; halves: string }>(
      `SELECT writer, number, string_agg(half::text, ',' ORDER BY half) AS halves FROM halves GROUP BY writer, number`,
    );
    const found = new Map(rows.map((row) => [`${row.writer}/${row.number}`, row.halves]));
    const lost = [...writers.acknowledged].filter((key) => !found.has(key));
    const torn = [...found].filter(([, halves]) => halves !== '1,2');
    back.sort((a, b) => a - b);
    console.log(
      `killing: ${ROUNDS} rounds (${JSON.stringify(counts)}), ${writers.acknowledged.size} acknowledged of ` +
        `${writers.attempted} attempted, ${found.size} there, lost ${lost.length}, torn ${torn.length}; ` +
        `back after ${back[back.length >> 1].toFixed(0)} ms in the middle, ${back.at(-1)!.toFixed(0)} ms at most`,
    );
    expect(lost).toEqual([]);
    expect(torn).toEqual([]);
    await reader.end();
  } finally {
    await writers.stop();
    await ebb.stop();
  }
});
