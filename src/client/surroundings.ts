// What metadata services need of this machine and of this process's environment.

import { openBootClock, systemRandom } from "#host/node";
import type { OpenDeps } from "#metadata";

/** The password of the user in an etcd URL. */
export const etcdPasswordVariable = "TORUS_ETCD_PASSWORD";

export function metadataSurroundings(): Omit<OpenDeps, "clock" | "log"> {
  const etcdPassword = process.env[etcdPasswordVariable] || null;
  return { boot: openBootClock(), random: systemRandom, etcdPassword };
}
