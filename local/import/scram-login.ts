/** The client's side of SCRAM-SHA-256 for one who has the password (RFC 5802), over the protocol's SASL messages. */
import { randomBytes } from 'node:crypto';
import { serialize } from 'pg-protocol';
import { fromBase64 } from '../../lib/postgres/scram/base64.ts';
import { answer, start, verify, type ScramClientFinal } from '../../lib/postgres/scram/client.ts';
import { deriveKeys } from '../../lib/postgres/scram/keys.ts';
import { attribute, ScramError, textOf } from '../../lib/postgres/scram/messages.ts';
import { ITERATIONS_MAX } from '../../lib/postgres/scram/secret.ts';

const MECHANISM = 'SCRAM-SHA-256';
const NONCE_BYTES = 18;

export class ScramClient {
  readonly #password: Uint8Array;
  #nonce = '';
  #final: ScramClientFinal | null = null;

  constructor(password: string) {
    this.#password = new TextEncoder().encode(password);
  }
  /** AuthenticationSASL: the mechanisms, each ended by a zero byte. Throws ScramError `unsupported`. */
  first(mechanisms: Uint8Array): Buffer {
    if (!Buffer.from(mechanisms).toString().split('\0').includes(MECHANISM))
      throw new ScramError('unsupported', `the server does not offer ${MECHANISM}`);
    const { message, nonce } = start(randomBytes(NONCE_BYTES));
    this.#nonce = nonce;
    return serialize.sendSASLInitialResponseMessage(MECHANISM, Buffer.from(message).toString('latin1'));
  }
  /** AuthenticationSASLContinue. Throws ScramError `malformed`. */
  async final(serverFirst: Uint8Array): Promise<Buffer> {
    const [, saltPart, iterationsPart] = textOf(serverFirst).split(',');
    const salt = fromBase64(attribute(saltPart, 's'));
    const iterations = Number(attribute(iterationsPart, 'i'));
    if (salt === null || !Number.isInteger(iterations) || iterations < 1 || iterations > ITERATIONS_MAX)
      throw new ScramError('malformed', 'salt or iteration count of the server cannot be used');
    const keys = await deriveKeys({ password: this.#password, salt, iterations });
    this.#final = await answer(keys, this.#nonce, serverFirst);
    return serialize.sendSCRAMClientFinalMessage(Buffer.from(this.#final.message).toString('latin1'));
  }
  /** AuthenticationSASLFinal. Throws ScramError `serverSignature`: whoever answers does not know the password. */
  verify(serverFinal: Uint8Array): void {
    if (this.#final === null)
      throw new ScramError('malformed', 'the server proves itself before it was asked');
    verify(this.#final, serverFinal);
  }
}
