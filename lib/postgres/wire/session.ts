/**
 * What a server tells a client between AuthenticationOk and the first ReadyForQuery.
 *
 *   S ParameterStatus     name\0 value\0
 *   K BackendKeyData      u32 pid, key: 4 bytes in protocol 3.0, 4 to 256 from 3.2 on
 *   v NegotiateProtocolVersion   u32 newest version spoken, u32 n, n names of options not understood
 *   Z ReadyForQuery       u8 transaction status (I, T, E)
 */
import { TAG, WireError, WireReader, WireWriter } from './bytes.ts';
import { CANCEL_KEY_BYTES_MAX } from './startup.ts';

export interface BackendKeyData {
  pid: number;
  key: Uint8Array;
}

export const buildBackendKeyData = (data: BackendKeyData): Uint8Array =>
  new WireWriter().u32(data.pid).bytes(data.key).message(TAG.backendKeyData);

/** Body of a `K` message; the key is a view. Throws WireError. */
export function parseBackendKeyData(body: Uint8Array): BackendKeyData {
  const reader = new WireReader(body, 'BackendKeyData');
  const pid = reader.u32();
  const key = reader.rest();
  if (key.length < 4 || key.length > CANCEL_KEY_BYTES_MAX)
    throw new WireError('length', `BackendKeyData: key of ${key.length} bytes, 4 to 256 expected`);
  return { pid, key };
}

export const buildParameterStatus = (name: string, value: string): Uint8Array =>
  new WireWriter().cstring(name).cstring(value).message(TAG.parameterStatus);

export const buildReadyForQuery = (status: 'I' | 'T' | 'E'): Uint8Array =>
  new WireWriter().u8(status.charCodeAt(0)).message(TAG.readyForQuery);

export interface NegotiateProtocolVersion {
  /** `major << 16 | minor`. */
  version: number;
  unknownOptions: readonly string[];
}

export function buildNegotiateProtocolVersion(negotiate: NegotiateProtocolVersion): Uint8Array {
  const writer = new WireWriter().u32(negotiate.version).u32(negotiate.unknownOptions.length);
  for (const name of negotiate.unknownOptions) writer.cstring(name);
  return writer.message(TAG.negotiateProtocolVersion);
}

/** Body of a `v` message. Throws WireError. */
export function parseNegotiateProtocolVersion(body: Uint8Array): NegotiateProtocolVersion {
  const reader = new WireReader(body, 'NegotiateProtocolVersion');
  const version = reader.u32();
  const count = reader.u32();
  if (count > reader.remaining) throw new WireError('length', `NegotiateProtocolVersion: ${count} options`);
  const unknownOptions = Array.from({ length: count }, () => reader.cstring());
  reader.end();
  return { version, unknownOptions };
}
