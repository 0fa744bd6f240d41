// `npm run up`: a whole cluster on this machine, from nothing to a volume over NBD, until Ctrl-C. Composition root.

import { parseConfig } from "./config.ts";
import { guideText } from "./guide.ts";
import { problemOf, Supervisor } from "./supervisor.ts";

const startedMs = performance.now();
const quietMs = 2000;
const progressMs = 3000;
const sameSignalMs = 1000;

// A terminal that went away must not keep us from stopping in order.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`torus up: ${line}\n`);
const sinceStart = (): string => `${Math.round((performance.now() - startedMs) / 1000)} s`;

/** Resolves at the first signal to stop; a later one calls `impatient`. One Ctrl-C under npm arrives twice. */
function stopSignal(impatient: () => void): Promise<void> {
  return new Promise((resolve) => {
    let askedMs = Number.POSITIVE_INFINITY;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (performance.now() - askedMs > sameSignalMs) impatient();
        askedMs = Math.min(askedMs, performance.now());
        resolve();
      });
    }
  });
}

async function main(): Promise<number> {
  const config = parseConfig(process.argv.slice(2));
  let stage = "starting";
  const supervisor = new Supervisor(config, { say, stage: (what) => (stage = what) });
  const stopped = stopSignal(() => supervisor.kill()).then(() => "stopped" as const);
  // Quick starts stay silent; slow ones say what they wait for.
  let progress: NodeJS.Timeout | undefined;
  const quiet = setTimeout(() => {
    say(`torus up: ${stage} ...`);
    progress = setInterval(() => say(`torus up: ${stage} (${sinceStart()}) ...`), progressMs);
  }, quietMs);
  let code = 0;
  try {
    const outcome = await Promise.race([supervisor.start(), stopped]);
    clearTimeout(quiet);
    clearInterval(progress);
    if (outcome !== "stopped") say(guideText({ ...outcome, tookMs: performance.now() - startedMs }));
    await stopped;
    say("Stopping: the NBD server first, then the peers. (Ctrl-C again kills them.)");
  } catch (error) {
    complain(problemOf(error));
    code = 1;
  }
  clearTimeout(quiet);
  clearInterval(progress);
  const killed = await supervisor.stop();
  if (killed.length > 0) {
    complain(
      `${killed.join(", ")} had to be killed; what was acknowledged is safe and the next start recovers it`,
    );
    code = 1;
  } else if (code === 0) {
    say(`Stopped. Data is in ${config.dataDirectory}.`);
  }
  return code;
}

process.exit(await main());
