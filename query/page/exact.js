// Numbers of answers stay the text that they are: decimals have more digits than doubles.

// A quote that ends a member's name, then a number. In a string, a quote has a backslash before it.
const NUMBER = /(?<!\\)":\s*(-?\d[\d.eE+-]*)/g;

/** Parses JSON whose members that are numbers become text, digit for digit. */
export function parseExact(text) {
  return JSON.parse(text.replace(NUMBER, '":"$1"'));
}

/** The rows of an NDJSON answer. */
export function parseRows(text) {
  return text.split("\n").filter(Boolean).map(parseExact);
}

/** A decimal without zeros that say nothing, its whole part in groups. Other text stays. */
export function decimal(text) {
  const found = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!found) return text;
  const [, sign, whole, places = ""] = found;
  const kept = places.replace(/0+$/, "");
  return (sign && "−") + group(whole) + (kept && `.${kept}`);
}

/** `20,000` */
export function group(whole) {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Plain text of a double that an axis shows, with as many places as its step needs. */
export function axisNumber(value, step) {
  const places = Math.max(0, Math.min(12, Math.ceil(-Math.log10(step) - 1e-9)));
  const text = Math.abs(value).toFixed(places);
  const [whole, rest] = text.split(".");
  const sign = value < 0 && Number(text) !== 0 ? "−" : "";
  return sign + group(whole) + (rest ? `.${rest}` : "");
}

/** `402 KiB` */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = Number(count);
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}
