// The cluster's metadata as torusd has it: opened anew when it was replaced under the daemon, whose stores judge by themselves what they
// are shown [C7].

import { metadataSurroundings } from "#client";
import type { Clock, Log } from "#host";
import { systemRandom } from "#host/node";
import { ClusterMetadata, LastingMetadata, openMetadata } from "#metadata";

/** The cluster at `url`, with a service that lasts. Rejects as `openMetadata` does. */
export async function openLastingCluster(
  url: string,
  deps: { readonly clock: Clock; readonly log: Log },
): Promise<ClusterMetadata> {
  const surroundings = { ...deps, ...metadataSurroundings() };
  const open = () => openMetadata(url, surroundings, { create: false });
  return new ClusterMetadata(await LastingMetadata.open(open, deps.log), { ...deps, random: systemRandom });
}
