/**
 * The oracle of SASLprep and secrets is Postgres: for any password the secret that it stores is the one we make.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { makeSecret, parseSecret } from '../../../../lib/postgres/scram/secret.ts';
import {
  LEFT_TO_RIGHT,
  MAPPED_TO_NOTHING,
  NON_ASCII_SPACE,
  PROHIBITED,
  RIGHT_TO_LEFT,
} from '../../../../lib/postgres/scram/tables.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';

let cluster: PostgresCluster;
let client: pg.Client;
beforeAll(async () => {
  cluster = await PostgresCluster.create();
  client = await cluster.connect();
  await client.query(`SET scram_iterations = 1`);
  await client.query('CREATE ROLE subject');
  await client.query(`CREATE FUNCTION secrets(passwords text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
    DECLARE password text; secret text;
    BEGIN
      FOREACH password IN ARRAY passwords LOOP
        EXECUTE format('ALTER ROLE subject PASSWORD %L', password);
        SELECT rolpassword INTO secret FROM pg_authid WHERE rolname = 'subject';
        RETURN NEXT secret;
      END LOOP;
    END $$`);
});
afterAll(() => cluster?.remove());

async function differing(passwords: string[]): Promise<string[]> {
  const { rows } = await client.query<{ secret: string }>('SELECT secrets($1) AS secret', [passwords]);
  const ours = await Promise.all(
    rows.map(({ secret }, i) => makeSecret(passwords[i], { salt: parseSecret(secret)!.salt, iterations: 1 })),
  );
  return passwords.filter((_, i) => ours[i] !== rows[i].secret);
}

/** First and last code point of every range of every table, and their neighbours. */
function boundaries(): number[] {
  const found = new Set<number>();
  for (const table of [NON_ASCII_SPACE, MAPPED_TO_NOTHING, PROHIBITED, RIGHT_TO_LEFT, LEFT_TO_RIGHT]) {
    for (let code = 1; code <= 0x10ffff; code++)
      if (table.has(code) !== table.has(code - 1)) found.add(code - 1).add(code);
  }
  const surrogate = (code: number) => code >= 0xd800 && code <= 0xdfff;
  return [...found].filter((code) => code > 0 && !surrogate(code));
}

test('every boundary of every table, alone and among others', async () => {
  const all = boundaries().map((code) => String.fromCodePoint(code));
  expect(all.length).toBeGreaterThan(1000);
  const passwords = all.flatMap((each) => [each, `é${each}`, `א${each}א`]);
  expect(await differing(passwords)).toEqual([]);
});

test('random passwords', async () => {
  const character = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    fc.constantFrom(
      'a',
      ' ',
      'א',
      'ن',
      '\u00ad',
      '\u00a0',
      'ﬁ',
      'é',
      'e\u0301',
      '\u0378',
      '\u0007',
      '１',
      '\u200b',
    ),
  );
  const password = fc
    .array(character, { minLength: 1, maxLength: 12 })
    .map((characters) => characters.join('').replaceAll('\0', '') || 'x');
  const passwords = fc.sample(password, { numRuns: 2000, seed: 18 });
  expect(await differing(passwords)).toEqual([]);
});
