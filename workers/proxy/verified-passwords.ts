/**
 * Passwords that were right a moment ago, so that `POST /sql` need not derive the same key for each request: 4096
 * rounds of HMAC take longer than the statement.
 *
 * What is kept is no password: its name is an HMAC, by a key that nobody but this isolate has and that dies with it, over
 * endpoint, role, the stored secret and the password; the value is the ClientKey. Whoever has another password, or
 * asks after the secret has changed, finds nothing and pays for the derivation as before, so a wrong password costs what it
 * always cost, and nothing is ever accepted that the derivation had not accepted against this very secret.
 */
import { clientKeyFromPassword, formatSecret, type ScramSecret } from '../../lib/postgres/scram/secret.ts';
import type { Bytes } from './connection.ts';

/** As many logins as an isolate remembers, and for how long. */
const ENTRIES_MAX = 1000;
const KEPT_MS = 60_000;

interface Verified {
  clientKey: Bytes;
  until: number;
}

const encoder = new TextEncoder();
const newKey = () =>
  crypto.subtle.importKey(
    'raw',
    crypto.getRandomValues(new Uint8Array(32)),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  );

export class VerifiedPasswords {
  /** Oldest first. */
  readonly #entries = new Map<string, Verified>();
  readonly #now: () => number;
  #key: ReturnType<typeof newKey> | null = null;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** As clientKeyFromPassword, of what `name` (endpoint and role) logs in with. */
  async clientKey(name: string, password: Uint8Array, secret: ScramSecret): Promise<Bytes | null> {
    const id = await this.#idOf(name, password, secret);
    const known = this.#entries.get(id);
    if (known !== undefined && known.until > this.#now()) return known.clientKey;
    this.#entries.delete(id);
    const clientKey = await clientKeyFromPassword(password, secret);
    if (clientKey === null) return null;
    this.#entries.set(id, { clientKey, until: this.#now() + KEPT_MS });
    if (this.#entries.size > ENTRIES_MAX) this.#entries.delete(this.#entries.keys().next().value!);
    return clientKey;
  }

  async #idOf(name: string, password: Uint8Array, secret: ScramSecret): Promise<string> {
    // Made here and not with the module: the runtime gives no randomness outside of a request.
    this.#key ??= newKey();
    // Lengths before what follows: no two inputs look the same.
    const head = encoder.encode(JSON.stringify([name, formatSecret(secret), secret.mock]));
    const data = new Uint8Array(4 + head.length + password.length);
    new DataView(data.buffer).setUint32(0, head.length);
    data.set(head, 4);
    data.set(password, 4 + head.length);
    const mac = new Uint8Array(await crypto.subtle.sign('HMAC', await this.#key, data));
    return String.fromCharCode(...mac);
  }
}
