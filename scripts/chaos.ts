// Chaos on real processes.
import { parseArgs } from "node:util";
import { ChaosRun } from "../tests/chaos/chaos-run.ts";
import { inScope } from "../tests/chaos/run-scope.ts";

const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } });
const say = (line: string): void => void process.stdout.write(`${line}\n`);
await inScope(async (scope) => {
  const run = await ChaosRun.start(
    { seed: Number(values.seed ?? 1), runMs: Number(values.minutes ?? 3) * 60_000 },
    { scope, say },
  );
  const report = await run.run();
  console.log(report);
  if (report.violations.length > 0) {
    say(run.cluster.lastWords());
    process.exitCode = 1;
  }
});
