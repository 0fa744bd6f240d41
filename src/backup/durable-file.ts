// Small durable things of the file system.

import { open } from "node:fs/promises";

/** What was created, renamed or removed in the directory stays so. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
