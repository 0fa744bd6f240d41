// Giving a volume another size from outside: by its writer, while it serves, or attached for the moment (writer-order.ts). A size that is
// there already is nothing to do, so asking twice does no harm.

import type { VolumeSpec } from "#metadata";
import { requireVolumeSize } from "#metadata";
import type { ResizeWish } from "./resizer.ts";
import type { WriterOrderDeps } from "./writer-order.ts";
import { WriterOrder } from "./writer-order.ts";

export interface ResizeOrderOptions extends ResizeWish {
  readonly volume: string;
  /** How long the writer may take. */
  readonly timeoutMs: number;
}

/** The spec with the new size. Rejects as WriterOrder and Resizer do. */
export async function resizeVolume(
  { volume, sizeBytes, force, timeoutMs }: ResizeOrderOptions,
  deps: WriterOrderDeps,
): Promise<VolumeSpec> {
  requireVolumeSize(sizeBytes);
  const wish = { sizeBytes, force };
  const token = deps.random.uuid();
  const options = { volume, order: { kind: "resize", ...wish }, token, timeoutMs } as const;
  const work = new WriterOrder<VolumeSpec>(
    options,
    {
      resultIn: ({ spec }) => (spec.sizeBytes === sizeBytes ? spec : null),
      perform: (attached) => attached.orders.resize(wish),
    },
    deps,
  );
  return work.run();
}
