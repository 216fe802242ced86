/**
 * `Neon-Connection-String: postgres://role:password@ep-….example.com/database?options=…`: who asks, and of what.
 */
import type { PointText } from '../../durable-objects/contracts.ts';
import { endpointOfHost, endpointOfOptions, endpointOfPassword } from '../proxy/endpoint-name.ts';
import { endpointMissing, resolveEndpoint } from '../proxy/endpoint-name.ts';
import { ProxyError } from '../proxy/proxy-error.ts';

/** A PasswordLogin (workers/proxy/authenticate.ts) and where it leads. Parsing knows nothing of the runtime's types. */
export interface SqlTarget {
  endpoint: string;
  role: string;
  password: Uint8Array;
  database: string;
  /** Of the endpoint's history; null: the present. */
  point: PointText | null;
}

const malformed = (what: string): ProxyError =>
  new ProxyError('malformedRequest', `connection string: ${what}`, {
    hint: 'Send the header Neon-Connection-String: postgres://role:password@ep-….example.com/database',
  });

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed(`${what} is not percent-encoded UTF-8`);
  }
}

/** A password may be any bytes. */
function decodeBytes(text: string): Uint8Array {
  const binary = text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Throws ProxyError `malformedRequest` or `endpointName`. The password is nowhere in its message. */
export function parseConnectionString(text: string | null): SqlTarget {
  if (text === null) throw malformed('missing');
  if (!URL.canParse(text)) throw malformed('not a URL');
  const url = new URL(text);
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:')
    throw malformed(`postgres:// or postgresql:// expected, not ${url.protocol.slice(0, 20)}`);
  const role = decode(url.username, 'role');
  if (role === '') throw malformed('no role is named');
  if (url.password === '') throw malformed('no password is given');
  const database = decode(url.pathname.split('/')[1] ?? '', 'database') || role;

  const inPassword = endpointOfPassword(decodeBytes(url.password));
  const options = endpointOfOptions(url.searchParams.get('options') ?? undefined);
  const endpoint = resolveEndpoint({
    options: options.endpoint,
    host: endpointOfHost(url.hostname),
    password: inPassword.endpoint,
  });
  if (endpoint === null) throw endpointMissing();
  return { endpoint, role, database, password: inPassword.password, point: options.point };
}
