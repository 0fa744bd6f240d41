// Building blocks of the records' codec: a field decodes one JSON value or says why not. Decoding is strict: a wrong
// type, a number out of bounds, a missing or an unknown name, a text or list too long is an error, because what is
// read here decides over data. New fields come with a new `format` number.

/** What is wrong and where; the codec turns it into `corrupt` (reading) or `invalid-argument` (writing). */
export class FieldError extends Error {
  override readonly name = "FieldError";
}

export type Field<Value> = (value: unknown, path: string) => Value;
export type Shape<Value> = { readonly [Name in keyof Value]-?: Field<Value[Name]> };

function refuse(path: string, claim: string, value: unknown): never {
  const shown = JSON.stringify(value) ?? String(value);
  throw new FieldError(`${path} ${claim}, not ${shown.length > 60 ? `${shown.slice(0, 60)}...` : shown}`);
}

/** A whole number in [minimum, maximum]. */
export function integer(minimum: number, maximum: number = Number.MAX_SAFE_INTEGER): Field<number> {
  return (value, path) =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= minimum && value <= maximum
      ? value
      : refuse(path, `must be a whole number from ${minimum} to ${maximum}`, value);
}

/** A finite number from 0, such as a time in milliseconds. */
export const notNegative: Field<number> = (value, path) =>
  typeof value === "number" && Number.isFinite(value) && value >= 0
    ? value
    : refuse(path, "must be a number from 0", value);

export const positive: Field<number> = (value, path) =>
  typeof value === "number" && Number.isFinite(value) && value > 0
    ? value
    : refuse(path, "must be a number above 0", value);

export const flag: Field<boolean> = (value, path) =>
  typeof value === "boolean" ? value : refuse(path, "must be true or false", value);

export function text(charsMax: number, pattern?: RegExp): Field<string> {
  return (value, path) => {
    if (typeof value !== "string" || value.length > charsMax || !value.isWellFormed()) {
      return refuse(path, `must be a text of at most ${charsMax} characters`, value);
    }
    return pattern === undefined || pattern.test(value)
      ? value
      : refuse(path, `must match ${pattern.source}`, value);
  };
}

export function oneOf<const Choice extends string>(choices: readonly Choice[]): Field<Choice> {
  return (value, path) =>
    choices.find((choice) => choice === value) ?? refuse(path, `must be one of ${choices.join(", ")}`, value);
}

export function nullable<Value>(field: Field<Value>): Field<Value | null> {
  return (value, path) => (value === null ? null : field(value, path));
}

export function list<Value>(field: Field<Value>, lengthMax: number): Field<readonly Value[]> {
  return (value, path) =>
    Array.isArray(value) && value.length <= lengthMax
      ? value.map((item, index) => field(item, `${path}[${index}]`))
      : refuse(path, `must be a list of at most ${lengthMax}`, value);
}

const labelName = /^[0-9A-Za-z][0-9A-Za-z._/-]{0,62}$/;

/** A small map of texts, such as {zone: "a"}; sorted by name, so equal maps encode equally. */
export function labels(countMax: number, charsMax: number): Field<Readonly<Record<string, string>>> {
  const label = text(charsMax, /^[\x20-\x7e]+$/);
  return (value, path) => {
    const entries = Object.entries(requireObject(value, path));
    if (entries.length > countMax) refuse(path, `must have at most ${countMax} labels`, value);
    for (const [name] of entries)
      if (!labelName.test(name)) refuse(path, "must have plain label names", name);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([name, item]) => [name, label(item, `${path}.${name}`)]));
  };
}

export function object<Value extends object>(shape: Shape<Value>): Field<Value> {
  const names = Object.keys(shape) as (keyof Value & string)[];
  return (value, path) => {
    const source = requireObject(value, path);
    const unknown = Object.keys(source).find((name) => !Object.hasOwn(shape, name));
    if (unknown !== undefined) refuse(path, "must have no other fields", unknown);
    const result: Partial<Value> = {};
    for (const name of names) {
      if (!Object.hasOwn(source, name)) throw new FieldError(`${path} must have ${name}`);
      result[name] = shape[name](source[name], `${path}.${name}`);
    }
    return result as Value;
  };
}

/** One of several objects, told apart by their `kind`. */
export function variant<Value extends { readonly kind: string }>(
  fields: {
    readonly [Kind in Value["kind"]]: Field<Extract<Value, { readonly kind: Kind }>>;
  },
): Field<Value> {
  const kind = oneOf(Object.keys(fields) as Value["kind"][]);
  return (value, path) => {
    const chosen: Value["kind"] = kind(requireObject(value, path)["kind"], `${path}.kind`);
    return fields[chosen](value, path);
  };
}

/** Only the fields of `shape`, for values that may carry more. */
export function pick<Value extends object>(shape: Shape<Value>, value: Value): Record<string, unknown> {
  const names = Object.keys(shape) as (keyof Value & string)[];
  return Object.fromEntries(names.map((name) => [name, value[name]]));
}

export function requireObject(value: unknown, path: string): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : refuse(path, "must be an object", value);
}
