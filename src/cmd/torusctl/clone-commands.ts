// torusctl volume clone and flatten: volumes that begin as a snapshot of another.

import { type Command, Option } from "commander";
import { systemClock } from "#host/node";
import { formatBytes, parseBytes, replicasMax } from "#model";
import type { ClusterVolumes, Flattened, FlattenProgress } from "#volume";
import { describeTime } from "../shared/progress-bar.ts";
import { parseCount } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";
import type { SnapshotName } from "./snapshot-commands.ts";
import { parseSnapshot } from "./snapshot-commands.ts";

interface CloneFlags {
  readonly size?: string;
  readonly acknowledge?: "replicated" | "writeback";
  readonly minReplicas?: number;
}

const cloneExamples = `
Nothing is copied: a clone shares the blocks of the snapshot until either is written, whatever the size. The volume it comes from cannot be deleted
while the clone needs its blocks; the snapshot can. A clone may be larger than the snapshot.

Examples:
  torusctl volume clone db@monday db-test
  torusctl volume clone golden@v7 vm-1 --size 40GiB`;

const flattenExamples = `
Copies what the clone still shares into its own blocks. It must not be attached. Stopped at any point, it goes on where it was when it is
called again. Snapshots of the clone from before keep naming the old blocks: delete those first, or flatten again when they are gone.

Examples:
  torusctl volume flatten db-test`;

export function addCloneCommands(volume: Command, context: TorusctlContext): void {
  volume
    .command("clone")
    .summary("make a volume from a snapshot")
    .description("Makes a volume that begins as a snapshot.")
    .argument("<volume@snapshot>", "the snapshot", parseSnapshot)
    .argument("<name>", "the new volume's name")
    .addOption(new Option("--size <size>", "its size (default: the snapshot's)"))
    .addOption(
      new Option("--acknowledge <mode>", "when a write is answered (default: as the volume)").choices([
        "replicated",
        "writeback",
      ]),
    )
    .addOption(
      new Option("--min-replicas <n>", "copies there must be (default: as the volume)").argParser(
        parseCount("--min-replicas", 1, replicasMax),
      ),
    )
    .addHelpText("after", cloneExamples)
    .action((from: SnapshotName, name: string, flags: CloneFlags) => cloneVolume(from, name, flags, context));
  volume
    .command("flatten")
    .summary("give a clone all of its blocks")
    .description("Makes a clone stand on its own.")
    .argument("<name>", "the clone")
    .addHelpText("after", flattenExamples)
    .action((name: string) => context.withVolumes((volumes) => flattenVolume(volumes, name, context)));
}

async function cloneVolume(
  from: SnapshotName,
  name: string,
  flags: CloneFlags,
  context: TorusctlContext,
): Promise<void> {
  const spec = await context.withCluster((cluster) =>
    cluster.clones.create({
      ...from,
      name,
      sizeBytes: flags.size === undefined ? null : parseBytes(flags.size, "--size"),
      acknowledge: flags.acknowledge ?? null,
      minReplicas: flags.minReplicas ?? null,
    }),
  );
  const { output } = context;
  output.print({
    json: { ...spec, origin: from },
    message: `cloned ${from.volume}@${from.snapshot} as ${name}: ${output.size(spec.sizeBytes)}, attach it with torusblk`,
  });
}

async function flattenVolume(volumes: ClusterVolumes, name: string, context: TorusctlContext): Promise<void> {
  const volume = await volumes.attachNow(name, { force: false });
  let flattened: Flattened;
  try {
    flattened = await volume.orders.flatten(showProgress(name, context));
  } finally {
    await volume.close();
  }
  const { movedBytes, heldBy, isHeldByHistory } = flattened;
  const moved = context.output.size(movedBytes);
  const held: string[] = [];
  if (heldBy.length > 0)
    held.push(`its snapshots ${heldBy.join(", ")} still need blocks of others: delete them`);
  if (isHeldByHistory)
    held.push(
      `its history still needs blocks of others: wait until it begins later, or torusctl volume set ${name} --keep-history none`,
    );
  context.output.print({
    json: { volume: name, movedBytes, heldBy, isHeldByHistory },
    message:
      held.length === 0
        ? `volume ${name} stands on its own: ${moved} copied`
        : `volume ${name}: ${moved} copied, but ${held.join("; ")}; and flatten again`,
  });
}

const showEveryMs = 2000;

/** A line now and then, for people, on standard error. */
function showProgress(name: string, { flags, io }: TorusctlContext): (progress: FlattenProgress) => void {
  const startedMs = systemClock.monotonicMs();
  let shownMs = startedMs;
  return ({ doneBytes, totalBytes }) => {
    const nowMs = systemClock.monotonicMs();
    if (flags.output === "json" || nowMs - shownMs < showEveryMs || doneBytes === 0) return;
    shownMs = nowMs;
    const leftMs = ((nowMs - startedMs) * (totalBytes - doneBytes)) / doneBytes;
    const share = Math.floor((100 * doneBytes) / totalBytes);
    io.err(
      `flattening ${name}: ${share}%, ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, about ${describeTime(leftMs)} left\n`,
    );
  };
}
