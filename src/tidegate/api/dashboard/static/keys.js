// Keys: whatever carries `data-key` is followed, pressed or focused; j and k walk along `[data-row]`.
const WAIT = 1200; // ms between the keys of a pair
let before = "";
let since = 0;

function writes(element) {
  return element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
}

function rows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
}

function current() {
  return document.activeElement?.closest?.("[data-row]") ?? null;
}

function target(row) {
  return row.matches("a, button") ? row : row.querySelector("a, button") ?? row;
}

function walk(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  target(all[next]).focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function find(key) {
  const own = current()?.querySelector(`[data-key="${CSS.escape(key)}"]`);
  return own ?? document.querySelector(`[data-key="${CSS.escape(key)}"]`);
}

function follow(key) {
  const found = find(key);
  if (!found) return false;
  if (writes(found)) {
    found.focus();
    found.select?.();
  } else {
    found.click();
  }
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") {
    document.activeElement?.blur();
    return;
  }
  if (writes(event.target)) return;
  const key = event.key;
  const pair = Date.now() - since < WAIT && before ? `${before} ${key}` : "";
  before = "";
  if (pair && follow(pair)) {
    event.preventDefault();
  } else if (key === "g") {
    before = key;
    since = Date.now();
  } else if (key === "j" || key === "k") {
    walk(key === "j" ? 1 : -1);
    event.preventDefault();
  } else if (key.length === 1 && follow(key)) {
    event.preventDefault();
  }
});

// Menus close when something else is pressed.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
