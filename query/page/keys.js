// Which key, of those that a stream has, is which, and how a choice of them is asked for.

/** Separates the values of a key: no text that a browser shows has it. */
const BETWEEN = "\u001f";

const NUMBERS = /^(decimal\(.*\)|u?int64|float64)$/;

export function keyOf(def, row) {
  return def.key.map((column) => String(row[column])).join(BETWEEN);
}

export function label(key) {
  return key.split(BETWEEN).join(" · ");
}

/**
 * Parameters for rows of these keys. The API takes values for each column, which is every
 * combination of them, so answers are filtered again. A value with a comma cannot be asked for.
 */
export function keyParams(def, keys) {
  const params = [];
  if (!keys.length) return params;
  def.key.forEach((column, at) => {
    const values = [...new Set(keys.map((key) => key.split(BETWEEN)[at]))];
    if (!values.some((value) => value.includes(",") || value === "null")) params.push([`key.${column}`, values.join(",")]);
  });
  return params;
}

export function numericColumns(def) {
  return def.columns.filter((column) => NUMBERS.test(column.type) && !def.key.includes(column.name)).map((column) => column.name);
}

/** The columns that a chart begins with; null if the stream has no numbers. */
export function chartColumns(def) {
  const names = numericColumns(def);
  if (!names.length) return null;
  const price = ["price", "bid", "last", "value"].find((name) => names.includes(name)) ?? names[0];
  return { price, size: sizeFor(names, price) };
}

/** The column of sizes that goes with one of prices. */
export function sizeFor(names, price) {
  const fitting = price === "price" ? ["size", "quantity", "volume"] : [`${price}_size`, `${price}_quantity`];
  return fitting.find((name) => names.includes(name)) ?? names.find((name) => name === "size") ?? price;
}

/** Columns of the tape: those that tell most first, as many as fit. */
export function tapeColumns(def, most = 6) {
  const numbers = numericColumns(def).filter((name) => name !== "seq");
  const rest = def.columns.map((column) => column.name);
  const text = rest.filter((name) => !def.key.includes(name) && !numbers.includes(name) && !/^(ts_|seq$)/.test(name));
  return [...new Set([...def.key, ...numbers, ...text])].slice(0, most);
}
