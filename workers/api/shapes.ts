/**
 * Rows of the control plane as Neon's public API v2 shows them, as far as Ebb has what they say.
 */
import type { ComputeStatus } from '../../durable-objects/contracts.ts';
import type {
  BranchRow,
  DatabaseRow,
  EndpointRow,
  ProjectRow,
  RoleRow,
  TravelRow,
} from '../../durable-objects/project/store.ts';
import type { Env } from '../env.ts';

export const projectShape = (row: ProjectRow, suspendAfterSeconds: number) => ({
  id: row.id,
  name: row.name,
  platform_id: 'cloudflare',
  region_id: 'cloudflare-auto',
  pg_version: 18,
  provisioner: 'ebb',
  store_passwords: false,
  history_retention_seconds: row.history_retention_s,
  default_endpoint_settings: { suspend_timeout_seconds: suspendAfterSeconds },
  created_at: row.created_at,
  updated_at: row.updated_at,
});

export const branchShape = (row: BranchRow, projectId: string) => ({
  id: row.id,
  project_id: projectId,
  ...(row.parent_id === null ? {} : { parent_id: row.parent_id }),
  ...(row.parent_lsn === null ? {} : { parent_lsn: row.parent_lsn }),
  ...(row.parent_timestamp === null ? {} : { parent_timestamp: row.parent_timestamp }),
  name: row.name,
  current_state: 'ready',
  init_source: 'parent-data',
  default: row.is_default === 1,
  primary: row.is_default === 1,
  protected: row.protected === 1,
  creation_source: 'console',
  created_at: row.created_at,
  updated_at: row.updated_at,
});

/** Of an endpoint whose compute was never started. */
export const IDLE: ComputeStatus = {
  state: 'idle',
  term: 0,
  startedAt: null,
  suspendedAt: null,
  lastActiveAt: null,
  lastError: null,
};

export const endpointShape = (
  row: EndpointRow & { status: ComputeStatus; travel: TravelRow | null },
  projectId: string,
  host: string,
) => ({
  id: row.id,
  host: endpointHost(row.id, host),
  project_id: projectId,
  branch_id: row.travel?.source_branch_id ?? row.branch_id,
  type: row.travel === null ? 'read_write' : 'read_only',
  // Ebb's own: an endpoint at a point of the past.
  ...(row.travel === null ? {} : { lsn: row.travel.lsn }),
  ...(row.travel?.timestamp ? { timestamp: row.travel.timestamp } : {}),
  // Neon's words: a compute is idle, active or in a transition, which is shown as `init`.
  current_state: row.status.state === 'idle' || row.status.state === 'active' ? row.status.state : 'init',
  pooler_enabled: false,
  disabled: false,
  passwordless_access: false,
  settings: { pg_settings: JSON.parse(row.settings) as Record<string, string> },
  suspend_timeout_seconds: row.suspend_after_s,
  last_active: row.status.lastActiveAt,
  started_at: row.status.startedAt,
  suspended_at: row.status.suspendedAt,
  created_at: row.created_at,
  updated_at: row.updated_at,
});

export const roleShape = (row: RoleRow, password?: string) => ({
  branch_id: row.branch_id,
  name: row.name,
  ...(password === undefined ? {} : { password }),
  protected: false,
  created_at: row.created_at,
  updated_at: row.updated_at,
});

export const databaseShape = (row: DatabaseRow) => ({
  id: row.id,
  branch_id: row.branch_id,
  name: row.name,
  owner_name: row.owner,
  created_at: row.created_at,
  updated_at: row.updated_at,
});

/** `ep-….host` for a host name of one's own; the bare host where subdomains do not resolve. */
function endpointHost(endpointId: string, host: string): string {
  const name = host.replace(/:\d+$/, '');
  return /^(localhost|[\d.]+|\[.*\])$/.test(name) ? name : `${endpointId}.${name}`;
}

/** A URL that every libpq and driver takes as it is: the endpoint is named in `options`, so DNS need not know it. */
export function connectionUri(
  env: Env,
  to: { role: string; password: string | null; database: string; endpointId: string },
): { connection_uri: string; connection_parameters: Record<string, string> } {
  const host = endpointHost(to.endpointId, env.POSTGRES_HOST);
  const port = /:(\d+)$/.exec(env.POSTGRES_HOST)?.[1] ?? '5432';
  const [role, database] = [to.role, to.database].map(encodeURIComponent);
  const login = to.password === null ? role : `${role}:${encodeURIComponent(to.password)}`;
  const uri = `postgres://${login}@${host}:${port}/${database}?options=endpoint%3D${to.endpointId}`;
  return {
    connection_uri: uri,
    connection_parameters: {
      database: to.database,
      ...(to.password === null ? {} : { password: to.password }),
      role: to.role,
      host,
      pooler_host: host,
      port,
    },
  };
}
