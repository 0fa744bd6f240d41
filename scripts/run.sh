#!/bin/sh
# Runs one of the project's programs or tasks with the Node that package.json asks for, whatever the machine has.
#   sh scripts/run.sh TASK [ARGS...]
# The first call installs the packages; later calls do so only when package-lock.json has changed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
here=$(pwd)
task=${1:?"usage: run.sh TASK [ARGS...]"}
shift

stamp="$root/node_modules/.torus-installed"
if ! cmp -s "$root/package-lock.json" "$stamp"; then
  # Not "npm ci": it refuses a lock file that lacks optional packages of other platforms which the registry did not have.
  echo "torus: installing packages (once)" >&2
  (cd "$root" && npm install --no-save --include=dev --include=optional --no-audit --no-fund --loglevel=error >&2)
  cp "$root/package-lock.json" "$stamp"
fi
PATH="$root/node_modules/.bin:$PATH"
export PATH
# Types are taken off each file once and not at each start, which also saves the memory of what takes them off.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/node_modules/.cache/compiled}"
cd "$here"

case $task in
  torusd | torusctl | torusblk) exec node "$root/src/cmd/$task/main.ts" "$@" ;;
  up) exec node "$root/src/cmd/up/main.ts" "$@" ;;
  build) exec node "$root/scripts/build.ts" "$@" ;;
  test) exec node "$root/scripts/test.ts" "$@" ;;
  unit) cd "$root" && exec node "$root/scripts/test.ts" --unit "$@" ;;
  sim) exec node "$root/scripts/sim.ts" "$@" ;;
  measure) exec node "$root/scripts/measure.ts" "$@" ;;
  scale) exec node "$root/scripts/scale.ts" "$@" ;;
  kernel) exec node "$root/scripts/kernel.ts" "$@" ;;
  chaos) exec node "$root/scripts/chaos.ts" "$@" ;;
  bench) exec node "$root/scripts/bench.ts" "$@" ;;
  lint) cd "$root" && tsc && exec biome check "$@" ;;
  format) cd "$root" && exec biome check --write "$@" ;;
  *) echo "run.sh: no task '$task'" >&2; exit 2 ;;
esac
