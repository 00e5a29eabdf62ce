// Rows in the total order (hlc, writer): those through the watermark, which are final, and those
// above it, among which more may come. Bounded: the oldest leave.

/** Rows that are kept on each side of the watermark. */
export const KEPT = { final: 2000, open: 20_000 };

/** The order of the stream. */
export function compareRows(a, b) {
  if (a.hlc !== b.hlc) return a.hlc < b.hlc ? -1 : 1;
  return Number(a.writer) - Number(b.writer);
}

/** Both, which are in order, in one order; a row that is in both comes once. */
export function merged(left, right) {
  if (!left.length || !right.length) return left.length ? left : right;
  if (compareRows(left[left.length - 1], right[0]) < 0) return left.concat(right);
  const all = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) {
    const order = compareRows(left[l], right[r]);
    all.push(order <= 0 ? left[l] : right[r]);
    if (order <= 0) l += 1;
    if (order >= 0) r += 1;
  }
  return all.concat(left.slice(l), right.slice(r));
}

export class Tape {
  /** Rows through the watermark, oldest first. */
  final = [];
  /** Rows above it. */
  open = [];
  /** How far the stream is complete; text, so it compares as rows do. */
  watermark = "";
  /** Rows that came so far. */
  came = 0;
  /** Rows above the watermark that were let go for want of room: what is shown has a gap there. */
  lost = 0;
  /** Rows that came behind the watermark. The protocol allows none. */
  late = 0;
  #kept;

  constructor(kept = KEPT) {
    this.#kept = kept;
  }

  /** Takes rows in any order, such that were there before `watermark` was told if `old`. */
  add(rows, old = false) {
    if (!old) this.came += rows.length;
    const sorted = inOrder(rows) ? rows : [...rows].sort(compareRows);
    const cut = firstAbove(sorted, this.watermark);
    if (cut > 0) {
      const before = this.final.length;
      this.final = merged(this.final, sorted.slice(0, cut));
      if (!old) this.late += this.final.length - before;
    }
    this.open = merged(this.open, sorted.slice(cut));
    this.#bound();
  }

  /** The stream is complete through a stamp: it never goes back. */
  complete(watermark) {
    if (watermark <= this.watermark) return;
    this.watermark = watermark;
    const cut = firstAbove(this.open, watermark);
    if (cut > 0) {
      this.final = merged(this.final, this.open.slice(0, cut));
      this.open = this.open.slice(cut);
    }
    this.#bound();
  }

  #bound() {
    if (this.final.length > this.#kept.final) this.final = this.final.slice(-this.#kept.final);
    const over = this.open.length - this.#kept.open;
    if (over > 0) {
      this.open = this.open.slice(over);
      this.lost += over;
    }
  }
}

function inOrder(rows) {
  for (let at = 1; at < rows.length; at += 1) {
    if (compareRows(rows[at - 1], rows[at]) >= 0) return false;
  }
  return true;
}

/** Index of the first row above a stamp. */
export function firstAbove(rows, stamp) {
  let from = 0;
  let to = rows.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (rows[middle].hlc <= stamp) from = middle + 1;
    else to = middle;
  }
  return from;
}

/**
 * What is shown, newest first: at most `most` open rows, one line that says how many more there are,
 * the watermark, and the final rows.
 */
export function shown(tape, most) {
  const newest = tape.open.slice(-most).reverse();
  const items = newest.map((row) => ({ row, open: true }));
  const hidden = tape.open.length - newest.length;
  if (hidden > 0) items.push({ hidden });
  items.push({ watermark: tape.watermark });
  for (let at = tape.final.length - 1; at >= 0; at -= 1) items.push({ row: tape.final[at] });
  return items;
}

/** How many a second over the last seconds, from counts that only grow. */
export class Rate {
  #marks = [];
  #over;

  constructor(overMs = 2000) {
    this.#over = overMs;
  }

  note(nowMs, count) {
    this.#marks.push([nowMs, count]);
    while (this.#marks.length > 2 && this.#marks[1][0] <= nowMs - this.#over) this.#marks.shift();
  }

  get perSecond() {
    if (this.#marks.length < 2) return 0;
    const [from, first] = this.#marks[0];
    const [to, last] = this.#marks[this.#marks.length - 1];
    return to > from ? ((last - first) * 1000) / (to - from) : 0;
  }
}
