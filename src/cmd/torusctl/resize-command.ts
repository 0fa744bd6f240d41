// torusctl volume resize (and block resize): another size for a volume, also while it is in use.

import { type Command, Option } from "commander";
import { parseVolumeSize, writerTimeout } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";

interface ResizeFlags {
  readonly force?: boolean;
  readonly timeout: number;
}

const examples = `
SIZE is the new size, a multiple of 4 KiB up to 256TiB. A volume that is attached goes on meanwhile: its writer does it. One that is not is attached for
the moment. Snapshots keep the size they had.

LARGER: what is new reads as zeroes. NBD clients see the new size when they connect again; then make the file system larger (resize2fs, xfs_growfs).
SMALLER: make the file system smaller first, and trim what is past the new end (blkdiscard --offset; e2fsck -E discard does it for ext4 before it is
resized). A volume in use past the new end stays as it is, unless --force gives that up: for good, also when the volume grows again. Clients that
still have the old size get errors past the end.

Examples:
  torusctl volume resize db 40GiB
  torusctl volume resize scratch 1GiB --force`;

export function addResizeCommand(command: Command, context: TorusctlContext): void {
  command
    .summary("make a volume larger or smaller")
    .description("Gives a volume another size.")
    .argument("<name>", "the volume")
    .argument("<size>", "its new size, such as 40GiB")
    .addOption(new Option("--force", "give up what is in use past the new end"))
    .addOption(writerTimeout())
    .addHelpText("after", examples)
    .action((name: string, size: string, flags: ResizeFlags) => resizeVolume(name, size, flags, context));
}

async function resizeVolume(
  name: string,
  size: string,
  { force = false, timeout }: ResizeFlags,
  context: TorusctlContext,
): Promise<void> {
  const sizeBytes = parseVolumeSize(size);
  const order = { volume: name, sizeBytes, force, timeoutMs: timeout * 1000 };
  const spec = await context.withVolumes((volumes) => volumes.resize(order));
  context.output.print({ json: spec, message: `volume ${name} has ${context.output.size(spec.sizeBytes)}` });
}
