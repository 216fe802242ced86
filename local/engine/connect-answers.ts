/** What workerd is answered to CONNECT on the ingress port, and how a connection is announced that is given away. */
export const ACCEPTED = 'HTTP/1.1 200 OK\r\n\r\n';
/** workerd takes 400 for "Container is not listening to port …". */
export const NOT_LISTENING = 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

/** Sent by the program when a server of its listens. */
export interface ListeningMessage {
  listening: number;
}
/** Where workerd's egress listener is now: sent to the program when it has moved. At its start it is in EGRESS_PORT. */
export interface EgressMessage {
  egressPort: number;
}
export const EGRESS_PORT = 'EBB_EGRESS_PORT';

/** Sent along with the connection's handle. */
export interface HandoffMessage {
  /** The port on which the program really listens. */
  port: number;
}
