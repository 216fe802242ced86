/** Every way to name an endpoint, and what is left for Postgres of the options that named one. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  endpointOfHost,
  endpointOfOptions,
  endpointOfPassword,
  resolveEndpoint,
} from '../../../workers/proxy/endpoint-name.ts';
import { ProxyError } from '../../../workers/proxy/proxy-error.ts';

describe('options', () => {
  test.each<[string | undefined, string | null, string | null]>([
    [undefined, null, null],
    ['', null, ''],
    ['-c geqo=off', null, '-c geqo=off'],
    ['endpoint=ep-a-1', 'ep-a-1', null],
    ['project=ep-a-1', 'ep-a-1', null],
    ['endpoint%3Dep-a-1', 'ep-a-1', null],
    ['-c endpoint=ep-a-1', 'ep-a-1', null],
    ['-cendpoint=ep-a-1', 'ep-a-1', null],
    ['--endpoint=ep-a-1', 'ep-a-1', null],
    ['endpoint=EP-A-1-pooler', 'ep-a-1', null],
    ['-ckey=1 endpoint=ep-a -c geqo=off', 'ep-a', '-ckey=1 -c geqo=off'],
    ['  -c  search_path=a\\ b\tendpoint=ep-a  ', 'ep-a', '-c search_path=a\\ b'],
    ['-c x=endpoint=ep-a', null, '-c x=endpoint=ep-a'],
    ['endpoint=ep-a project=ep-a', 'ep-a', null],
  ])('%j', (options, endpoint, rest) => {
    expect(endpointOfOptions(options)).toEqual({ endpoint, point: null, rest });
  });
  test.each<[string, string | null, object, string | null]>([
    ['neon_lsn:0/3a8f0', null, { lsn: '0/3A8F0' }, null],
    ['endpoint=ep-a neon_lsn%3A16/B374D848 -c jit=off', 'ep-a', { lsn: '16/B374D848' }, '-c jit=off'],
    [
      'neon_timestamp:2026-11-01T12:00Z endpoint=ep-a',
      'ep-a',
      { timestamp: '2026-11-01T12:00:00.000Z' },
      null,
    ],
    [
      'neon_timestamp:2026-11-01\\ 13:00:00.123456+01:00',
      null,
      { timestamp: '2026-11-01T12:00:00.123456Z' },
      null,
    ],
    ['-c search_path=neon_lsn:0/1', null, {}, '-c search_path=neon_lsn:0/1'],
  ])('a point of the past: %j', (options, endpoint, point, rest) => {
    const found = endpointOfOptions(options);
    expect({ ...found, point: found.point ?? {} }).toEqual({ endpoint, point, rest });
  });
  test.each([
    ['neon_lsn:0', 'not an LSN'],
    ['neon_lsn:', 'not an LSN'],
    ['neon_timestamp:2026-11-01T12:00', 'time zone'],
    ['neon_timestamp:2026-02-30T12:00Z', 'no such moment'],
    ['neon_lsn:0/1 neon_timestamp:2026-11-01T12:00Z', 'two points'],
  ])('no point of the past: %j', (options, message) => {
    expect(() => endpointOfOptions(options)).toThrow(message);
  });
  test('whatever stands there, it is a point, an error of ours, or not touched', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('neon_lsn:', 'neon_timestamp:', 'neon_lsn%3A', ''),
        fc.string(),
        (head, tail) => {
          try {
            endpointOfOptions(head + tail);
          } catch (error) {
            expect(error).toBeInstanceOf(ProxyError);
          }
        },
      ),
    );
  });
  test.each([
    'endpoint=',
    'endpoint=a_b',
    'endpoint=../x',
    'endpoint=-a',
    'endpoint=a.b',
    `endpoint=${'a'.repeat(64)}`,
  ])('%j is malformed', (options) => {
    expect(() => endpointOfOptions(options)).toThrow('is malformed');
  });
  test('two are one too many', () => {
    expect(() => endpointOfOptions('endpoint=ep-a project=ep-b')).toThrow(
      'two endpoints are named: "ep-a" in the options and "ep-b" in the options again',
    );
  });
  test('any text: what Postgres gets holds all its words but ours, in order', () => {
    const word = fc.constantFrom(
      '-c',
      'a=b',
      'endpoint=ep-a',
      '-cendpoint=ep-a',
      'x\\ y',
      '--work_mem=1',
      '=',
    );
    fc.assert(
      fc.property(fc.array(word), fc.constantFrom(' ', '\n', '  '), (words, space) => {
        const { endpoint, rest } = endpointOfOptions(words.join(space));
        const named = words.some((each) => each.includes('endpoint'));
        expect(rest?.includes('endpoint=ep-a') ?? false).toBe(named && endpoint === null);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii' }), (text) => {
        try {
          endpointOfOptions(text);
        } catch (error) {
          expect(error).toBeInstanceOf(ProxyError);
        }
      }),
    );
  });
});

test.each<[string | null, string | null]>([
  [null, null],
  ['', null],
  ['localhost', null],
  ['127.0.0.1:5432', null],
  ['[::1]:5432', null],
  ['api.example.com', null],
  ['ep-a-1.example.com', 'ep-a-1'],
  ['EP-A-1.example.com:5432', 'ep-a-1'],
  ['ep-a-1', 'ep-a-1'],
  ['ep-a-1-pooler.eu.example.com', 'ep-a-1-pooler'],
])('host %j', (host, endpoint) => {
  expect(endpointOfHost(host)).toBe(endpoint);
});

describe('password', () => {
  const split = (text: string) => {
    const { endpoint, password } = endpointOfPassword(new TextEncoder().encode(text));
    return [endpoint, new TextDecoder('utf-8', { ignoreBOM: true }).decode(password)];
  };
  test.each([
    ['secret', null, 'secret'],
    ['endpoint=ep-a;secret', 'ep-a', 'secret'],
    ['project=ep-a$secret', 'ep-a', 'secret'],
    ['endpoint=ep-a;a;b$c', 'ep-a', 'a;b$c'],
    ['endpoint=ep-a$a;b', 'ep-a', 'a;b'],
    ['endpoint=ep-a;', 'ep-a', ''],
    ['endpoint=ep-a', null, 'endpoint=ep-a'],
    ['endpoint=;x', null, 'endpoint=;x'],
    ['Endpoint=ep-a;x', null, 'Endpoint=ep-a;x'],
  ])('%j', (text, endpoint, password) => {
    expect(split(text)).toEqual([endpoint, password]);
  });
  test('any password behind a name comes out as it went in', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (password) => {
        const bytes = Uint8Array.from([...new TextEncoder().encode('endpoint=ep-a;'), ...password]);
        expect(endpointOfPassword(bytes)).toEqual({ endpoint: 'ep-a', password });
      }),
    );
  });
});

describe('several forms', () => {
  test('that agree', () => {
    expect(resolveEndpoint({ options: 'ep-a', host: 'ep-a-pooler', password: null })).toBe('ep-a');
  });
  test('that say nothing', () => {
    expect(resolveEndpoint({ options: null, host: null })).toBe(null);
  });
  test('that differ', () => {
    expect(() => resolveEndpoint({ options: 'ep-a', host: 'ep-b' })).toThrow(
      'two endpoints are named: "ep-a" in the options and "ep-b" in the host',
    );
  });
});
