// Light, dark, or as the system has it; remembered here.
import { setText } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAME = "tourbillon-theme";

export function startTheme(button) {
  // a browser may refuse to remember
  const read = () => { try { return localStorage.getItem(NAME); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem(NAME, theme); } catch { /* then it is forgotten */ } };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    setText(button, `Theme: ${theme}`);
  };
  show(NEXT[read()] ? read() : "auto");
  button.addEventListener("click", () => {
    const theme = NEXT[document.documentElement.dataset.theme];
    keep(theme);
    show(theme);
  });
}
