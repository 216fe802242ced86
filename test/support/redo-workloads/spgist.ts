/** SPGist. */
import type { Workload } from './workload.ts';

export const spgistWorkloads: Workload[] = [
  {
    name: 'spgist: radix tree of text, quad and kd trees, ranges, addresses, nulls',
    checks: 'spgist',
    reaches: [
      'SPGist/ADD_LEAF',
      'SPGist/MOVE_LEAFS',
      'SPGist/ADD_NODE',
      'SPGist/SPLIT_TUPLE',
      'SPGist/PICKSPLIT',
    ],
    async run(db) {
      await db.run(
        'create table trees (t text, p point, r int4range, a inet, b box)',
        'create index trees_t on trees using spgist (t)',
        'create index trees_p on trees using spgist (p)',
        'create index trees_k on trees using spgist (p kd_point_ops)',
        'create index trees_r on trees using spgist (r) include (t)',
        'create index trees_a on trees using spgist (a)',
        'create index trees_b on trees using spgist (b)',
        `insert into trees select md5(i::text), point(i % 101, i % 97), int4range(i, i + i % 20), ('10.' || i % 200 || '.1.' || i % 250)::inet,
           box(point(i, i), point(i % 7, i)) from generate_series(1, 900) i`,
        // Long common prefixes that are later split.
        `insert into trees select repeat('common prefix ', 20) || i from generate_series(1, 300) i`,
        `insert into trees select repeat('common prefix ', 10) || 'other' || i from generate_series(1, 300) i`,
        `insert into trees select repeat('common', i) from generate_series(1, 60) i`,
        `insert into trees select chr(33 + i % 90) || chr(40 + i % 70) || i from generate_series(1, 600) i`,
        'insert into trees (t) select null from generate_series(1, 600)',
        'insert into trees (p) select point(1, 1) from generate_series(1, 800)', // all the same
      );
    },
  },
  {
    name: 'spgist: inner tuples that outgrow their page',
    checks: 'spgist',
    reaches: ['SPGist/ADD_NODE', 'SPGist/SPLIT_TUPLE'],
    async run(db) {
      await db.run(
        'create table bushy (t text)',
        'create index on bushy using spgist (t)',
        `insert into bushy select chr(33 + i % 60) || chr(33 + i / 60 % 80) || repeat(md5(i::text), 9) from generate_series(0, 4799) i
         order by md5(i::text)`,
        // Inner tuples with long prefixes, which later strings split at many places.
        `insert into bushy select repeat(md5(g::text), 6) || repeat(chr(40 + i % 80), 90) || i
         from generate_series(1, 40) g, generate_series(1, 60) i`,
        `insert into bushy select left(repeat(md5(g::text), 6), 17 * n) || '~' || n from generate_series(1, 40) g, generate_series(1, 11) n
         order by md5((g * n)::text)`,
      );
    },
  },
  {
    name: 'spgist: vacuum of leaves, of a root, of redirects',
    checks: 'spgist',
    reaches: ['SPGist/VACUUM_LEAF', 'SPGist/VACUUM_ROOT', 'SPGist/VACUUM_REDIRECT'],
    async run(db) {
      await db.run(
        'create table small (t text)',
        'create index on small using spgist (t)',
        `insert into small select 't' || i from generate_series(1, 50) i`,
        'delete from small where t < $$t3$$',
        'vacuum small',
        'create table thinned (t text)',
        'create index on thinned using spgist (t)',
        `insert into thinned select md5(i::text) from generate_series(1, 2500) i`,
        'delete from thinned where random() < 0.5',
        'vacuum thinned',
        `insert into thinned select md5((i * 3)::text) from generate_series(1, 1000) i`,
        'select txid_current()',
        `delete from thinned where t > '4'`,
        'vacuum thinned',
        'delete from thinned',
        'vacuum thinned',
        `insert into thinned select repeat('q', 30) || i from generate_series(1, 1500) i`,
      );
    },
  },
];
