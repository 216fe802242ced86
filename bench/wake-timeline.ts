/**
 * One wake as a timeline: every station's begin and end on one clock, in milliseconds since the client's connect().
 *
 *   client    its own messages: authenticated, ready for queries, first row
 *   objects   the Compute object: asked, container started, container ready (/inspect)
 *   compute   the phases of the boot (/inspect)
 *   pageserver  process begun, listening, timeline attached (its log)
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import type { Ebb } from '../test/support/ebb.ts';

export type Stations = Record<string, readonly [beginMs: number, endMs: number]>;

interface Status {
  processStartedAtMs: number;
  bootSpans: Record<string, [number, number]>;
  start: { askedAtMs: number; startedAtMs: number; readyAtMs: number } | null;
}
/** pg's connection, of which its types say nothing. */
interface WithConnection {
  connection: { once(event: string, listener: () => void): void };
}

const epoch = (): number => performance.timeOrigin + performance.now();

/** Connects, reads one row, and gathers what every part noted meanwhile. */
export async function traceWake(ebb: Ebb, text: string, values: unknown[]): Promise<Stations> {
  const client = new pg.Client(ebb.postgresUrl);
  const { connection } = client as unknown as WithConnection;
  let authenticated = 0;
  connection.once('authenticationOk', () => (authenticated = epoch()));
  const begin = epoch();
  await client.connect();
  const ready = epoch();
  await client.query(text, values);
  const end = epoch();
  const status = (await ebb.computeStatus()) as Status;
  await client.end();

  const stations: Record<string, [number, number]> = {
    'client: connect to AuthenticationOk': [begin, authenticated],
    'client: AuthenticationOk to ReadyForQuery': [authenticated, ready],
    'client: first query': [ready, end],
  };
  if (status.start !== null && status.start.askedAtMs >= begin - 1) {
    const { askedAtMs, startedAtMs, readyAtMs } = status.start;
    stations['Compute object: specification and term'] = [askedAtMs, startedAtMs];
    stations['Compute object: start to /ready'] = [startedAtMs, readyAtMs];
    stations['engine: start to the process of the compute'] = [startedAtMs, status.processStartedAtMs];
  }
  for (const [phase, [from, to]] of Object.entries(status.bootSpans))
    stations[`compute: ${phase}`] = [status.processStartedAtMs + from, status.processStartedAtMs + to];
  for (const [what, at] of pageserverStations(ebb.dir)) if (at[0] >= begin) stations[what] = at;
  return Object.fromEntries(
    Object.entries(stations).map(([what, [from, to]]) => [what, [from - begin, to - begin] as const]),
  );
}

/** The last start in the pageserver's log. */
function* pageserverStations(dir: string): Generator<[string, [number, number]]> {
  const logs = join(dir, 'logs');
  for (const name of readdirSync(logs).filter((each) => each.startsWith('pageserver-'))) {
    const text = readFileSync(join(logs, name), 'utf8');
    const last = text.slice(text.lastIndexOf('\n--- ') + 1);
    const started = Date.parse(/^--- (\S+) start/.exec(last)?.[1] ?? '');
    const events = last.split('\n').flatMap((line) => {
      if (!line.startsWith('{')) return [];
      return [JSON.parse(line) as { msg: string; time: number; ms?: number }];
    });
    const listening = events.find(({ msg }) => msg === 'listening');
    if (listening) yield ['pageserver: load, to listening', [started, listening.time]];
    const attached = events.find(({ msg }) => msg === 'attached');
    if (attached) yield ['pageserver: attach', [attached.time - (attached.ms ?? 0), attached.time]];
  }
}

/** One line a station, in the order of their begins, with a bar. */
export function printTimeline(stations: Stations): void {
  const entries = Object.entries(stations).sort(([, a], [, b]) => a[0] - b[0] || b[1] - a[1]);
  const end = Math.max(...entries.map(([, [, to]]) => to));
  const width = 60;
  for (const [what, [from, to]] of entries) {
    const at = Math.max(0, Math.round((from / end) * width));
    const bar = ' '.repeat(at) + '█'.repeat(Math.max(1, Math.round((to / end) * width) - at));
    console.log(`${from.toFixed(0).padStart(5)} ${to.toFixed(0).padStart(5)}  ${bar.padEnd(width)}  ${what}`);
  }
}
