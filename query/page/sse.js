// Server-sent events from pieces of text that may end anywhere.

/** Longest text that may wait for the end of its event, characters. */
const MOST = 64 * 1024 * 1024;

export class EventParser {
  #rest = "";

  /** The events that a further piece completes: `{id, event, data}`. */
  push(piece) {
    this.#rest += piece;
    const events = [];
    let from = 0;
    for (let to = this.#rest.indexOf("\n\n"); to >= 0; to = this.#rest.indexOf("\n\n", from)) {
      const event = parse(this.#rest.slice(from, to));
      if (event) events.push(event);
      from = to + 2;
    }
    this.#rest = this.#rest.slice(from);
    if (this.#rest.length > MOST) throw new Error("an event is longer than 64 MiB");
    return events;
  }
}

function parse(block) {
  const event = { id: null, event: "message", data: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") event.data = event.data === null ? value : `${event.data}\n${value}`;
    else if (name === "id" || name === "event") event[name] = value;
  }
  return event.data === null ? null : event;
}
