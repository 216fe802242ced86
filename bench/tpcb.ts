/**
 * pgbench TPC-B and select-only through Ebb's raw TCP entrance, against the same Postgres build alone (fsync=on,
 * its own disk, loopback TCP). Interleaved round by round; the ratio is taken pair by pair.
 *
 *   node bench/tpcb.ts [seconds per round, default 10] [rounds, default 3] [scale, default 10]
 */
import { startEbb } from '../test/support/ebb.ts';
import { median, pgbench, pgbenchInit, startAlone, table } from './support.ts';

const [seconds = 10, rounds = 3, scale = 10] = process.argv.slice(2).map(Number);
const ebb = await startEbb();
const { url: alone, cluster } = await startAlone();
try {
  await pgbenchInit(ebb.postgresUrl, scale);
  await pgbenchInit(alone, scale);
  const rows: string[][] = [];
  for (const [workload, script] of [
    ['TPC-B', []],
    ['select-only', ['-S']],
    ['select-only, prepared', ['-S', '-M', 'prepared']],
  ] as const) {
    for (const clients of [1, 8]) {
      const args = [...script, '-c', String(clients), '-j', '2', '-T', String(seconds)];
      const pairs: { ebb: number; alone: number; latency: number }[] = [];
      for (let round = 0; round < rounds; round++) {
        const first = await pgbench(ebb.postgresUrl, args);
        const second = await pgbench(alone, args);
        pairs.push({ ebb: first.tps, alone: second.tps, latency: first.latencyMs });
        console.error(`${workload} ${clients}: ${first.tps.toFixed(0)} / ${second.tps.toFixed(0)}`);
      }
      rows.push([
        workload,
        String(clients),
        median(pairs.map((pair) => pair.ebb)).toFixed(0),
        median(pairs.map((pair) => pair.alone)).toFixed(0),
        median(pairs.map((pair) => pair.ebb / pair.alone)).toFixed(2),
        median(pairs.map((pair) => pair.latency)).toFixed(2),
      ]);
    }
  }
  table(['workload', 'clients', 'Ebb tps', 'alone tps', 'ratio', 'Ebb latency ms'], rows);
} finally {
  await ebb.stop();
  await cluster.remove();
}
