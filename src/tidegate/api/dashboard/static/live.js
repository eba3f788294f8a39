// Follows /api/v1/live and puts the server's newest drawing of the page in place of the old one.
const region = document.querySelector("[data-live]");
const state = document.querySelector("[data-live-state]");
let asked = false;

function tell(words, on) {
  state.hidden = false;
  state.classList.toggle("off", !on);
  state.firstChild.data = `${words} `;
}

function busy() {
  return region.querySelector("details[open]") || region.querySelector("input:focus, select:focus");
}

function swap(fresh) {
  const row = document.activeElement?.closest?.("[data-live] [data-id]");
  const focused = row && { id: row.dataset.id, at: focusable(row).indexOf(document.activeElement) };
  region.replaceChildren(...fresh.childNodes);
  if (!focused) return;
  const again = region.querySelector(`[data-id="${CSS.escape(focused.id)}"]`);
  if (again) (focusable(again)[focused.at] ?? again).focus({ preventScroll: true });
}

function focusable(row) {
  return [...row.querySelectorAll("a, button, summary, [tabindex]")];
}

async function renew() {
  if (asked || busy() || document.hidden) return;
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh && !busy()) swap(fresh);
  } catch {
    // the next update tries again
  } finally {
    asked = false;
  }
}

if (region && state && "EventSource" in window) {
  const events = new EventSource("/api/v1/live");
  events.addEventListener("open", () => tell("live", true));
  events.addEventListener("error", () => tell("not live", false));
  events.addEventListener("overview", renew);
  events.addEventListener("alert", renew);
  document.addEventListener("visibilitychange", renew);
  addEventListener("pagehide", () => events.close());
}
