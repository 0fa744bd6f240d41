// try
import { ChaosRun } from "../tests/chaos/chaos-run.ts";
import { inScope } from "../tests/chaos/run-scope.ts";
import { faultKinds } from "../tests/chaos/faults.ts";
import { setTimeout as sleep } from "node:timers/promises";
await inScope(async (scope) => {
  const say = (l: string) => console.log(l);
  const run = await ChaosRun.start({ seed: 1, runMs: 1e6 }, { scope, say });
  for (const c of run.clients) c.start();
  await sleep(2000);
  const f = await faultKinds["volume taken by force"].begin(run, () => 0);
  console.log(f!.what);
  await sleep(5000);
  console.log(run.clients.map((c) => c.counted));
  await f!.undo();
  await run.calm("x");
  console.log(run.clients.map((c) => c.counted));
  console.log(run.cluster.hosts[0].node.lastWords);
});
