import assert from "node:assert/strict";
import { until } from "../service.mjs";
import { tableOf, textOf } from "./look.mjs";

const number = (text) => Number(text.replace(/,| \w+$/g, ""));

export async function tables({ page, service, shot }) {
  const { partitions } = await service.json("streams/trades/partitions");
  const shown = await until("partitions", async () => {
    const lines = await tableOf(page, "partitions");
    return lines.length === partitions.length && lines;
  });
  shown.forEach(([partition, watermark, delay, , lag, , sealed, unsealed, repeats, rejected, state], at) => {
    assert.equal(Number(partition), at);
    assert.match(watermark, /^\d\d:\d\d:\d\d\.\d{3}$/);
    assert.match(delay, /^[\d.]+ (µs|ms|s)$/);
    assert.match(lag, /^[\d,]+ records$/);
    assert.ok(number(sealed) + number(unsealed) >= 0 && number(sealed) <= partitions[at].sealed_rows);
    assert.deepEqual([repeats, rejected, state], ["0 rows", "0 rows", "follows"]);
  });
  const busy = partitions.filter((one) => one.accepted_rows > 100).map((one) => one.partition);
  await until("how fresh rows are", async () => {
    const lines = await tableOf(page, "partitions");
    return busy.length > 0 && busy.every((at) => /^[\d.]+ (µs|ms|s), [\d.]+ (µs|ms|s)$/.test(lines[at][3]));
  });
  await writers(page, service);
  await commits(page, service);
  await page.locator("#commits-panel").scrollIntoViewIfNeeded();
  await shot("light-health", true);
}

async function writers(page, service) {
  const { writers: told } = await service.json("writers");
  const joined = told.filter((one) => one.state === "joined");
  const lines = await until("writers", async () => {
    const found = await tableOf(page, "writers");
    return found.length >= joined.length && / of 2\.0 s left$/.test(found[0][3]) && /^[+−]?\d+ ms$/.test(found[0][4]) && found;
  });
  assert.deepEqual(lines[0].slice(0, 3), [String(joined[0].writer), joined[0].gateway, "joined"]);
  assert.match(lines[0][5], / ago$/);
}

async function commits(page, service) {
  const lines = await until("a commit that lands", async () => {
    const found = await tableOf(page, "commits");
    return found.some((line) => number(line[3]) > 0) && found;
  }, 40_000);
  const { partitions } = await service.json("streams/trades/partitions");
  for (const [seen, partition, commit, , all] of lines) {
    assert.match(seen, /^\d\d:\d\d:\d\d$/);
    assert.ok(Number(commit.split(" ").pop()) <= partitions[Number(partition)].commit);
    assert.ok(number(all) <= partitions[Number(partition)].sealed_rows);
  }
  const segments = await until("its segment", async () => {
    const found = await tableOf(page, "files");
    return found.length > 0 && found;
  });
  const { files } = await service.json("streams/trades/files");
  for (const [partition, rows, size, , , hash] of segments) {
    const file = files.find((one) => one.file_hash.startsWith(hash));
    assert.ok(file, `the service has ${hash}`);
    assert.deepEqual([Number(partition), number(rows)], [file.partition, file.rows]);
    assert.match(size, /^[\d.]+ (B|KiB|MiB)$/);
  }
}

/** No client can make a gateway break the protocol, so the answers are made here. */
export async function rejects({ page }) {
  assert.match(await textOf(page, "rejects-note"), /^None among the newest records/);
  const asked = [];
  await page.route("**/partitions", async (route) => {
    const answer = await route.fetch();
    const told = await answer.json();
    told.partitions[1].rejected_rows = 7;
    await route.fulfill({ response: answer, json: told });
  });
  await page.route("**/rejects?*", (route) => {
    const params = new URL(route.request().url()).searchParams;
    asked.push(params);
    const one = { partition: 1, offset: 41, append_time: "2026-11-30T18:20:02.622085442Z", reason: "frame_missing", bytes: 2048, kind: "data", writer: 3, pseq: 12, rows: 7, first_hlc: 1, last_hlc: 2, sources: [] };
    const due = params.get("partition") === "1" && Number(params.get("from_offset")) <= 41;
    return route.fulfill({ json: { rejects: due ? [one, { ...one, offset: 42, kind: undefined, writer: undefined, rows: undefined }] : [], more: false } });
  });
  await until("the refused frames", async () => {
    const lines = await tableOf(page, "rejects");
    return lines.length === 2 && lines;
  });
  const lines = await tableOf(page, "rejects");
  assert.ok(lines.some((line) => line.join("|") === "1|41|18:20:02.622|frame_missing|data|3|7 rows|2.0 KiB"), lines.join("\n"));
  assert.ok(lines.some((line) => line.join("|") === "1|42|18:20:02.622|frame_missing|unreadable|–|–|2.0 KiB"), lines.join("\n"));
  assert.ok(asked.every((params) => params.has("from_offset") && params.has("limit")));
  await page.unroute("**/rejects?*");
  await page.unroute("**/partitions");
}
