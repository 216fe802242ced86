/** The connection string of `POST /sql`. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ProxyError } from '../../../workers/proxy/proxy-error.ts';
import { checkBody } from '../../../workers/sql/body.ts';
import { parseConnectionString } from '../../../workers/sql/connection-string.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

test('all its parts', () => {
  const target = parseConnectionString(
    'postgresql://con%20rad:p%40ss%3A%C3%A9@ep-a-1-pooler.eu.example.com:5432/b%C3%B6se?sslmode=require&options=-c%20x%3D1',
  );
  expect({ ...target, password: text(target.password) }).toEqual({
    endpoint: 'ep-a-1',
    point: null,
    role: 'con rad',
    database: 'böse',
    password: 'p@ss:é',
  });
});
test('the database is named like the role unless it is named', () => {
  expect(parseConnectionString('postgres://conrad:x@ep-a.test').database).toBe('conrad');
  expect(parseConnectionString('postgres://conrad:x@ep-a.test/').database).toBe('conrad');
});
test('a password need not be UTF-8', () => {
  expect([...parseConnectionString('postgres://a:%ff%00z@ep-a.test/db').password]).toEqual([0xff, 0, 0x7a]);
});
test('the endpoint in options or before the password, where the host is none', () => {
  for (const url of [
    'postgres://a:x@localhost/db?options=endpoint%3Dep-a',
    'postgres://a:endpoint%3Dep-a%3Bx@localhost/db',
    'postgres://a:endpoint%3Dep-a$x@127.0.0.1:5432/db',
  ]) {
    const { endpoint, password } = parseConnectionString(url);
    expect([endpoint, text(password)]).toEqual(['ep-a', 'x']);
  }
});
test('two that differ', () => {
  expect(() => parseConnectionString('postgres://a:x@ep-a.test/db?options=endpoint%3Dep-b')).toThrow(
    'two endpoints are named',
  );
});
test('any text is a target or a ProxyError that does not repeat the password', () => {
  const password = 'Xyzzy42';
  const part = fc.string({ unit: 'grapheme-ascii', maxLength: 12 });
  fc.assert(
    fc.property(part, part, part, (user, host, path) => {
      for (const candidate of [host, `postgres://${user}:${password}@${host}/${path}`]) {
        try {
          parseConnectionString(candidate);
        } catch (error) {
          expect(error).toBeInstanceOf(ProxyError);
          expect((error as Error).message).not.toContain(password);
        }
      }
    }),
    { numRuns: 500 },
  );
});
test('any body is a query or a ProxyError', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((json) => new TextEncoder().encode(json)),
      ),
      (body) => {
        try {
          checkBody(body);
        } catch (error) {
          expect(error).toBeInstanceOf(ProxyError);
        }
      },
    ),
  );
});
