/**
 * `ebb inspect`: what a person asks when looking for where a row went.
 *
 *   page          a page as the pageserver rebuilds it at an LSN
 *   wal           records as a safekeeper holds them
 *   layers        what the pageserver has filed, and where
 *   safekeepers   terms and positions of the three
 */
import { writeFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { SAFEKEEPER_COUNT } from '../../../lib/protocol/specs.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { layerMapSvg, layerMapText, type DrawnTimeline } from './layer-map.ts';
import { InspectClient, InspectError, type Target } from './client.ts';
import { describePage } from './page-text.ts';
import { forkNumber, relationByName, relationByNumbers } from './relation.ts';
import { table, type Cell } from './table.ts';
import { decodeWal, pageStart, walText } from './wal-text.ts';

interface Common extends Target {
  json?: boolean;
}
interface PageOptions extends Common {
  relation?: string;
  rel?: string;
  database?: string;
  fork: string;
  block: string;
  lsn?: string;
}
interface WalOptions extends Common {
  from?: string;
  to?: string;
  safekeeper: string;
  limit: string;
}

/** How far back `ebb inspect wal` begins when it is not told where. */
const WAL_TAIL_BYTES = 64 * 1024;

export function addInspectCommands(inspect: Command, dirOption: () => Option): void {
  const command = (name: string, description: string) =>
    inspect
      .command(name)
      .description(description)
      .addOption(dirOption())
      .option('--project <id>', 'default: the first project')
      .option('--branch <name>', 'default: its first branch')
      .option('--json', 'as JSON');
  command('page', 'one page: header, line pointers, tuples')
    .option('--relation <name>', 'table, index or sequence; wakes the compute to resolve the name')
    .option('--rel <spc/db/rel>', 'the same by numbers: tablespace, database, relation file')
    .option('--database <name>', 'of the relation; default: main')
    .option('--fork <name>', 'main, fsm, vm or init', 'main')
    .option('--block <n>', 'block number', '0')
    .option('--lsn <lsn>', 'as of this position; default: the newest that the pageserver has')
    .action(inspectPage);
  command('wal', 'WAL records')
    .option('--from <lsn>', 'default: the last 64 KiB')
    .option('--to <lsn>', 'default: the end')
    .option('--safekeeper <n>', 'the one at place 1, 2 or 3', '1')
    .option('--limit <n>', 'at most so many records', '1000')
    .action(inspectWal);
  command('layers', 'delta and image layers of the pageserver, and a map of them (key × LSN)')
    .option('--svg <file>', 'draws the map into an SVG file')
    .action(inspectLayers);
  command('safekeepers', 'terms and positions').action(inspectSafekeepers);
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));

function position(option: string, text: string): Lsn {
  try {
    return parseLsn(text);
  } catch (error) {
    throw new InspectError(`${option}: ${(error as Error).message}`);
  }
}
function count(option: string, text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InspectError(`${option} ${text}: not a number`);
  return Number(text);
}

async function inspectPage(options: PageOptions): Promise<void> {
  const client = await InspectClient.open(options);
  if (!options.relation === !options.rel) throw new InspectError('give either --relation or --rel');
  const relation = options.relation
    ? await relationByName(client, options.relation, options.database)
    : relationByNumbers(options.rel!);
  const query = new URLSearchParams({
    spc: String(relation.spcOid),
    db: String(relation.dbOid),
    rel: String(relation.relNumber),
    fork: String(forkNumber(options.fork)),
    block: String(count('--block', options.block)),
    ...(options.lsn ? { lsn: options.lsn } : {}),
  });
  const bytes = await client.pageserverBytes(`/page?${query.toString()}`);
  if (options.json) return printJson({ ...relation, bytes: Buffer.from(bytes).toString('hex') });
  print(`${relation.spcOid}/${relation.dbOid}/${relation.relNumber} ${options.fork} block ${options.block}`);
  print(describePage(bytes));
}

async function inspectWal(options: WalOptions): Promise<void> {
  const client = await InspectClient.open(options);
  const number = count('--safekeeper', options.safekeeper);
  if (number < 1 || number > SAFEKEEPER_COUNT) throw new InspectError('--safekeeper: 1, 2 or 3');
  const from = options.from ? position('--from', options.from) : await tailOf(client, number);
  const start = pageStart(from);
  const query = new URLSearchParams({
    from: formatLsn(start),
    uncommitted: '1',
    ...(options.to ? { to: formatLsn(position('--to', options.to)) } : {}),
  });
  const bytes = await client.safekeeperBytes(number, `/wal?${query.toString()}`);
  const listing = decodeWal(bytes, start, from, count('--limit', options.limit));
  if (options.json) printJson(listing);
  else print(walText(listing, lsn(start + bytes.length)));
}

async function tailOf(client: InspectClient, safekeeper: number): Promise<Lsn> {
  const status = (await client.safekeeperJson(safekeeper, '/status')) as Record<string, unknown>;
  const flush = status.flushLsn;
  const start = status.startLsn;
  if (typeof flush !== 'string')
    throw new InspectError(`safekeeper ${safekeeper} tells no flushLsn: give --from`);
  const earliest = typeof start === 'string' ? parseLsn(start) : 0;
  return lsn(Math.max(parseLsn(flush) - WAL_TAIL_BYTES, earliest, 0));
}

async function inspectLayers(options: Common & { svg?: string }): Promise<void> {
  const client = await InspectClient.open(options);
  const answer = await client.pageserverJson('/layers');
  if (options.svg !== undefined) await writeFile(options.svg, layerMapSvg(answer as DrawnTimeline));
  if (options.json) return printJson(answer);
  const { layers, ...rest } = (Array.isArray(answer) ? { layers: answer } : answer) as {
    layers: Record<string, unknown>[];
  };
  for (const [name, value] of Object.entries(rest)) print(`${name}: ${cell(value)}`);
  if (layers.length === 0) return print('no layers: everything is in memory and in the WAL');
  print(table(layers.map(flat)));
  print(`\n${layerMapText(answer as DrawnTimeline)}`);
}

async function inspectSafekeepers(options: Common): Promise<void> {
  const client = await InspectClient.open(options);
  const rows: Record<string, unknown>[] = [];
  for (let number = 1; number <= SAFEKEEPER_COUNT; number++) {
    const status = await client.safekeeperJson(number, '/status');
    rows.push({ safekeeper: number, ...(status as Record<string, unknown>) });
  }
  if (options.json) printJson(rows);
  else print(table(rows.map((row) => flat(pick(row, SAFEKEEPER_COLUMNS)))));
}

/** What tells how far each is; `--json` shows all. */
const SAFEKEEPER_COLUMNS = [
  'safekeeper',
  'term',
  'flushLsn',
  'commitLsn',
  'backupLsn',
  'localBeginLsn',
  'remoteConsistentLsn',
  'backupBy',
  'backupFailure',
  'walBytes',
  'walBytesMax',
  'full',
  'proposers',
];
const pick = (row: Record<string, unknown>, names: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(names.filter((name) => name in row).map((name) => [name, row[name]]));

const flat = (row: Record<string, unknown>): Record<string, Cell> =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [name, cell(value)]));

const cell = (value: unknown): Cell =>
  typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as Cell);
