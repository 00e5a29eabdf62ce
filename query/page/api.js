// The public API, and nothing else. Addresses are relative, so that the page works behind a proxy's
// prefix.
import { parseExact, parseRows } from "./exact.js";
import { EventParser } from "./sse.js";
import { ServerClock } from "./clocks.js";

/** The service's clock, from every answer. */
export const clock = new ServerClock();

/** Longest that an answer may take, ms. */
const PATIENCE_MS = 30_000;

/** A refusal, with the text that the API gave. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function address(path, params = []) {
  const query = new URLSearchParams(params.filter(([, value]) => value !== null && value !== undefined));
  const text = query.toString();
  return `./v1/${path}${text && `?${text}`}`;
}

async function ask(url, accept, signal) {
  const sent = Date.now();
  const answer = await fetch(url, { headers: { accept }, signal, cache: "no-store" });
  clock.note(sent, Date.now(), answer.headers.get("date"));
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  const text = await answer.text();
  try {
    const problem = JSON.parse(text);
    return new Refusal(answer.status, problem.detail ?? problem.title ?? text);
  } catch {
    return new Refusal(answer.status, text.slice(0, 400) || answer.statusText);
  }
}

function bounded(signal) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

/** A JSON answer; members that are numbers are text. */
export async function getJson(path, params, signal) {
  const answer = await ask(address(path, params), "application/json", bounded(signal));
  return parseExact(await answer.text());
}

/** Rows of a window or of bars, what the headers tell of them, and the address of the next page. */
export async function getRows(path, params, signal) {
  return rowsAt(address(path, params), signal);
}

/** The same of a page's address. */
export async function rowsAt(url, signal) {
  const answer = await ask(url, "application/x-ndjson", bounded(signal));
  const rows = parseRows(await answer.text());
  const link = /<\/v1\/([^>]*)>/.exec(answer.headers.get("link") ?? "");
  return {
    rows,
    complete: answer.headers.get("tourbillon-complete-through"),
    final: answer.headers.get("tourbillon-final") === "true",
    next: link ? `./v1/${link[1]}` : null,
  };
}

/** No event for so long, and the connection counts as dead: the service speaks once a second. */
const SILENCE_MS = 6000;

/** Pauses before a further attempt. */
const PAUSE_MS = { first: 250, most: 4000 };

/** Follows a subscription, and goes on after its last event when the connection breaks. */
export class Follower {
  #path;
  #params;
  #on;
  #stop = new AbortController();
  #cursor = null;

  /** `on` has `rows(rows, partition)`, `watermark(stamp)`, `opened(cursor)` and `lost(error)`. */
  constructor(path, params, on) {
    this.#path = path;
    this.#params = params;
    this.#on = on;
    this.#run();
  }

  close() {
    this.#stop.abort();
  }

  get #closed() {
    return this.#stop.signal.aborted;
  }

  async #run() {
    let pause = PAUSE_MS.first;
    while (!this.#closed) {
      try {
        await this.#follow(() => { pause = PAUSE_MS.first; });
        throw new Error("the service ended the connection");
      } catch (error) {
        if (this.#closed) return;
        // a cursor before what retention left, or that this service does not know
        if (error instanceof Refusal && [400, 410].includes(error.status)) this.#cursor = null;
        this.#on.lost(error);
      }
      await rest(pause * (0.75 + Math.random() / 2), this.#stop.signal);
      pause = Math.min(pause * 2, PAUSE_MS.most);
    }
  }

  async #follow(heard) {
    const attempt = new AbortController();
    const give = () => attempt.abort(new Error(`no word from the service for ${SILENCE_MS / 1000} s`));
    let watch = setTimeout(give, SILENCE_MS);
    try {
      const from = this.#cursor ? [["from", this.#cursor]] : [];
      const signal = AbortSignal.any([attempt.signal, this.#stop.signal]);
      const answer = await ask(address(this.#path, [...this.#params, ...from]), "text/event-stream", signal);
      this.#on.opened(this.#cursor !== null);
      this.#cursor ??= answer.headers.get("tourbillon-cursor");
      const parser = new EventParser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        clearTimeout(watch);
        watch = setTimeout(give, SILENCE_MS);
        heard();
        for (const event of parser.push(piece.value)) this.#take(event);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #take(event) {
    if (this.#closed) return;
    const data = parseExact(event.data);
    if (event.id) this.#cursor = event.id;
    if (event.event === "rows") this.#on.rows(data.rows, data.partition);
    else if (event.event === "watermark") this.#on.watermark(data.complete_through);
    else if (event.event === "end") throw new Error(data.reason);
  }
}

/** Resolves after a while, or at once when stopped. */
export function rest(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

/** Asks again and again, one request at a time, until it is closed. */
export class Poller {
  #stop = new AbortController();

  constructor(everyMs, ask, failed) {
    this.#run(everyMs, ask, failed);
  }

  close() {
    this.#stop.abort();
  }

  async #run(everyMs, ask, failed) {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await ask(signal);
      } catch (error) {
        if (!signal.aborted) failed(error);
      }
      await rest(everyMs, signal);
    }
  }
}
