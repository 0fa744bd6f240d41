// Canaries: ways to lose data on purpose. A run that does not find them proves nothing.

import { cpSync, rmSync } from "node:fs";
import type { Scope } from "../system/programs.ts";
import { waitFor } from "../system/programs.ts";
import { ChaosRun } from "./chaos-run.ts";

export interface CanaryDeps {
  readonly scope: Scope;
  readonly say: (line: string) => void;
}

export interface Canary {
  readonly name: string;
  readonly how: string;
  /** Does it; what was found is in the run's report. */
  act(run: ChaosRun): Promise<void>;
}

const answeredMin = 20;

/** Written while no peer could take it, said to be flushed, and lost with the process that had it in its memory. */
async function phantomFlush(run: ChaosRun): Promise<void> {
  const at = run.clients.findIndex(({ acknowledge }) => acknowledge === "writeback");
  const client = run.clients[at];
  const { peers, hosts } = run.cluster;
  for (const { node } of peers) node.signal("SIGSTOP");
  const goal = client.counted.writes + answeredMin;
  await waitFor("writes to be answered from memory", () => client.counted.writes >= goal);
  run.histories[at].flushSent().answered();
  await Promise.all(hosts.map(({ node }) => node.kill()));
}

/** Every peer's directory is put back to what it was some flushes ago. */
async function rollback(run: ChaosRun): Promise<void> {
  const { peers, hosts } = run.cluster;
  const nodes = [...hosts, ...peers].map(({ node }) => node);
  await Promise.all(nodes.map((node) => node.kill()));
  for (const { data } of peers) cpSync(data, `${data}.old`, { recursive: true });
  await Promise.all(nodes.map((node) => node.up()));
  await run.calm("after the copy was made");
  await Promise.all(nodes.map((node) => node.kill()));
  for (const { data } of peers) {
    rmSync(data, { recursive: true });
    cpSync(`${data}.old`, data, { recursive: true });
  }
}

export const canaries: readonly Canary[] = [
  {
    name: "phantom-flush",
    how: "the checker is told of a flush that was never answered",
    act: phantomFlush,
  },
  {
    name: "rollback",
    how: "every peer gets an old copy of its directory back",
    act: rollback,
  },
];

/** What was found, or null: then the checker is blind. */
export async function tryCanary(canary: Canary, deps: CanaryDeps): Promise<string | null> {
  const run = await ChaosRun.start({ seed: 1, runMs: 0, calmMs: 30_000 }, deps);
  const { violations } = await run.run(async () => {
    await canary.act(run);
    await run.calm(`after ${canary.name}`);
  });
  return violations[0] ?? null;
}
