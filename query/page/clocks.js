// The service's clock as seen from here, and the clock of a replay.

/** Answers whose bounds on the service's clock are remembered. */
const SAMPLES = 60;

/**
 * How far the service's clock is ahead of this machine's. Answers carry whole seconds (`Date`), so
 * each bounds it: the second was right at some moment between request and answer. Many bounds meet.
 */
export class ServerClock {
  #bounds = [];

  note(sentMs, cameMs, date) {
    const second = Date.parse(date);
    if (Number.isNaN(second)) return;
    this.#bounds.push([second - cameMs, second + 1000 - sentMs]);
    if (this.#bounds.length > SAMPLES) this.#bounds.shift();
  }

  /** Milliseconds; 0 where that is within the bounds, so that clocks which agree show no error. */
  get aheadMs() {
    if (!this.#bounds.length) return 0;
    const low = Math.max(...this.#bounds.map(([from]) => from));
    const high = Math.min(...this.#bounds.map(([, to]) => to));
    // a step of either clock leaves bounds that do not meet: begin anew with the newest
    if (low > high) {
      this.#bounds = this.#bounds.slice(-1);
      return this.aheadMs;
    }
    return low <= 0 && high >= 0 ? 0 : (low + high) / 2;
  }

  /** The service's time, ns. */
  now(localMs) {
    return BigInt(Math.round((localMs + this.aheadMs) * 1000)) * 1000n;
  }
}

/** Where a replay stands: it moves with time times speed, never past the rows that are there. */
export class ReplayClock {
  playing = false;

  constructor(start, end, speed) {
    this.start = start;
    this.end = end;
    this.at = start;
    this.speed = speed;
  }

  /** Moves on by real time; `loaded` is how far rows are there. Whether it had to wait for them. */
  advance(elapsedMs, loaded) {
    if (!this.playing) return false;
    const bound = loaded < this.end ? loaded : this.end;
    const step = this.speed === Infinity ? bound - this.at : BigInt(Math.round(elapsedMs * 1000 * this.speed)) * 1000n;
    const wanted = this.at + step;
    this.at = wanted < bound ? wanted : bound > this.at ? bound : this.at;
    if (this.at >= this.end) this.playing = false;
    return wanted > bound && bound < this.end;
  }

  /** Goes to a stamp of its range. */
  seek(at) {
    this.at = at < this.start ? this.start : at > this.end ? this.end : at;
  }

  /** 0 to 1. */
  get share() {
    const span = this.end - this.start;
    return span > 0n ? Number(((this.at - this.start) * 1_000_000n) / span) / 1e6 : 1;
  }

  atShare(share) {
    return this.start + BigInt(Math.round(Number(this.end - this.start) * share));
  }

  get ended() {
    return this.at >= this.end;
  }
}
