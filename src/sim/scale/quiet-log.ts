// A log that nobody reads.

import type { Log } from "#host";

const quiet = (): void => {};

export const quietLog: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => quietLog };
