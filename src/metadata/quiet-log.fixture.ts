// A log for tests that says nothing.

import type { Log } from "#host";

export const quietLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => quietLog,
};
