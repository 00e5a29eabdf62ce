// A `standalone` on a folder of its own, and a feed of trades.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function until(what, look, ms = 20_000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms${last ? ` (${last.message})` : ""}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

export const KEYS = [["XSIM_SPOT", "BTCUSDT", 61_837], ["XSIM_SPOT", "ETHUSDT", 2683], ["XSIM_PERP", "BTCUSDT", 61_840], ["XSIM_PERP", "SOLUSDT", 153]];

export class Service {
  #binary;
  #folder;
  #port;
  #process = null;
  #feed = null;
  #seq = 0;
  #seed = 1;
  #prices = KEYS.map(([, , price]) => price);
  url;

  static async make(binary) {
    const service = new Service();
    service.#binary = binary;
    service.#folder = await mkdtemp(join(tmpdir(), "tourbillon-page-"));
    service.#port = await freePort();
    service.url = `http://127.0.0.1:${service.#port}`;
    await service.start();
    return service;
  }

  async start() {
    const args = ["standalone", "--data", join(this.#folder, "data"), "--listen", `127.0.0.1:${this.#port}`];
    this.#process = spawn(this.#binary, args, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, RUST_LOG: "warn" } });
    const { pid } = this.#process;
    const dead = new Promise((_, fail) => { this.#process.once("exit", (code) => fail(new Error(`process ${pid} ended: ${code}`))); });
    dead.catch(() => {});
    await Promise.race([dead, until("the service is ready", async () => (await fetch(`${this.url}/readyz`)).ok, 60_000)]);
  }

  async #end(signal) {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode) return;
    const gone = once(this.#process, "exit");
    this.#process.kill(signal);
    await gone;
  }

  kill() {
    return this.#end("SIGKILL");
  }

  async close() {
    this.pause();
    await this.#end("SIGTERM");
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Sends rows every 100 ms. */
  feed(perSecond) {
    this.pause();
    this.#feed = setInterval(() => this.send(perSecond / 10).catch(() => {}), 100);
  }

  pause() {
    clearInterval(this.#feed);
  }

  async send(count) {
    const lines = [];
    for (let at = 0; at < count; at += 1) lines.push(JSON.stringify(this.#row()));
    const headers = { "content-type": "application/x-ndjson" };
    const answer = await fetch(`${this.url}/v1/streams/trades/events`, { method: "POST", headers, body: lines.join("\n") });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  // the first key has half of the rows; prices have all the places that a column can have
  #row() {
    this.#seq += 1;
    const at = this.#seq % 2 ? 0 : 1 + (this.#seq / 2) % 3;
    const [venue, symbol] = KEYS[at];
    this.#seed = (this.#seed * 48_271) % 2_147_483_647;
    this.#prices[at] *= 1 + (this.#seed / 2_147_483_647 - 0.5) * 0.0005;
    const price = `${Math.floor(this.#prices[at])}.${String(this.#seq % 1_000_000_000).padStart(9, "0")}`;
    const size = `${1 + (this.#seq % 7)}.${this.#seq % 10}00000001`;
    return { venue, symbol, ts_event: new Date().toISOString(), price, size, side: this.#seq % 3 ? "buy" : "sell", seq: this.#seq };
  }

  /** An answer of the API as text, by which it is compared with what the page shows. */
  async text(path, accept = "application/x-ndjson") {
    const answer = await fetch(`${this.url}/v1/${path}`, { headers: { accept } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${text}`);
    return text;
  }

  async json(path) {
    return JSON.parse(await this.text(path, "application/json"));
  }

  /** Rows as columns of text, exact because CSV has no numbers. */
  async rows(path) {
    const [head, ...lines] = (await this.text(path, "text/csv")).trim().split("\n");
    const names = head.split(",");
    return lines.map((line) => Object.fromEntries(line.split(",").map((value, at) => [names[at], value])));
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
