// From values to pixels and back, and where an axis has its marks.
import { SECOND, MS, ceilTo, formatStamp, floorTo } from "./stamp.js";

/** A straight line from [from, to] to [low, high]. */
export function linear(from, to, low, high) {
  const slope = to === from ? 0 : (high - low) / (to - from);
  return (value) => low + (value - from) * slope;
}

/** A line from stamps to pixels, with its inverse. */
export function timeScale(start, end, low, high) {
  const span = Number(end - start) || 1;
  const at = (ns) => low + (Number(ns - start) / span) * (high - low);
  at.stampAt = (x) => start + BigInt(Math.round(((x - low) / (high - low)) * span));
  return at;
}

/** Round numbers across a range, about `count` of them: `{step, values}`. */
export function ticks(low, high, count) {
  if (!(high > low)) return { step: 1, values: [low] };
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const values = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) values.push(at * step);
  return { step, values };
}

const MINUTE = 60n * SECOND;
const HOUR = 60n * MINUTE;
const STEPS = [
  1n, 2n, 5n, 10n, 20n, 50n, 100n, 200n, 500n, 1000n, 2000n, 5000n, 10_000n, 20_000n, 50_000n, 100_000n, 200_000n, 500_000n,
  MS, 2n * MS, 5n * MS, 10n * MS, 20n * MS, 50n * MS, 100n * MS, 200n * MS, 500n * MS,
  SECOND, 2n * SECOND, 5n * SECOND, 10n * SECOND, 15n * SECOND, 30n * SECOND,
  MINUTE, 2n * MINUTE, 5n * MINUTE, 10n * MINUTE, 15n * MINUTE, 30n * MINUTE,
  HOUR, 2n * HOUR, 3n * HOUR, 6n * HOUR, 12n * HOUR,
  24n * HOUR, 48n * HOUR, 168n * HOUR, 720n * HOUR, 2160n * HOUR, 8640n * HOUR,
];

/** Round times across a range, at most `count` of them, with the text that each needs. */
export function timeTicks(start, end, count) {
  const raw = (end - start) / BigInt(Math.max(1, count));
  const step = STEPS.find((one) => one >= raw) ?? STEPS[STEPS.length - 1];
  const marks = [];
  for (let at = ceilTo(start, step); at <= end && marks.length <= count + 1; at += step) marks.push({ at, text: tickText(at, step) });
  return marks;
}

function tickText(at, step) {
  const text = formatStamp(at);
  if (step >= 24n * HOUR) return text.slice(0, 10);
  if (floorTo(at, 24n * HOUR) === at) return text.slice(5, 10);
  if (step >= MINUTE) return text.slice(11, 16);
  if (step >= SECOND) return text.slice(11, 19);
  const places = step >= MS ? 3 : step >= 1000n ? 6 : 9;
  return text.slice(17, 20 + places);
}

/** Lengths of bars that are offered. */
export const INTERVALS = ["10ms", "100ms", "1s", "5s", "15s", "1m", "5m", "15m", "1h", "4h", "1d"];
const LENGTHS = [10n * MS, 100n * MS, SECOND, 5n * SECOND, 15n * SECOND, MINUTE, 5n * MINUTE, 15n * MINUTE, HOUR, 4n * HOUR, 24n * HOUR];

/** The shortest length that leaves at most `most` bars in a range. */
export function intervalFor(span, most) {
  const at = LENGTHS.findIndex((length) => span / length <= BigInt(most));
  return INTERVALS[at < 0 ? INTERVALS.length - 1 : at];
}

/** A range made longer or shorter around a share of it (0 to 1), within bounds on its length. */
export function zoomed([start, end], factor, share = 0.5, shortest = 10n * MS, longest = 3_650n * 24n * HOUR) {
  const span = end - start;
  let length = BigInt(Math.round(Number(span) * factor));
  if (length < shortest) length = shortest;
  if (length > longest) length = longest;
  const left = start + BigInt(Math.round(Number(span - length) * share));
  return [left, left + length];
}

/** A range moved by a share of its length. */
export function panned([start, end], share) {
  const by = BigInt(Math.round(Number(end - start) * share));
  return [start + by, end + by];
}
