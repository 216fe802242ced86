/**
 * Which endpoint a client wants, and which moment of its history: the only place that reads it.
 *
 *   options   endpoint=ep-quiet-tide-42 anywhere in the startup options (also `project=`, `-c endpoint=…`,
 *             `--endpoint=…`, `endpoint%3D…`)            raw TCP without TLS
 *   host      ep-quiet-tide-42.anything                  TLS server name, Host header, connection URL
 *   password  endpoint=ep-quiet-tide-42;<password>       clients that can do neither; `$` instead of `;` too
 *
 *   options   neon_lsn:0/3A8F0 or neon_timestamp:2026-11-01T12:00:00Z: time travel; not meant for Postgres either
 *
 * Each form may say `ep-…-pooler`: the same endpoint, as Ebb pools where it makes sense on its own. Forms that
 * name different endpoints are an error, never a choice of ours.
 */
import type { PointText } from '../../durable-objects/contracts.ts';
import { formatLsn, parseLsn } from '../../lib/postgres/lsn.ts';
import { formatTimestamp, parseTimestamp } from '../../lib/postgres/timestamp.ts';
import { ProxyError } from './proxy-error.ts';

/** What each form says, by the form's name as errors give it; null where it says nothing. */
export type EndpointNames = Readonly<Record<string, string | null>>;

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const POOLER_SUFFIX = '-pooler';

export const HOW_TO_NAME =
  'Name the endpoint as the first part of the host name (ep-….example.com), ' +
  'or in the connection string as ?options=endpoint%3Dep-…, or before the password as endpoint=ep-…;password.';

function canonical(name: string): string {
  const label = name.toLowerCase();
  const endpoint = label.endsWith(POOLER_SUFFIX) ? label.slice(0, -POOLER_SUFFIX.length) : label;
  if (!LABEL.test(endpoint)) {
    throw new ProxyError(
      'endpointName',
      `endpoint name "${name.slice(0, 80)}" is malformed: letters, digits and hyphens expected`,
      { hint: HOW_TO_NAME },
    );
  }
  return endpoint;
}

/** The endpoint that all given forms agree on, or null when none names one. Throws ProxyError `endpointName`. */
export function resolveEndpoint(names: EndpointNames): string | null {
  let found: { form: string; endpoint: string } | null = null;
  for (const [form, name] of Object.entries(names)) {
    if (name === null) continue;
    const endpoint = canonical(name);
    if (found !== null && found.endpoint !== endpoint) {
      throw new ProxyError(
        'endpointName',
        `two endpoints are named: "${found.endpoint}" in the ${found.form} and "${endpoint}" in the ${form}`,
        { hint: 'Name one endpoint, or the same in each place.' },
      );
    }
    found = { form, endpoint };
  }
  return found?.endpoint ?? null;
}

export const endpointMissing = (): ProxyError =>
  new ProxyError('endpointName', 'no endpoint is named', { hint: HOW_TO_NAME });

/** `ep-….anything:port` → `ep-…`; null for a host whose first label is no endpoint's name. */
export function endpointOfHost(host: string | null | undefined): string | null {
  const label = host?.split(/[.:]/, 1)[0]?.toLowerCase();
  return label?.startsWith('ep-') ? label : null;
}

export interface EndpointOfOptions {
  endpoint: string | null;
  /** Null: the present. */
  point: PointText | null;
  /** The options without it, for Postgres; null when nothing is left. */
  rest: string | null;
}

const OPTION = /^(?:-c|--)?(?:endpoint|project)(?:=|%3[dD])(.*)$/;
const POINT_OPTION = /^neon_(lsn|timestamp)(?::|%3[aA])(.*)$/;

/** The option's value; what Postgres's own reading of options unescapes is unescaped. */
function pointOf(point: PointText | null, kind: string, text: string): PointText {
  if (point !== null) {
    throw new ProxyError('invalidParameter', 'two points of the past are named in the options', {
      hint: 'Name one: neon_lsn:0/3A8F0 or neon_timestamp:2026-11-01T12:00:00Z.',
    });
  }
  const value = text.replaceAll(/\\(.)/gs, '$1').replaceAll(/%3[aA]/g, ':');
  try {
    return kind === 'lsn'
      ? { lsn: formatLsn(parseLsn(value)) }
      : { timestamp: formatTimestamp(parseTimestamp(value)) };
  } catch (cause) {
    throw new ProxyError('invalidParameter', `option neon_${kind}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Finds the endpoint in startup options. They are words between white space with backslash as escape, as
 * pg_split_opts reads them (src/backend/utils/init/postinit.c); what is not ours stays as it was written.
 */
export function endpointOfOptions(options: string | undefined): EndpointOfOptions {
  const words = options?.match(/(?:\\[\s\S]?|[^\s\\])+/g) ?? [];
  const rest: string[] = [];
  let endpoint: string | null = null;
  let point: PointText | null = null;
  for (const word of words) {
    const [, kind, value] = POINT_OPTION.exec(word) ?? [];
    if (kind !== undefined) {
      point = pointOf(point, kind, value);
      continue;
    }
    const name = OPTION.exec(word)?.[1];
    if (name === undefined) {
      rest.push(word);
      continue;
    }
    if (rest.at(-1) === '-c') rest.pop();
    endpoint = resolveEndpoint({ options: endpoint, 'options again': name });
  }
  if (endpoint === null && point === null) return { endpoint: null, point: null, rest: options ?? null };
  return { endpoint, point, rest: rest.length === 0 ? null : rest.join(' ') };
}

export interface EndpointOfPassword {
  endpoint: string | null;
  password: Uint8Array;
}

/** Splits `endpoint=ep-…;password`; a password of any other form is returned as it is. */
export function endpointOfPassword(password: Uint8Array): EndpointOfPassword {
  // Neither separator can stand in a name, so the first of them ends it; latin1 keeps one character per byte.
  const head = String.fromCharCode(...password.subarray(0, 96));
  const match = /^(?:endpoint|project)=([^;$]+)[;$]/.exec(head);
  if (match === null) return { endpoint: null, password };
  return { endpoint: match[1], password: password.subarray(match[0].length) };
}
