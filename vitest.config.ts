/**
 * Four projects, told apart by what a test needs (its file name says it):
 * `.test.ts` nothing, `.workerd.test.ts` a Worker runtime, `.pg.test.ts` a real Postgres, `.e2e.test.ts` the whole.
 * The last three share one machine's cores and clocks, so they run one file at a time.
 */
import { defineConfig } from 'vitest/config';

const needs = (kind: 'workerd' | 'pg' | 'e2e', testTimeout: number) => ({
  test: {
    name: kind,
    include: [`test/**/*.${kind}.test.ts`],
    testTimeout,
    hookTimeout: testTimeout,
    // Real processes on a shared machine: a deadline missed once is repeated, and shown. (Killing never is.)
    retry: 1,
    fileParallelism: false,
    pool: 'forks' as const,
  },
});

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.{workerd,pg,e2e}.test.ts'],
          testTimeout: 20_000,
        },
      },
      needs('workerd', 60_000),
      needs('pg', 180_000),
      needs('e2e', 600_000),
    ],
  },
});
