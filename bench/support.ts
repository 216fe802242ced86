/**
 * What the benchmarks share: the same Postgres build alone, pgbench, medians, a table for docs/BENCHMARKS.md.
 */
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { PostgresCluster } from '../test/support/postgres-cluster.ts';

const run = promisify(execFile);

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** The baseline: the same Postgres build on this machine's disk, fsync=on, over TCP on loopback. */
export async function startAlone(): Promise<{ url: string; cluster: PostgresCluster }> {
  const port = await freePort();
  const cluster = await PostgresCluster.create({
    settings: {
      fsync: 'on',
      synchronous_commit: 'on',
      listen_addresses: '127.0.0.1',
      port: String(port),
      shared_buffers: '128MB',
      max_wal_size: '4GB',
    },
  });
  const url = `postgres://ebb_admin@127.0.0.1:${port}/postgres`;
  return { url, cluster };
}

export interface PgbenchResult {
  tps: number;
  latencyMs: number;
}
export async function pgbench(url: string, args: string[]): Promise<PgbenchResult> {
  const { stdout } = await run('pgbench', ['-n', ...args, url], { maxBuffer: 64 << 20 });
  const tps = Number(/tps = ([\d.]+) \(without initial/.exec(stdout)?.[1]);
  const latencyMs = Number(/latency average = ([\d.]+) ms/.exec(stdout)?.[1]);
  if (!Number.isFinite(tps)) throw new Error(`pgbench printed no tps:\n${stdout}`);
  return { tps, latencyMs };
}
export const pgbenchInit = (url: string, scale: number): Promise<unknown> =>
  run('pgbench', ['-i', '-q', '-s', String(scale), url], { maxBuffer: 64 << 20 });

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Prints rows as a Markdown table. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  console.log([line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n'));
}
