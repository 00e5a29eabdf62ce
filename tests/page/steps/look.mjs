// What the page shows, as data.
import assert from "node:assert/strict";

/** Lines of the tape from the top, all of one moment. */
export function tapeLines(page) {
  return page.evaluate(() => {
    const top = (line) => Number(/-?[\d.]+/.exec(line.style.transform)?.[0] ?? 0);
    const lines = [...document.querySelectorAll("#tape-space .line")].filter((line) => !line.hidden);
    return lines.sort((a, b) => top(a) - top(b)).map((line) => ({
      kind: line.className.replace(/^line ?/, "") || "final",
      hlc: line.dataset.hlc,
      writer: line.dataset.writer,
      cells: [...line.children].slice(0, -1).map((cell) => cell.textContent),
      mark: line.lastElementChild.textContent,
    }));
  });
}

/** Asserts that lines are newest first and on their side of the watermark; the final rows. */
export function inOrder(lines) {
  const rows = lines.filter((line) => ["open", "final"].includes(line.kind));
  for (let at = 1; at < rows.length; at += 1) {
    const [upper, lower] = [rows[at - 1], rows[at]];
    const ordered = upper.hlc > lower.hlc || (upper.hlc === lower.hlc && Number(upper.writer) > Number(lower.writer));
    assert.ok(ordered, `${lower.hlc} w${lower.writer} stands below ${upper.hlc} w${upper.writer}`);
  }
  const edge = lines.findIndex((line) => line.kind === "edge");
  lines.forEach((line, at) => {
    if (line.kind === "open" && edge >= 0) assert.ok(at < edge && line.hlc > lines[edge].hlc, "an open row above the watermark");
    if (line.kind === "final" && edge >= 0) assert.ok(at > edge && line.hlc <= lines[edge].hlc, "a final row through the watermark");
  });
  return rows.filter((line) => line.kind === "final");
}

/** A decimal of the API as the page writes it. */
export function decimal(text) {
  const [whole, places = ""] = text.split(".");
  const kept = places.replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (kept && `.${kept}`);
}

export const stampNs = (text) => BigInt(Date.parse(`${text.slice(0, 19)}Z`)) * 1_000_000n + BigInt(text.slice(20, 29).padEnd(9, "0"));

export const stampText = (ns) => `${new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19)}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;

/** Asserts that rows of the tape are exactly those of the API's window from the oldest to the newest. */
export async function sameAsWindow(service, rows, filter = "") {
  const [newest, oldest] = [rows[0], rows[rows.length - 1]];
  const range = `start=${oldest.hlc}&end=${stampText(stampNs(newest.hlc) + 1n)}`;
  const window = await service.rows(`streams/trades/window?${range}&order=desc&consistency=final${filter}`);
  const told = window.map((row) => [row.hlc, row.writer, row.venue, row.symbol, decimal(row.price), decimal(row.size), row.side]);
  // of several rows with the oldest stamp, some may be out of view
  const shown = rows.map((row) => [row.hlc, ...row.cells.slice(1)]);
  assert.deepEqual(shown, told.slice(0, shown.length));
  assert.ok(told.length - shown.length < 2000 && told.slice(shown.length).every(([hlc]) => hlc === oldest.hlc), "no row is missing");
  rows.forEach((row) => assert.equal(row.cells[0].replaceAll("\u2009", ""), row.hlc.slice(11, 29), "all nine places are shown"));
}

/** The range under the chart: `{start, end}` in ns, to the millisecond. */
export async function plotRange(page) {
  const text = await page.locator("#plot-range").textContent();
  const [, day, from, endDay, to] = /^(\S+) (\S+) to (?:(\S+) )?(\S+)$/.exec(text);
  return { start: stampNs(`${day}T${from}`), end: stampNs(`${endDay ?? day}T${to}`) };
}

/** The frame after `count` more were drawn. */
export function frames(page, count) {
  return page.evaluate((left) => new Promise((resolve) => {
    const next = () => { left -= 1; if (left < 0) resolve(); else requestAnimationFrame(next); };
    next();
  }), count);
}

export const textOf = (page, id) => page.locator(`#${id}`).textContent();

/** Cells of a table by line. */
export function tableOf(page, id) {
  return page.evaluate((name) => [...document.querySelectorAll(`#${name} tbody tr`)].map((line) => [...line.cells].map((cell) => cell.textContent)), id);
}
