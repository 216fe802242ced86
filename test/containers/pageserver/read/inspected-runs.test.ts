import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatRuns,
  inspectedPage,
  inspectedRuns,
  pageOfRuns,
} from '../../../../containers/pageserver/read/inspected-runs.ts';
import { TimelineError } from '../../../../containers/pageserver/timeline/errors.ts';
import { SLRU_KINDS, type PageRun } from '../../../../lib/protocol/pages.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const place = { block: fc.integer({ min: 0, max: 0xffff_fffe }), count: fc.integer({ min: 1, max: 100 }) };
const run: fc.Arbitrary<PageRun> = fc.oneof(
  fc.record({
    kind: fc.constant('relation' as const),
    spcOid: u32,
    dbOid: u32,
    relNumber: u32,
    fork: fc.integer({ min: 0, max: 3 }),
    ...place,
  }),
  fc.record({
    kind: fc.constant('slru' as const),
    slru: fc.constantFrom(...SLRU_KINDS),
    segment: u32,
    ...place,
  }),
);

describe('pages named in an address', () => {
  test('runs are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(run, { minLength: 1, maxLength: 10 }), (runs) => {
        expect(inspectedRuns(formatRuns(runs))).toEqual(runs);
      }),
    );
  });

  test('one page of the pages of runs', () => {
    const runs = inspectedRuns('1/2/3/0/5/2,pg_xact:1/7/3');
    const pages = Array.from({ length: 5 }, (_, index) => formatRuns([pageOfRuns(runs, index)]));
    expect(pages).toEqual(['1/2/3/0/5/1', '1/2/3/0/6/1', 'pg_xact:1/7/1', 'pg_xact:1/8/1', 'pg_xact:1/9/1']);
    expect(() => pageOfRuns(runs, 5)).toThrow(RangeError);
  });

  test('one page', () => {
    const query = (text: string) => (name: string) => new URLSearchParams(text).get(name) ?? undefined;
    const relation = {
      kind: 'relation',
      spcOid: 1663,
      dbOid: 5,
      relNumber: 1259,
      fork: 0,
      block: 7,
      count: 1,
    };
    expect(inspectedPage(query('spc=1663&db=5&rel=1259&block=7'))).toEqual(relation);
    expect(inspectedPage(query('slru=pg_multixact/members&segment=1&block=2'))).toEqual({
      kind: 'slru',
      slru: 'pg_multixact/members',
      segment: 1,
      block: 2,
      count: 1,
    });
    expect(() => inspectedPage(query('spc=1663&db=5&rel=1259'))).toThrow(
      'block=: a number up to 4294967294 expected',
    );
  });

  test.each([
    ['', 'run : spc/db/rel/fork/block/count expected'],
    ['1/2/3/4/5', 'run 1/2/3/4/5: spc/db/rel/fork/block/count expected'],
    ['1/2/3/4/5/6', 'fork=4: a number up to 3 expected'],
    ['1/2/3/0/5/0', 'run 1/2/3/0/5/0: no pages'],
    ['1/2/3/0/5/1025', 'count=1025: a number up to 1024 expected'],
    ['1/2/3/0/5/1000,1/2/3/0/5/25', 'runs: 1025 pages, at most 1024 expected'],
    ['pg_clog:1/2/3', 'slru=pg_clog: one of pg_xact,'],
    ['pg_xact:1/2', 'run pg_xact:1/2: segment/block/count expected'],
  ])('refuses %j', (text, message) => expect(() => inspectedRuns(text)).toThrow(message));

  test('anything else is malformed, never another error', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          inspectedRuns(text);
        } catch (error) {
          expect(error).toBeInstanceOf(TimelineError);
        }
      }),
    );
  });
});
