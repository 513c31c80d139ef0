// Keys and live parts of the hub's pages. Everything works without this, too.
"use strict";
(() => {
  const LIVE_MS = 5000;
  const typing = (at) => at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) &&
    !/^(radio|checkbox|hidden|submit)$/.test(at.type || "");

  // Parts that are fetched anew, unless somebody works in them or the page is not looked at.
  const refresh = async (part) => {
    if (document.hidden || part.contains(document.activeElement)) return;
    try {
      const response = await fetch(part.dataset.live, { headers: { Accept: "text/html" } });
      if (response.redirected || response.status === 401) { location.reload(); return; }
      if (!response.ok) return;
      const html = await response.text();
      if (part.last === undefined) part.last = part.innerHTML;
      if (html !== part.last) { part.innerHTML = html; part.last = html; }
      part.removeAttribute("data-stale");
    } catch (_) {
      part.setAttribute("data-stale", "");
    }
  };
  for (const part of document.querySelectorAll("[data-live]")) {
    setInterval(() => refresh(part), LIVE_MS);
  }

  const press = (key) => {
    const button = document.querySelector(`[data-key="${CSS.escape(key)}"]:not([disabled])`);
    if (!button) return false;
    button.focus();
    button.click();
    return true;
  };
  // j and k go through the rows of a list, or the choices of a question.
  const move = (by) => {
    const all = [...document.querySelectorAll("[data-row]")];
    if (!all.length) return false;
    const at = all.findIndex((row) => row === document.activeElement || row.checked);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : (at + by + all.length) % all.length];
    next.focus();
    if (next.type === "radio") next.checked = true;
    next.scrollIntoView({ block: "nearest" });
    return true;
  };
  const help = document.querySelector("dialog.keys");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    let done = false;
    if (event.key === "?" && help) { help.open ? help.close() : help.showModal(); done = true; }
    else if (help && help.open) return;
    else if (event.key === "j" || event.key === "k") done = move(event.key === "j" ? 1 : -1);
    else if (/^[0-9a-z]$/.test(event.key)) done = press(event.key);
    if (done) event.preventDefault();
  });
  for (const button of document.querySelectorAll("button[data-keys-help]")) {
    button.hidden = !help;
    button.addEventListener("click", () => help.showModal());
  }
})();
