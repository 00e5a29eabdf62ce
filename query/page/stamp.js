// Stamps are nanoseconds since the epoch as BigInt, or RFC 3339 text with nine places as the API
// writes it. Text of one form sorts as the stamps do.

const FORM = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?$/i;

export const MS = 1_000_000n;
export const SECOND = 1_000_000_000n;

/** Nanoseconds of a time as people and the API write it, UTC if it names no zone; null if it is none. */
export function parseStamp(text) {
  const trimmed = text.trim();
  if (/^-?\d{1,19}$/.test(trimmed)) return BigInt(trimmed);
  const found = FORM.exec(trimmed);
  if (!found) return null;
  const [, year, month, day, hour = "0", minute = "0", second = "0", places = "", zone = "Z"] = found;
  const parts = [year, month, day, hour, minute, second].map(Number);
  const ms = Date.UTC(parts[0], parts[1] - 1, parts[2], parts[3], parts[4], parts[5]);
  const back = new Date(ms);
  const same = back.getUTCMonth() === parts[1] - 1 && back.getUTCDate() === parts[2];
  if (!same || parts[3] > 23 || parts[4] > 59 || parts[5] > 59) return null;
  const ns = BigInt(ms) * MS + BigInt(places.padEnd(9, "0"));
  return ns - BigInt(offsetMinutes(zone)) * 60n * SECOND;
}

function offsetMinutes(zone) {
  if (/^z$/i.test(zone)) return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6));
  return zone[0] === "-" ? -minutes : minutes;
}

/** The API's form of a stamp. */
export function formatStamp(ns) {
  const seconds = floorTo(ns, SECOND);
  const date = new Date(Number(seconds / MS)).toISOString().slice(0, 19);
  return `${date}.${String(ns - seconds).padStart(9, "0")}Z`;
}

/** `18:20:02.912` of text in the API's form; with all nine places, in groups, on demand. */
export function clockOf(text, places = 3) {
  const time = text.slice(11, 19);
  const fraction = text.slice(20, 20 + places);
  return places ? `${time}.${fraction.replace(/(\d{3})(?=\d)/g, "$1\u2009")}` : time;
}

/** The largest multiple of `step` that is not above. */
export function floorTo(ns, step) {
  const rest = ns % step;
  return ns - (rest < 0n ? rest + step : rest);
}

/** The smallest multiple of `step` that is not below. */
export function ceilTo(ns, step) {
  return -floorTo(-ns, step);
}

/** A span for people: its value and its unit. */
export function formatSpan(ns) {
  const sign = ns < 0n ? "−" : "";
  const size = ns < 0n ? -ns : ns;
  if (size < MS) return `${sign}${size / 1000n} µs`;
  if (size < 10n * MS) return `${sign}${tenths(size, MS)} ms`;
  if (size < SECOND) return `${sign}${size / MS} ms`;
  if (size < 60n * SECOND) return `${sign}${tenths(size, SECOND)} s`;
  const minutes = size / (60n * SECOND);
  if (minutes < 60n) return `${sign}${minutes} min ${(size / SECOND) % 60n} s`;
  const hours = minutes / 60n;
  if (hours < 48n) return `${sign}${hours} h ${minutes % 60n} min`;
  return `${sign}${hours / 24n} d ${hours % 24n} h`;
}

function tenths(ns, unit) {
  const count = (ns * 10n) / unit;
  return `${count / 10n}.${count % 10n}`;
}

const UNITS = { ns: 1n, us: 1000n, ms: MS, s: SECOND, m: 60n * SECOND, h: 3600n * SECOND, d: 86_400n * SECOND };

/** Nanoseconds of a duration as the API writes it, as `250ms` or `1h`; null if it is none. */
export function parseDuration(text) {
  const found = /^(\d+)(ns|us|ms|s|m|h|d)$/.exec(text);
  return found ? BigInt(found[1]) * UNITS[found[2]] : null;
}
