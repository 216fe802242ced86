/** A password is remembered for one secret only, one that was wrong never, and not for long. */
import { expect, test } from 'vitest';
import { makeMockSecret, makeSecret, parseSecret } from '../../../lib/postgres/scram/secret.ts';
import { VerifiedPasswords } from '../../../workers/proxy/verified-passwords.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const secretOf = async (password: string, salt = 'salt-salt-salt-1') =>
  parseSecret(await makeSecret(password, { salt: bytes(salt) }))!;

test('right again costs no derivation, wrong always does', async () => {
  const secret = await secretOf('moon');
  const { deriveBits } = crypto.subtle;
  let derivations = 0;
  crypto.subtle.deriveBits = function counted(...args: Parameters<typeof deriveBits>) {
    derivations++;
    return deriveBits.apply(crypto.subtle, args);
  };
  try {
    const verified = new VerifiedPasswords();
    const first = await verified.clientKey('ep\0conrad', bytes('moon'), secret);
    expect(first).toHaveLength(32);
    expect(await verified.clientKey('ep\0conrad', bytes('moon'), secret)).toEqual(first);
    expect(derivations).toBe(1);
    for (const wrong of ['sun', 'sun', 'moon ', ''])
      expect(await verified.clientKey('ep\0conrad', bytes(wrong), secret)).toBeNull();
    expect(derivations).toBe(5);
    expect(verified.size).toBe(1);
  } finally {
    crypto.subtle.deriveBits = deriveBits;
  }
});

test('another secret, another name and a mock secret find nothing', async () => {
  const verified = new VerifiedPasswords();
  const secret = await secretOf('moon');
  expect(await verified.clientKey('ep\0conrad', bytes('moon'), secret)).not.toBeNull();
  // The password was changed: the old one is over at once.
  expect(await verified.clientKey('ep\0conrad', bytes('moon'), await secretOf('sun'))).toBeNull();
  const mock = await makeMockSecret('installation', 'ep\0conrad');
  expect(await verified.clientKey('ep\0conrad', bytes('moon'), mock)).toBeNull();
  expect(await verified.clientKey('ep\0conrad', bytes('moon'), { ...secret, mock: true })).toBeNull();
  expect(verified.size).toBe(1);
  expect(await verified.clientKey('ep-2\0conrad', bytes('moon'), secret)).not.toBeNull();
  expect(verified.size).toBe(2);
});

test('is forgotten after a minute, and a thousand others', async () => {
  let now = 0;
  const verified = new VerifiedPasswords(() => now);
  const secret = parseSecret(await makeSecret('moon', { salt: bytes('salt-salt-salt-1'), iterations: 1 }))!;
  for (let i = 0; i < 1100; i++) await verified.clientKey(`ep\0r${i}`, bytes('moon'), secret);
  expect(verified.size).toBe(1000);
  now = 60_000;
  expect(await verified.clientKey('ep\0r1099', bytes('moon'), secret)).not.toBeNull();
  expect(verified.size).toBe(1000);
});
