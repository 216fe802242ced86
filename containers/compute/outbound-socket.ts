/**
 * WebSockets to the names that a compute may reach.
 *
 * Not the global WebSocket: its first use loads all of undici with TLS and HTTP/2, which takes Node longer than the rest
 * of this program, and the election waits for it. `globalAgent` honours HTTP_PROXY where that stands for the interception.
 */
import { globalAgent } from 'node:http';
import { WebSocket } from 'ws';
import type { PageSocket } from './datadir/page-client.ts';
import type { AcceptorSocket } from './proposer/acceptor-link.ts';

export type OpenSocket = (url: string) => PageSocket & AcceptorSocket;

/** A mask is there to keep browsers' content from looking like another protocol to a proxy; with this one `ws` has nothing to do. */
const noMask = (mask: Buffer): void => void mask.fill(0);

export const openSocket: OpenSocket = (url) =>
  new WebSocket(url, { agent: globalAgent, perMessageDeflate: false, generateMask: noMask });
