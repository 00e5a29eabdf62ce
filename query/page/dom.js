// The little of the document that every view needs.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text is never taken as markup. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export function makeSvg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Sets text only if it changes, so that nothing is laid out or read out again for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Options of a select; keeps the choice if it is still there. */
export function setOptions(select, options, chosen = select.value) {
  const items = options.map(([value, text]) => make("option", { value }, text));
  select.replaceChildren(...items);
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** Draws at most once a frame, however often it is asked. */
export function painter(draw, everyMs = 0) {
  let waiting = false;
  let last = -Infinity;
  const frame = (now) => {
    if (now - last < everyMs) {
      requestAnimationFrame(frame);
      return;
    }
    waiting = false;
    last = now;
    draw();
  };
  return () => {
    if (!waiting) requestAnimationFrame(frame);
    waiting = true;
  };
}

/** What went wrong, for people. */
export function wordsOf(error) {
  if (error.status) return `${error.status}: ${error.message}`;
  if (error.name === "TimeoutError") return "no answer for 30 s";
  return error instanceof TypeError ? "the service cannot be reached" : error.message;
}
