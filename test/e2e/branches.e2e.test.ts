/**
 * Branches as a user has them: made at the head, at an LSN and at a time, nested, diverging, restored, deleted; time
 * travel by connection options over psql, pg and POST /sql; suspend and wake; and all of it after kill -9 of everything.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { neon, neonConfig } from '@neondatabase/serverless';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { partOf } from '../support/inside.ts';

const run = promisify(execFile);

interface Branch {
  id: string;
  name: string;
  parent_id?: string;
  parent_lsn?: string;
  default: boolean;
}
interface Endpoint {
  id: string;
  branch_id: string;
}
interface Made {
  branch: Branch;
  endpoints: Endpoint[];
}
interface Failure {
  code: string;
  message: string;
}

let ebb: Ebb;
let projectId: string;

beforeAll(async () => {
  ebb = await startEbb();
  projectId = (await ebb.inspectProject()).project.id;
});
afterAll(async () => {
  await ebb.stop();
});

async function api<T>(method: string, path: string, body?: unknown): Promise<{ status: number; json: T }> {
  const response = await fetch(`${ebb.httpUrl}/api/v2/projects/${projectId}${path}`, {
    method,
    headers: { Authorization: `Bearer ${ebb.apiKey}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as T };
}
async function make(branch: Record<string, unknown>): Promise<Made> {
  const made = await api<Made & Failure>('POST', '/branches', {
    branch,
    endpoints: [{ type: 'read_write' }],
  });
  expect(made.status, made.json.message).toBe(201);
  return made.json;
}
/** The URL of another endpoint, with further options. */
function url(endpointId: string | null, options = ''): string {
  const to = new URL(ebb.postgresUrl);
  const named = endpointId === null ? to.searchParams.get('options')! : `endpoint=${endpointId}`;
  to.searchParams.set('options', options === '' ? named : `${named} ${options}`);
  return to.href.replaceAll('+', '%20');
}
async function using<T>(to: string, work: (client: pg.Client, notices: string[]) => Promise<T>): Promise<T> {
  const client = new pg.Client(to);
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  await client.connect();
  try {
    return await work(client, notices);
  } finally {
    await client.end();
  }
}
const rows = (to: string): Promise<string[]> =>
  using(to, async (client) => {
    const { rows: found } = await client.query<{ name: string }>('SELECT name FROM things ORDER BY name');
    return found.map(({ name }) => name);
  });
const insert = (to: string, name: string): Promise<{ lsn: string; time: string }> =>
  using(to, async (client) => {
    await client.query('INSERT INTO things VALUES ($1)', [name]);
    const { rows: found } = await client.query<{ lsn: string; time: string }>(
      `SELECT pg_current_wal_insert_lsn()::text AS lsn,
         to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time`,
    );
    return found[0];
  });

async function suspendMainAfter(seconds: number): Promise<void> {
  const { endpoint } = await ebb.inspectProject();
  await api('PATCH', `/endpoints/${endpoint.id}`, { endpoint: { suspend_timeout_seconds: seconds } });
}

/** Whether the process is a compute of an endpoint that was made for a journey. */
function isTraveller(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').includes('"endpointId":"ep-at-');
  } catch {
    return false; // it has just ended
  }
}

describe('a history', () => {
  let main: Branch;
  let first: { lsn: string; time: string };
  let second: { lsn: string; time: string };
  let child: Made;
  let past: Made;

  test('is branched at the head, at an LSN and at a time, and the branches diverge', async () => {
    await using(url(null), (client) => client.query('CREATE TABLE things(name text)'));
    first = await insert(url(null), 'first');
    second = await insert(url(null), 'second');
    const listed = await api<{ branches: Branch[] }>('GET', '/branches');
    main = listed.json.branches[0];

    child = await make({ name: 'child' });
    past = await make({ name: 'past', parent_lsn: first.lsn });
    const timed = await make({ name: 'timed', parent_timestamp: first.time });
    expect(child.branch).toMatchObject({ parent_id: main.id, default: false });
    await insert(url(null), 'main only');
    expect(await rows(url(child.endpoints[0].id))).toEqual(['first', 'second']);
    expect(await rows(url(past.endpoints[0].id))).toEqual(['first']);
    expect(await rows(url(timed.endpoints[0].id))).toEqual(['first']);
    await insert(url(child.endpoints[0].id), 'child only');
    await insert(url(past.endpoints[0].id), 'past only');
    expect(await rows(url(null))).toEqual(['first', 'main only', 'second']);
    expect(await rows(url(child.endpoints[0].id))).toEqual(['child only', 'first', 'second']);
    expect(await rows(url(past.endpoints[0].id))).toEqual(['first', 'past only']);
    await api('DELETE', `/branches/${timed.branch.id}`);
  });

  test('a branch made just after a commit has it, again and again', async () => {
    for (let i = 0; i < 5; i++) {
      await insert(url(child.endpoints[0].id), `quick ${i}`);
      const { branch } = await make({ name: `quick ${i}`, parent_id: child.branch.id });
      const { json } = await api<{ endpoints: Endpoint[] }>('GET', `/branches/${branch.id}/endpoints`);
      if (i === 4) expect(await rows(url(json.endpoints[0].id))).toContain(`quick ${i}`);
      const gone = await api('DELETE', `/branches/${branch.id}`);
      expect(gone.status).toBe(200);
    }
    await using(url(child.endpoints[0].id), (client) =>
      client.query(`DELETE FROM things WHERE name LIKE 'quick%'`),
    );
  });

  test('branches nest, and a grandchild reads through all of its ancestors', async () => {
    let parent = child;
    let [g1Id, g1Endpoint] = ['', ''];
    for (const name of ['g1', 'g2', 'g3']) {
      parent = await make({ name, parent_id: parent.branch.id });
      if (name === 'g1') [g1Id, g1Endpoint] = [parent.branch.id, parent.endpoints[0].id];
      await insert(url(parent.endpoints[0].id), name);
    }
    expect(await rows(url(parent.endpoints[0].id))).toEqual([
      'child only',
      'first',
      'g1',
      'g2',
      'g3',
      'second',
    ]);
    // An LSN before its own start is one of its ancestor's.
    const deep = await make({ name: 'deep', parent_id: parent.branch.id, parent_lsn: first.lsn });
    expect(await rows(url(deep.endpoints[0].id))).toEqual(['first']);
    const refused = await api<Failure>('DELETE', `/branches/${child.branch.id}`);
    expect(refused).toMatchObject({ status: 409, json: { code: 'BRANCH_HAS_CHILDREN' } });
    expect(refused.json.message).toContain('g1');
    const overview = (await (await ebb.inspect(`/projects/${projectId}`)).json()) as {
      branches: { id: string; timeline_id: string }[];
    };
    const g1 = overview.branches.find(({ id }) => id === g1Id)!.timeline_id;
    const prefixes = ['layers', 'wal'].map((what) => `projects/${projectId}/${what}/${g1}/`);
    await api('POST', `/endpoints/${g1Endpoint}/suspend`); // its log is backed up then
    await ebb.waitFor(
      async () => (await ebb.objects(prefixes[1])).length > 0,
      30_000,
      'WAL of g1 in the bucket',
    );
    const listed = await api<{ branches: Branch[] }>('GET', '/branches');
    for (const name of ['deep', 'g3', 'g2', 'g1']) {
      const { id } = listed.json.branches.find((branch) => branch.name === name)!;
      expect((await api('DELETE', `/branches/${id}`)).status).toBe(200);
    }
    const left = async () => (await Promise.all(prefixes.map((prefix) => ebb.objects(prefix)))).flat();
    await ebb.waitFor(async () => (await left()).length === 0, 30_000, 'what g1 had in the bucket to go');
  });

  test('time travel over psql, pg and POST /sql; what is written there is discarded, and it says so', async () => {
    await suspendMainAfter(1); // the computes of the past end as soon
    const at = url(null, `neon_lsn:${first.lsn}`);
    const psql = await run('psql', [at, '-Atc', 'SELECT name FROM things ORDER BY name']);
    expect(psql.stdout.trim()).toBe('first');
    expect(psql.stderr).toContain('what it writes is discarded');

    await using(url(null, `neon_timestamp:${second.time}`), async (client, notices) => {
      expect(notices.join()).toContain('in the past');
      expect((await client.query('SELECT name FROM things ORDER BY name')).rows).toEqual([
        { name: 'first' },
        { name: 'second' },
      ]);
      await client.query(`INSERT INTO things VALUES ('in vain')`);
    });
    neonConfig.fetchEndpoint = `${ebb.httpUrl}/sql`;
    expect(await neon(at)`SELECT name FROM things ORDER BY name`).toEqual([{ name: 'first' }]);
    const answer = await fetch(`${ebb.httpUrl}/sql`, {
      method: 'POST',
      headers: { 'Neon-Connection-String': at },
      body: JSON.stringify({ query: 'SELECT 1' }),
    });
    expect(answer.headers.get('ebb-lsn')).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    expect(await rows(url(null))).not.toContain('in vain');
    await expect(rows(url(null, 'neon_lsn:0/1000000'))).rejects.toMatchObject({ code: '22023' });
    await expect(rows(url(null, 'neon_lsn:FF/0'))).rejects.toMatchObject({ code: '22023' });
    await expect(rows(url(null, 'neon_timestamp:2999-01-01T00:00Z'))).rejects.toMatchObject({
      code: '22023',
    });
  });

  test('what was written in the past is gone when its compute has ended', async () => {
    const at = url(null, `neon_lsn:${second.lsn}`);
    await insert(at, 'in vain');
    const travellers = () => partOf(ebb.pid, 'compute').filter(({ pid }) => isTraveller(pid));
    expect(travellers().length).toBeGreaterThan(0);
    await ebb.waitFor(() => travellers().length === 0, 90_000, 'the computes of the past to end');
    expect(await rows(at)).toEqual(['first', 'second']);
    await suspendMainAfter(0);
  });

  test('an endpoint at a time of the past stays; each of its computes begins anew', async () => {
    const made = await api<{ endpoint: Endpoint }>('POST', '/endpoints', {
      endpoint: { branch_id: main.id, type: 'read_only', timestamp: first.time },
    });
    expect(made.status).toBe(201);
    const { id } = made.json.endpoint;
    await insert(url(id), 'in vain');
    expect(await rows(url(id))).toEqual(['first', 'in vain']);
    await api('POST', `/endpoints/${id}/suspend`);
    expect(await rows(url(id))).toEqual(['first']);
    expect((await api('DELETE', `/endpoints/${id}`)).status).toBe(200);
  });

  test('a branch is restored to an earlier point; its endpoint stays, and what it had is kept under a name', async () => {
    const restored = await api<Made & Failure>('POST', `/branches/${child.branch.id}/restore`, {
      source_branch_id: child.branch.id,
      source_lsn: first.lsn,
      preserve_under_name: 'child before',
    });
    expect(restored.status, restored.json.message).toBe(200);
    expect(await rows(url(child.endpoints[0].id))).toEqual(['first']);
    const { json } = await api<{ branches: Branch[] }>('GET', '/branches');
    const before = json.branches.find(({ name }) => name === 'child before')!;
    const endpoint = await api<{ endpoint: Endpoint }>('POST', '/endpoints', {
      endpoint: { branch_id: before.id, type: 'read_write' },
    });
    expect(endpoint.status).toBe(201);
    expect(await rows(url(endpoint.json.endpoint.id))).toEqual(['child only', 'first', 'second']);
    await insert(url(child.endpoints[0].id), 'after restore');
  });

  test('a suspended branch wakes with its data', async () => {
    await api('POST', `/endpoints/${child.endpoints[0].id}/suspend`);
    expect(await rows(url(child.endpoints[0].id))).toEqual(['after restore', 'first']);
  });

  test('kill -9 of everything: every branch is as it was', async () => {
    await insert(url(past.endpoints[0].id), 'just before');
    const fresh = await make({ name: 'fresh', parent_id: past.branch.id });
    ebb.kill9();
    ebb = await ebb.restart();
    // Never started before, and its parent does not run: the branch point has to be found all the same.
    expect(await rows(url(fresh.endpoints[0].id))).toEqual(['first', 'just before', 'past only']);
    expect(await rows(url(past.endpoints[0].id))).toEqual(['first', 'just before', 'past only']);
    expect(await rows(url(null))).toEqual(['first', 'main only', 'second']);
    expect(await rows(url(child.endpoints[0].id))).toEqual(['after restore', 'first']);
  });
});

describe('what is refused', () => {
  test('says by its code why', async () => {
    const { json } = await api<{ branches: Branch[] }>('GET', '/branches');
    const main = json.branches.find((branch) => branch.default)!;
    const refusals: [string, string, unknown, number, string][] = [
      ['POST', '/branches', { branch: { name: 'main' } }, 409, 'BRANCH_NAME_EXISTS'],
      ['POST', '/branches', { branch: { parent_id: 'br-none' } }, 404, 'NOT_FOUND'],
      ['POST', '/branches', { branch: { parent_lsn: 'FFFF/0' } }, 400, 'LSN_BEYOND_HEAD'],
      ['POST', '/branches', { branch: { parent_lsn: '0/1000' } }, 410, 'LSN_BELOW_HISTORY'],
      ['POST', '/branches', { branch: { parent_lsn: 'x' } }, 400, 'BAD_REQUEST'],
      [
        'POST',
        '/branches',
        { branch: { parent_timestamp: '2999-01-01T00:00Z' } },
        400,
        'TIMESTAMP_IN_FUTURE',
      ],
      [
        'POST',
        '/branches',
        { branch: { parent_timestamp: '2001-01-01T00:00Z' } },
        410,
        'TIMESTAMP_BELOW_HISTORY',
      ],
      ['DELETE', `/branches/${main.id}`, undefined, 409, 'BRANCH_IS_DEFAULT'],
      ['POST', `/branches/${main.id}/restore`, { source_branch_id: main.id }, 400, 'BAD_REQUEST'],
      [
        'POST',
        `/branches/${main.id}/restore`,
        { source_branch_id: main.id, source_lsn: '0/4000000' },
        400,
        'PRESERVE_NAME_REQUIRED',
      ],
    ];
    for (const [method, path, body, status, code] of refusals) {
      const answer = await api<Failure>(method, path, body);
      expect({ path, body, status: answer.status, code: answer.json.code }).toEqual({
        path,
        body,
        status,
        code,
      });
    }
  });
});
