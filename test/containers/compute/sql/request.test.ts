import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseTag } from '../../../../containers/compute/sql/answer.ts';
import { parseSqlRequest, SqlRequestError } from '../../../../containers/compute/sql/request.ts';
import { arrayToJson, ArrayTextError, jsonOfType } from '../../../../containers/compute/sql/values.ts';
import { SQL_HEADER } from '../../../../lib/protocol/sql.ts';

const headers = new Headers({
  [SQL_HEADER.role]: 'o%27neil',
  [SQL_HEADER.database]: 'm%C3%A4in',
  [SQL_HEADER.clientKey]: Buffer.alloc(32, 1).toString('base64'),
});
const parse = (body: unknown) => parseSqlRequest(headers, JSON.stringify(body));
const paramsOf = (...params: unknown[]) => parse({ query: 'q', params }).statements[0].params;

test('names come percent-encoded', () => {
  expect(parse({ query: 'q' })).toMatchObject({ role: "o'neil", database: 'mäin', begin: null });
});

test('parameters become the text that Postgres reads', () => {
  expect(paramsOf(null, 'x', 1, -1.5, true, { a: [1] })).toEqual([
    null,
    'x',
    '1',
    '-1.5',
    'true',
    '{"a":[1]}',
  ]);
  expect(paramsOf([1, null, [true, 'a"b\\c\n'], { k: 'v' }], [])).toEqual([
    '{1,NULL,{true,"a\\"b\\\\c\n"},"{\\"k\\":\\"v\\"}"}',
    '{}',
  ]);
});

test('a batch begins its transaction as the headers say', () => {
  const batch = (more: Record<string, string>) =>
    parseSqlRequest(new Headers([...headers, ...Object.entries(more)]), '{"queries":[]}').begin;
  expect(batch({})).toBe('BEGIN');
  expect(batch({ 'neon-batch-read-only': 'true', 'neon-batch-deferrable': 'yes' })).toBe('BEGIN READ ONLY');
  expect(batch({ 'neon-batch-isolation-level': 'RepeatableRead', 'neon-batch-deferrable': 'true' })).toBe(
    'BEGIN ISOLATION LEVEL REPEATABLE READ DEFERRABLE',
  );
  expect(() => batch({ 'neon-batch-isolation-level': 'toString' })).toThrow(SqlRequestError);
});

test('any body is parsed or refused', () => {
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((params) => `{"query":"q","params":${params}}`),
  );
  fc.assert(
    fc.property(body, (text) => {
      try {
        for (const { params } of parseSqlRequest(headers, text).statements)
          for (const param of params) expect(param === null || typeof param === 'string').toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(SqlRequestError);
      }
    }),
  );
});

test('what array_out would write is read back, whatever the strings', () => {
  type Nested = string | null | Nested[];
  const { array } = fc.letrec<{ array: Nested[] }>((tie) => ({
    array: fc.array(fc.oneof({ maxDepth: 3 }, fc.string(), fc.constant(null), tie('array')), {
      maxLength: 5,
    }),
  }));
  const write = (value: Nested): string => {
    if (value === null) return 'NULL';
    if (typeof value === 'string') return `"${value.replaceAll(/["\\]/g, '\\$&')}"`;
    return `{${value.map(write).join(',')}}`;
  };
  fc.assert(
    fc.property(array, (value) => {
      expect(JSON.parse(arrayToJson(write(value), ',', JSON.stringify))).toEqual(value);
    }),
  );
});

test('any text is an array or an error', () => {
  const text = fc.string({ unit: fc.constantFrom(...Array.from('{}",\\[]=:1a N')) });
  fc.assert(
    fc.property(text, (text) => {
      try {
        JSON.parse(arrayToJson(text, ',', JSON.stringify));
      } catch (error) {
        expect(error).toBeInstanceOf(ArrayTextError);
      }
    }),
  );
});

test.each([
  [16, 't', 'true'],
  [20, '1', '"1"'],
  [23, '-5', '-5'],
  [701, '1e+300', '1e+300'],
  [701, 'NaN', '"NaN"'],
  [1700, '1.50', '"1.50"'],
  [3802, '{"a": 1}', '{"a": 1}'],
  [1009, '{a,NULL,"NULL"}', '["a",null,"NULL"]'],
  [1022, '{1.5,Infinity}', '[1.5,"Infinity"]'],
])('type %d: %s', (oid, text, json) => {
  expect(jsonOfType(oid)(text)).toBe(json);
});

test.each([
  ['INSERT 0 3', 'INSERT', 3],
  ['SELECT 0', 'SELECT', 0],
  ['CREATE TABLE', 'CREATE', null],
  ['MERGE 2', 'MERGE', 2],
  ['', '', null],
])('tag %s', (tag, command, rowCount) => {
  expect(parseTag(tag)).toEqual({ command, rowCount });
});
