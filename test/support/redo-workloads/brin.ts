/** BRIN, and Generic by way of bloom. */
import type { Workload } from './workload.ts';

export const brinWorkloads: Workload[] = [
  {
    name: 'brin: summaries made, grown, moved and dropped; a map of several pages',
    checks: 'brin,generic',
    reaches: [
      'BRIN/CREATE_INDEX',
      'BRIN/INSERT',
      'BRIN/INSERT+INIT',
      'BRIN/UPDATE',
      'BRIN/SAMEPAGE_UPDATE',
      'BRIN/REVMAP_EXTEND',
      'BRIN/DESUMMARIZE',
    ],
    async run(db) {
      await db.run(
        'create table ranges (n int, t text, p int4range) with (fillfactor = 10)',
        'create index ranges_n on ranges using brin (n, t) with (pages_per_range = 1, autosummarize = off)',
        'create index ranges_p on ranges using brin (p) with (pages_per_range = 2)',
        'create index ranges_m on ranges using brin (n int4_minmax_multi_ops) with (pages_per_range = 4)',
        'create index ranges_b on ranges using brin (n int4_bloom_ops, t text_bloom_ops) with (pages_per_range = 16)',
        `insert into ranges select i, 'a', int4range(i, i + 5) from generate_series(1, 2500) i`,
        `select brin_summarize_new_values('ranges_n'), brin_summarize_new_values('ranges_p')`,
        `select brin_summarize_new_values('ranges_m'), brin_summarize_new_values('ranges_b')`,
        // Wider values do not fit where the summaries stand.
        `update ranges set t = repeat('z', 200 + n % 700) where n % 20 = 0`,
        `insert into ranges select i, repeat(md5(i::text), 20), null from generate_series(1, 400) i`,
        'vacuum ranges',
        `select brin_desummarize_range('ranges_n', b) from generate_series(0, 20) b`,
        `select brin_summarize_new_values('ranges_n')`,
        `select brin_desummarize_range('ranges_n', b) from generate_series(10, 15) b`,
        `insert into ranges select i, 'back', null from generate_series(1, 200) i`,
        'vacuum ranges',
      );
    },
  },
  {
    name: 'brin: regular pages make room for the map',
    checks: 'brin,generic',
    reaches: ['BRIN/UPDATE+INIT', 'BRIN/REVMAP_EXTEND'],
    async run(db) {
      // 1360 ranges to a page of the map: its second page takes the place of a page of summaries.
      await db.run(
        'create table tall (t text) with (fillfactor = 10)',
        'create index tall_t on tall using brin (t) with (pages_per_range = 1)',
        `insert into tall select repeat(chr(65 + i % 20), 700) from generate_series(1, 1500) i`,
        `select brin_summarize_new_values('tall_t')`,
        `insert into tall select repeat(chr(65 + i % 20), 700) from generate_series(1, 1300) i`,
        `select brin_summarize_new_values('tall_t')`,
        `update tall set t = repeat('zz', 900) where ctid in (select ctid from tall limit 150)`,
      );
    },
  },
  {
    name: 'generic: bloom',
    checks: 'brin,generic',
    reaches: ['Generic/Generic'],
    async run(db) {
      await db.run(
        'create extension bloom',
        'create table blooming (a int, b int, c text)',
        'create index blooming_i on blooming using bloom (a, b, c)',
        `insert into blooming select i, i % 10, md5(i::text) from generate_series(1, 3000) i`,
        'delete from blooming where a % 3 = 0',
        'vacuum blooming',
        `insert into blooming select i, i % 10, md5(i::text) from generate_series(1, 1000) i`,
        'delete from blooming where a > 100',
        'vacuum blooming',
      );
    },
  },
];
