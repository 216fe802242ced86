/**
 * Which pages a person asks for in an address.
 *
 *   ?spc=&db=&rel=[&fork=]&block=         one page of a relation
 *   ?slru=&segment=&block=                one page of an SLRU
 *   ?runs=SPC/DB/REL/FORK/BLOCK/COUNT,…   many; or SLRU:SEGMENT/BLOCK/COUNT; PAGES_MAX pages together
 */
import {
  PAGES_MAX,
  pageCount,
  SLRU_KINDS,
  type PageRun,
  type SlruKind,
} from '../../../lib/protocol/pages.ts';
import { TimelineError } from '../timeline/errors.ts';

const U32_MAX = 0xffff_ffff;
/** InvalidBlockNumber is one more (storage/block.h). */
const BLOCK_MAX = 0xffff_fffe;
const FORK_MAX = 3;

/** The one page that the query names. Throws TimelineError `malformed`. */
export function inspectedPage(query: (name: string) => string | undefined): PageRun {
  const number = (name: string, max: number, missing?: number): number => {
    const text = query(name);
    return text === undefined && missing !== undefined ? missing : parseNumber(name, text ?? '', max);
  };
  const block = number('block', BLOCK_MAX);
  const slru = query('slru');
  if (slru !== undefined)
    return { kind: 'slru', slru: parseSlru(slru), segment: number('segment', U32_MAX), block, count: 1 };
  return {
    kind: 'relation',
    spcOid: number('spc', U32_MAX),
    dbOid: number('db', U32_MAX),
    relNumber: number('rel', U32_MAX),
    fork: number('fork', FORK_MAX, 0),
    block,
    count: 1,
  };
}

/** The pages of `runs`. Throws TimelineError `malformed`. */
export function inspectedRuns(text: string): PageRun[] {
  const runs = text.split(',').map(parseRun);
  if (pageCount(runs) > PAGES_MAX)
    throw new TimelineError('malformed', `runs: ${pageCount(runs)} pages, at most ${PAGES_MAX} expected`);
  return runs;
}

/** The reverse of `inspectedRuns`. */
export const formatRuns = (runs: readonly PageRun[]): string =>
  runs
    .map((run) =>
      run.kind === 'slru'
        ? `${run.slru}:${run.segment}/${run.block}/${run.count}`
        : [run.spcOid, run.dbOid, run.relNumber, run.fork, run.block, run.count].join('/'),
    )
    .join(',');

/** Page `index` of the pages that `runs` name, as a run of its own. */
export function pageOfRuns(runs: readonly PageRun[], index: number): PageRun {
  let before = 0;
  for (const run of runs) {
    if (index < before + run.count) return { ...run, block: run.block + index - before, count: 1 };
    before += run.count;
  }
  throw new RangeError(`page ${index} of ${before}`);
}

function parseRun(text: string): PageRun {
  const colon = text.indexOf(':');
  const fields = text.slice(colon + 1).split('/');
  const names = colon < 0 ? ['spc', 'db', 'rel', 'fork', 'block', 'count'] : ['segment', 'block', 'count'];
  if (fields.length !== names.length)
    throw new TimelineError('malformed', `run ${text}: ${names.join('/')} expected`);
  const max: Record<string, number> = { fork: FORK_MAX, block: BLOCK_MAX, count: PAGES_MAX };
  const numbers = fields.map((field, i) => parseNumber(names[i], field, max[names[i]] ?? U32_MAX));
  const [block, count] = numbers.slice(-2);
  if (count === 0) throw new TimelineError('malformed', `run ${text}: no pages`);
  if (colon >= 0)
    return { kind: 'slru', slru: parseSlru(text.slice(0, colon)), segment: numbers[0], block, count };
  const [spcOid, dbOid, relNumber, fork] = numbers;
  return { kind: 'relation', spcOid, dbOid, relNumber, fork, block, count };
}

function parseNumber(name: string, text: string, max: number): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) > max)
    throw new TimelineError('malformed', `${name}=${text}: a number up to ${max} expected`);
  return Number(text);
}

function parseSlru(text: string): SlruKind {
  const kind = SLRU_KINDS.find((each) => each === text);
  if (kind === undefined)
    throw new TimelineError('malformed', `slru=${text}: one of ${SLRU_KINDS.join(', ')} expected`);
  return kind;
}
