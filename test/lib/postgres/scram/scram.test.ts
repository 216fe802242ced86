/**
 * SCRAM-SHA-256: RFC 7677's example, both of our sides against each other, and malformed messages.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromBase64, toBase64 } from '../../../../lib/postgres/scram/base64.ts';
import * as client from '../../../../lib/postgres/scram/client.ts';
import { deriveKeys } from '../../../../lib/postgres/scram/keys.ts';
import { bytesOf, ScramError, textOf } from '../../../../lib/postgres/scram/messages.ts';
import {
  clientKeyFromPassword,
  formatSecret,
  makeMockSecret,
  makeSecret,
  parseSecret,
  type ScramSecret,
} from '../../../../lib/postgres/scram/secret.ts';
import * as server from '../../../../lib/postgres/scram/server.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const salt = bytesOf('0123456789abcdef');
const nonce = (fill: number): Uint8Array => new Uint8Array(18).fill(fill);

async function secretFor(password: string, iterations = 4096): Promise<ScramSecret> {
  return parseSecret(await makeSecret(password, { salt, iterations }))!;
}

/** A whole exchange between our two sides. */
async function exchange(
  clientKey: Uint8Array<ArrayBuffer>,
  secret: ScramSecret,
): Promise<server.ScramResult> {
  const first = client.start(nonce(1));
  const started = server.start(first.message, secret, nonce(2));
  const final = await client.answer({ clientKey, serverKey: secret.serverKey }, first.nonce, started.message);
  const result = await server.finish(started.exchange, final.message);
  if (result.ok) client.verify(final, result.message);
  return result;
}

test("RFC 7677's example", async () => {
  const secret = await (async () => {
    const keys = await deriveKeys({
      password: utf8('pencil'),
      salt: fromBase64('W22ZaJ0SNY7soEsUEjb6gQ==')!,
      iterations: 4096,
    });
    return { ...keys, salt, iterations: 4096, mock: false };
  })();
  const whole = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const result = await server.finish(
    {
      secret,
      clientFirstBare: 'n=user,r=rOprNGfwEbeRWgbNEkqO',
      serverFirst: `r=${whole},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
      nonce: whole,
      channelBinding: 'biws',
    },
    bytesOf(`c=biws,r=${whole},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`),
  );
  expect(result).toMatchObject({ ok: true, clientKey: secret.clientKey });
  expect(result.ok && textOf(result.message)).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
});

describe('an exchange', () => {
  test('with the ClientKey of the password gives that key to the server', async () => {
    const secret = await secretFor('secret');
    const key = (await clientKeyFromPassword(utf8('secret'), secret))!;
    expect(await exchange(key, secret)).toMatchObject({ ok: true, clientKey: key });
  });
  test('with another key does not', async () => {
    const secret = await secretFor('secret');
    const other = await clientKeyFromPassword(utf8('other'), await secretFor('other'));
    expect(await exchange(other!, secret)).toEqual({ ok: false });
  });
  test('with a mock secret never succeeds, not even with a key whose hash is zero everywhere', async () => {
    const mock = await makeMockSecret('installation', 'ep-x\0nobody');
    expect(mock).toMatchObject({ mock: true, iterations: 4096 });
    expect(mock.salt).toHaveLength(16);
    expect(await exchange(new Uint8Array(32), mock)).toEqual({ ok: false });
    expect(await clientKeyFromPassword(utf8('anything'), mock)).toBe(null);
    expect((await makeMockSecret('installation', 'ep-x\0nobody')).salt).toEqual(mock.salt);
    expect((await makeMockSecret('another', 'ep-x\0nobody')).salt).not.toEqual(mock.salt);
  });
  test('with a server that does not know the secret is noticed', async () => {
    const secret = await secretFor('secret');
    const clientKey = (await clientKeyFromPassword(utf8('secret'), secret))!;
    const impostor = { ...secret, serverKey: new Uint8Array(32) };
    const first = client.start(nonce(1));
    const started = server.start(first.message, impostor, nonce(2));
    const { serverKey } = secret;
    const final = await client.answer({ clientKey, serverKey }, first.nonce, started.message);
    const result = await server.finish(started.exchange, final.message);
    expect(result.ok).toBe(true);
    expect(() => client.verify(final, result.ok ? result.message : bytesOf(''))).toThrow(
      'the server did not prove that it knows the secret of the role',
    );
  });
  test('a client that could bind to a channel says so and is accepted', async () => {
    const secret = await secretFor('x', 1);
    expect(server.start(bytesOf('y,,n=,r=abc'), secret, nonce(2)).exchange.channelBinding).toBe('eSws');
  });
});

describe('secrets', () => {
  test('are read and written as Postgres writes them', async () => {
    const text = await makeSecret('secret', { salt });
    expect(text).toMatch(
      /^SCRAM-SHA-256\$4096:MDEyMzQ1Njc4OWFiY2RlZg==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/,
    );
    expect(formatSecret(parseSecret(text)!)).toBe(text);
  });
  test.each([
    '',
    'md5d41d8cd98f00b204e9800998ecf8427e',
    'SCRAM-SHA-256$4096:MDEy$AAAA:AAAA',
    'SCRAM-SHA-256$0:MDEyMzQ1Njc4OWFiY2RlZg==$x:y',
    'SCRAM-SHA-1$4096:MDEyMzQ1Njc4OWFiY2RlZg==$x:y',
  ])('%j is none', (text) => {
    expect(parseSecret(text)).toBe(null);
  });
});

describe('malformed messages', () => {
  test.each([
    ['', 'malformed'],
    ['hello', 'malformed'],
    ['n', 'malformed'],
    ['n,', 'malformed'],
    ['n,,', 'malformed'],
    ['n,,n=', 'malformed'],
    ['n,,n=,r=', 'malformed'],
    ['n,,n=,r=a b', 'malformed'],
    ['n,,r=abc,n=', 'malformed'],
    ['n,,n=,r=abc,1', 'malformed'],
    ['n,x,n=,r=abc', 'malformed'],
    ['p=tls-server-end-point,,n=,r=abc', 'malformed'],
    ['n,a=admin,n=,r=abc', 'unsupported'],
    ['n,,m=ext,n=,r=abc', 'unsupported'],
  ])('client-first %j', async (message, code) => {
    const secret = await secretFor('x', 1);
    expect(() => server.start(bytesOf(message), secret, nonce(2))).toThrow(
      expect.objectContaining({ code }) as Error,
    );
  });

  test.each([
    '',
    'c=biws',
    'c=biws,r=NONCE',
    'c=eSws,r=NONCE,p=PROOF',
    'c=biws,r=NONCE,p=AAAA',
    'c=biws,r=NONCE,p=not base64',
    'c=biws,r=NONCE,p=PROOF,x=y',
    'c=biws,r=NONCEx,p=PROOF',
    'c=biws,r=other,p=PROOF',
    'c=biws,r=NONCE,1,p=PROOF',
  ])('client-final %j', async (template) => {
    const started = server.start(bytesOf('n,,n=,r=abc'), await secretFor('x', 1), nonce(2));
    const message = template
      .replace('NONCE', started.exchange.nonce)
      .replace('PROOF', toBase64(new Uint8Array(32)));
    await expect(server.finish(started.exchange, bytesOf(message))).rejects.toThrow(ScramError);
  });

  test.each([
    'r=other,s=AAAA,i=1',
    'r=NONCE,s=AAAA,i=1',
    'r=NONCEx,s=%,i=1',
    'r=NONCEx,s=AAAA,i=0',
    'r=NONCEx,s=AAAA',
    'm=x,r=NONCEx,s=AAAA,i=1',
  ])('server-first %j', async (template) => {
    const first = client.start(nonce(1));
    const message = bytesOf(template.replace('NONCE', first.nonce));
    const credentials = { clientKey: new Uint8Array(32), serverKey: new Uint8Array(32) };
    await expect(client.answer(credentials, first.nonce, message)).rejects.toThrow(ScramError);
  });

  test('any bytes are an exchange, a no, or a ScramError', async () => {
    const secret = await secretFor('x', 1);
    const pieces = fc.constantFrom(
      'n,,',
      'y,,',
      'n=',
      ',r=abc',
      ',',
      'c=biws',
      ',p=',
      'r=',
      's=',
      'i=1',
      '\0',
      'é',
    );
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.array(pieces, { maxLength: 8 }).map((parts) => bytesOf(parts.join(''))),
    );
    const started = server.start(bytesOf('n,,n=,r=abc'), secret, nonce(2));
    const credentials = { clientKey: new Uint8Array(32), serverKey: new Uint8Array(32) };
    await fc.assert(
      fc.asyncProperty(message, async (bytes) => {
        const outcomes = await Promise.allSettled([
          (async () => server.start(bytes, secret, nonce(2)))(),
          server.finish(started.exchange, bytes),
          client.answer(credentials, 'abc', bytes),
        ]);
        for (const outcome of outcomes)
          if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(ScramError);
      }),
      { numRuns: 300 },
    );
  });
});

test('base64 is what it says and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
      expect([...fromBase64(toBase64(bytes))!]).toEqual([...bytes]);
    }),
  );
  for (const text of ['A', 'AA', 'AA=', 'AAA', 'AAAA ', ' AAAA', 'AA-_', 'AAAA='])
    expect(fromBase64(text)).toBe(null);
});
