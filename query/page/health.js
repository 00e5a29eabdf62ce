// What has landed and what was refused, found by comparing answers.
import { parseStamp } from "./stamp.js";

/** Entries that are remembered of each kind. */
const KEPT = 200;

/** How far back refused frames are looked for at first, records of a partition. */
const REJECTS_BACK = 50_000n;

/** A partition that refused no rows is looked at this often: refused beats have none. */
const REJECTS_MS = 15_000;

/** Segments of so long ago are shown at first, ns. */
const FILES_BACK = 300_000_000_000n;

/** How much of its lease a writer has left, by when it last spoke; null if the service does not tell. */
export function leaseLeft({ lease_ms: ms, last_seen: seen }, now) {
  if (ms === undefined || ms === null) return null;
  const lease = BigInt(ms) * 1_000_000n;
  return { lease, left: parseStamp(seen) + lease - now };
}

export class Landed {
  /** Commits as they came, newest first. */
  list = [];
  /** When it began to look. */
  began = null;
  #last = new Map();
  #files = new Map();

  /** Notes the newest commits of partitions. Whether any is new. */
  commits(partitions, seen) {
    let fresh = this.began === null;
    this.began ??= seen;
    for (const { partition, commit, sealed_rows: sealed } of partitions) {
      const before = this.#last.get(partition);
      this.#last.set(partition, { commit, sealed });
      if (commit === null || !before || before.commit === commit) continue;
      fresh = true;
      const first = before.commit === null ? 0n : BigInt(before.commit) + 1n;
      const named = first < BigInt(commit) ? `${first} to ${commit}` : commit;
      this.list.unshift({ partition, commit: named, rows: String(BigInt(sealed) - BigInt(before.sealed)), all: sealed, seen });
    }
    this.list.length = Math.min(this.list.length, KEPT);
    return fresh;
  }

  /** From which stamp on files are asked for: those that were not there the last time, with some room. */
  filesFrom(now, window) {
    let last = now - FILES_BACK;
    for (const { last_hlc: stamp } of this.#files.values()) last = BigInt(stamp) > last ? BigInt(stamp) : last;
    return this.#files.size ? last - 3n * window : last;
  }

  files(files) {
    for (const file of files) this.#files.set(file.path, file);
    const { newest } = this;
    this.#files = new Map(newest.slice(0, KEPT).map((file) => [file.path, file]));
  }

  /** Files by their last stamp, newest first. */
  get newest() {
    const later = (a, b) => (BigInt(a.last_hlc) > BigInt(b.last_hlc) ? -1 : 1);
    return [...this.#files.values()].sort(later);
  }
}

export class Refused {
  /** Refused frames, newest first. */
  list = [];
  #partitions = new Map();

  /** Notes how far partitions are followed, and how many rows they refused. */
  known(partitions) {
    for (const { partition, next_offset: next, rejected_rows: rejected } of partitions) {
      const back = BigInt(next) - REJECTS_BACK;
      const first = { from: back > 0n ? back : 0n, asked: -Infinity, rejected: null };
      const known = this.#partitions.get(partition) ?? first;
      this.#partitions.set(partition, { ...known, next: BigInt(next), now: rejected });
    }
  }

  /** Partitions to ask about, from which offset on. */
  due(nowMs) {
    const due = [];
    for (const [partition, known] of this.#partitions) {
      if (known.rejected === known.now && nowMs - known.asked < REJECTS_MS) continue;
      Object.assign(known, { asked: nowMs, rejected: known.now });
      due.push({ partition, from: String(known.from) });
    }
    return due;
  }

  /** Adds what was found in a partition; the next question begins behind it. */
  found(partition, rejects) {
    const known = this.#partitions.get(partition);
    for (const one of rejects) {
      this.list.unshift(one);
      const behind = BigInt(one.offset) + 1n;
      if (behind > known.from) known.from = behind;
    }
    const later = (a, b) => (a.append_time > b.append_time ? -1 : 1);
    this.list = this.list.sort(later).slice(0, KEPT);
  }
}
