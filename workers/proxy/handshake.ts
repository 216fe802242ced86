/**
 * Station 1, Handshake: from the first byte to a startup message that Ebb can serve
 * (ProcessStartupPacket in src/backend/tcop/backend_startup.c).
 *
 * Encryption is not offered here: TLS ends before the Worker. Newer minor versions and unknown `_pq_.` options
 * are negotiated down; replication is refused, because WAL leaves a compute only to its safekeepers.
 */
import {
  parseStartupPacket,
  PROTOCOL_MINOR_LATEST,
  protocolVersion,
  type CancelRequest,
  type StartupMessage,
} from '../../lib/postgres/wire/startup.ts';
import { buildNegotiateProtocolVersion } from '../../lib/postgres/wire/session.ts';
import type { PointText } from '../../durable-objects/contracts.ts';
import type { Handshake } from './connection.ts';
import { endpointOfHost, endpointOfOptions, type EndpointNames } from './endpoint-name.ts';
import { ProxyError } from './proxy-error.ts';

export interface SessionRequest {
  kind: 'session';
  role: string;
  names: EndpointNames;
  /** Of the endpoint's history; null: the present. */
  point: PointText | null;
  /** The minor version that both sides speak. */
  minor: number;
  /** For Postgres's startup message: what the client sent without what was meant for Ebb. */
  parameters: Map<string, string>;
}

/** Reads up to the startup message or a cancel request; answers requests for encryption with no. */
export async function readRequest(
  handshake: Handshake,
  host: string | null,
): Promise<SessionRequest | CancelRequest> {
  const refused = new Set<'ssl' | 'gssenc'>();
  for (;;) {
    const packet = parseStartupPacket(await handshake.startupPacket());
    switch (packet.kind) {
      case 'cancel':
        return packet;
      case 'startup': {
        const request = sessionRequest(packet, host);
        await negotiate(handshake, packet, request.minor);
        return request;
      }
      default:
        if (refused.has(packet.kind))
          throw new ProxyError('unsupportedProtocol', 'encryption was requested twice');
        refused.add(packet.kind);
        // As in Postgres: bytes sent before the answer could have been injected by a third party.
        if (handshake.hasMore)
          throw new ProxyError('protocolViolation', 'received unencrypted data after encryption request');
        await handshake.send(NO_ENCRYPTION);
    }
  }
}

const NO_ENCRYPTION = new TextEncoder().encode('N');

function sessionRequest(startup: StartupMessage, host: string | null): SessionRequest {
  const parameters = new Map(startup.parameters);
  const role = parameters.get('user');
  if (!role) throw new ProxyError('noUser', 'no PostgreSQL user name specified in startup packet');
  refuseReplication(parameters.get('replication'));
  parameters.delete('replication');
  const { endpoint, point, rest } = endpointOfOptions(parameters.get('options'));
  if (rest === null) parameters.delete('options');
  else parameters.set('options', rest);
  const names = { options: endpoint, host: endpointOfHost(host) };
  return {
    kind: 'session',
    role,
    names,
    point,
    minor: Math.min(startup.minor, PROTOCOL_MINOR_LATEST),
    parameters,
  };
}

const REPLICATION_OFF = /^(?:f|fa|fal|fals|false|n|no|of|off|0)$/i;
const REPLICATION_ON = /^(?:t|tr|tru|true|y|ye|yes|on|1|database)$/i;

/** parse_bool (src/backend/utils/adt/bool.c) takes every unambiguous beginning of a word. */
function refuseReplication(value: string | undefined): void {
  if (value === undefined || REPLICATION_OFF.test(value)) return;
  if (REPLICATION_ON.test(value))
    throw new ProxyError('unsupportedFeature', 'replication connections are not supported');
  throw new ProxyError('invalidParameter', `invalid value for parameter "replication": "${value}"`);
}

async function negotiate(handshake: Handshake, startup: StartupMessage, minor: number): Promise<void> {
  if (startup.minor === minor && startup.protocolOptions.length === 0) return;
  const message = { version: protocolVersion(minor), unknownOptions: startup.protocolOptions };
  await handshake.send(buildNegotiateProtocolVersion(message));
}
