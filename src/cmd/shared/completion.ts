// Shell completion of a program, written from its tree of commands: names of commands, options, and the choices of options
// that have them. The scripts are static: completing a word starts no program.

import type { Command, Option } from "commander";
import { TorusError } from "#model";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** A place in the tree: `path` is "" at the root, "volume list" below. */
interface Place {
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly Option[];
  /** What its arguments may be, where that is known. */
  readonly choices: readonly string[];
}

export function completionScript(program: Command, shell: string): string {
  const places = collectPlaces(program, "", []);
  const name = program.name();
  switch (shell) {
    case "bash":
      return bashScript(name, places);
    case "zsh":
      return zshScript(name, places);
    case "fish":
      return fishScript(name, places);
    default:
      throw new TorusError(
        "invalid-argument",
        `there is no completion for "${shell}": use one of ${shells.join(", ")}`,
      );
  }
}

function collectPlaces(command: Command, path: string, inherited: readonly Option[]): Place[] {
  const options = [...command.options.filter((option) => !option.hidden), ...inherited];
  const commands = command.commands.flatMap((child) =>
    [child.name(), ...child.aliases()].map((name) => ({
      name,
      description: child.summary() || child.description(),
    })),
  );
  const below = command.commands.flatMap((child) =>
    [child.name(), ...child.aliases()].flatMap((name) =>
      collectPlaces(child, `${path} ${name}`.trim(), options),
    ),
  );
  const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
  return [{ path, commands, options, choices }, ...below];
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag): flag is string => flag !== undefined && flag !== null);
}

const takesValue = (option: Option) => option.required || option.optional;

/** Every flag that takes a value, in any place: the word after it is no command. */
function valueFlags(places: readonly Place[]): string[] {
  return [...new Set(places.flatMap((place) => place.options.filter(takesValue).flatMap(flagsOf)))].sort();
}

function wordsOf(place: Place): string[] {
  return [
    ...place.commands.map(({ name }) => name),
    ...place.choices,
    ...place.options.flatMap(flagsOf),
    "--help",
  ];
}

/** Shell code that sets `at` to the commands before the word under the cursor; bash and zsh differ in where words are. */
function findPlace(
  places: readonly Place[],
  words: { from: number; until: string; at: (index: string) => string },
): string {
  const known = places.filter(({ path }) => path !== "").map(({ path }) => `"${path}"`);
  return `  local at="" word next skip=""
  for ((i = ${words.from}; i < ${words.until}; i++)); do
    word="${words.at("i")}"
    if [[ -n "$skip" ]]; then skip=""; continue; fi
    case "$word" in
      ${valueFlags(places).join("|") || "--"}) skip=1; continue ;;
    esac
    next="\${at:+$at }$word"
    case "$next" in
      ${known.join("|")}) at="$next" ;;
    esac
  done`;
}

/** Case branches: after an option that takes a value come its choices, or file names. */
function valueBranches(places: readonly Place[], offer: (words: string) => string, files: string): string {
  const choices = new Map<string, string>();
  for (const option of places.flatMap((place) => place.options.filter(takesValue))) {
    for (const flag of flagsOf(option))
      choices.set(flag, option.argChoices?.join(" ") ?? choices.get(flag) ?? "");
  }
  return [...choices]
    .map(([flag, words]) => `    ${flag}) ${words === "" ? files : offer(words)}; return ;;`)
    .join("\n");
}

function placeBranches(places: readonly Place[], offer: (words: string) => string): string {
  return places.map((place) => `    "${place.path}") ${offer(wordsOf(place).join(" "))} ;;`).join("\n");
}

function bashScript(name: string, places: readonly Place[]): string {
  const offer = (words: string) => `COMPREPLY=($(compgen -W "${words}" -- "$cur"))`;
  const body = findPlace(places, { from: 1, until: "COMP_CWORD", at: (index) => `\${COMP_WORDS[${index}]}` });
  return `# bash completion of ${name}: source <(${name} completion bash)
_${name}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" i
${body}
  COMPREPLY=()
  case "$prev" in
${valueBranches(places, offer, 'COMPREPLY=($(compgen -f -- "$cur"))')}
  esac
  case "$at" in
${placeBranches(places, offer)}
  esac
}
complete -F _${name} ${name}
`;
}

function zshScript(name: string, places: readonly Place[]): string {
  const offer = (words: string) => `compadd -- ${words}`;
  const body = findPlace(places, { from: 2, until: "CURRENT", at: (index) => `\${words[${index}]}` });
  return `#compdef ${name}
# zsh completion of ${name}: source <(${name} completion zsh)
_${name}() {
  local prev="\${words[CURRENT-1]}" i
${body}
  case "$prev" in
${valueBranches(places, offer, "_files")}
  esac
  case "$at" in
${placeBranches(places, offer)}
  esac
}
compdef _${name} ${name}
`;
}

function fishScript(name: string, places: readonly Place[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const known = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const lines = places.flatMap((place) => {
    const here = `complete -c ${name} -n ${quote(`test "$(__${name}_place)" = "${place.path}"`)}`;
    const commands = place.commands.map(
      (child) => `${here} -f -a ${quote(child.name)} -d ${quote(child.description)}`,
    );
    const choices = place.choices.map((choice) => `${here} -f -a ${quote(choice)}`);
    const options = place.options.map((option) => {
      const short = option.short ? ` -s ${option.short.slice(1)}` : "";
      const long = option.long ? ` -l ${option.long.slice(2)}` : "";
      const values = option.argChoices
        ? ` -x -a ${quote(option.argChoices.join(" "))}`
        : takesValue(option)
          ? " -r"
          : "";
      return `${here}${short}${long}${values} -d ${quote(option.description)}`;
    });
    return [...commands, ...choices, ...options];
  });
  return `# fish completion of ${name}: ${name} completion fish | source
function __${name}_place
  set -l at
  set -l skip
  for word in (commandline -opc)[2..]
    if set -q skip[1]
      set -e skip
      continue
    end
    if contains -- $word ${valueFlags(places).join(" ")}
      set skip 1
      continue
    end
    set -l next (string join ' ' $at $word)
    contains -- $next ${known.join(" ")}; and set at $next
  end
  echo "$at"
end
${lines.join("\n")}
`;
}
