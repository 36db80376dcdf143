/* All behaviour of our pages that is not a link, a form or an htmx attribute. */
(() => {
  "use strict";
  const doc = document;
  const root = doc.documentElement;

  /* ---- theme ---- */
  const toggleTheme = () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      /* storage is forbidden: the choice holds for this page */
    }
  };

  /* ---- copy: [data-copy="text"], [data-copy-url], [data-copy-from="#id"], or [data-copy-code] in a .codebox ---- */
  const textToCopy = async (button) => {
    if (button.dataset.copy !== undefined) return button.dataset.copy;
    if (button.dataset.copyUrl) {
      const answer = await fetch(button.dataset.copyUrl);
      if (!answer.ok) throw new Error("it could not be read");
      return answer.text();
    }
    const source = button.dataset.copyFrom
      ? doc.querySelector(button.dataset.copyFrom)
      : button.closest(".codebox")?.querySelector("code");
    return source ? (source.value ?? source.textContent) : "";
  };
  const write = async (given) => {
    /* given as a promise, a text that is still on its way counts as asked for by the click */
    if (navigator.clipboard) {
      const part = given.then((text) => new Blob([text], { type: "text/plain" }));
      return navigator.clipboard.write([new ClipboardItem({ "text/plain": part })]);
    }
    const text = await given;
    /* the clipboard API is missing on plain http, where many installs live */
    const area = doc.createElement("textarea");
    area.value = text;
    area.className = "vh";
    doc.body.append(area);
    area.select();
    const copied = doc.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("copying was refused");
  };
  const copy = async (button) => {
    const label = button.querySelector("span") ?? button;
    const before = button.dataset.label ?? label.textContent;
    const isIcon = button.classList.contains("icon");
    let said = "Copied";
    try {
      await write(textToCopy(button));
    } catch {
      said = "Not copied";
    }
    doc.getElementById("said").textContent = said;
    if (isIcon) return;
    button.dataset.label = before;
    label.textContent = said;
    setTimeout(() => (label.textContent = before), 1500);
  };

  doc.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("themeToggle" in button.dataset) toggleTheme();
    if (["copy", "copyUrl", "copyFrom", "copyCode"].some((name) => name in button.dataset)) copy(button);
  });

  /* ---- clocks: [data-elapsed="seconds"] counts on from what the server said last ---- */
  const seen = new WeakMap();
  const clock = (seconds) => {
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    const two = (n) => String(n).padStart(2, "0");
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const tickClocks = (now) => {
    for (const el of doc.querySelectorAll("[data-elapsed]")) {
      const said = el.dataset.elapsed;
      if (seen.get(el)?.said !== said) seen.set(el, { said, at: now });
      el.textContent = clock(Math.floor(Number(said) + (now - seen.get(el).at) / 1000));
    }
  };

  /* ---- polls: [data-poll="seconds"][hx-trigger="poll"], at most once a minute in a hidden tab ----
     The interval is read at each tick, so every answer can set the next one; an answer without it ends the poll. */
  const polled = new WeakMap();
  const tickPolls = (now) => {
    for (const el of doc.querySelectorAll("[data-poll]")) {
      if (!polled.has(el)) polled.set(el, now);
      const wait = Number(el.dataset.poll) * 1000;
      /* half a tick of grace: a timer that comes a moment early must not cost a whole second */
      if (now - polled.get(el) < (doc.hidden ? Math.max(wait, 60000) : wait) - 500) continue;
      if (el.classList.contains("htmx-request")) continue;
      polled.set(el, now);
      window.htmx?.trigger(el, "poll", {}, false);
    }
  };
  const tick = () => {
    const now = performance.now();
    tickClocks(now);
    tickPolls(now);
  };
  tick();
  setInterval(tick, 1000);
  doc.addEventListener("visibilitychange", () => doc.hidden || tick());

  /* ---- keys: Ctrl or Cmd with Enter sends form[data-submit-keys]; N and / outside of fields ---- */
  doc.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) {
      const form = event.target.closest?.("form[data-submit-keys]");
      if (!form || event.repeat) return;
      event.preventDefault();
      form.requestSubmit();
      return;
    }
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const target =
      event.key === "n"
        ? doc.querySelector("a[data-key-new]")
        : event.key === "/"
          ? doc.querySelector("[type=search]")
          : null;
    if (!target) return;
    event.preventDefault();
    if (event.key === "n") target.click();
    else target.focus();
  });

  /* ---- a job is made: its draft, named by the form that was sent, has done its work ---- */
  if (location.pathname.startsWith("/jobs/j_")) {
    try {
      localStorage.removeItem(sessionStorage.getItem("sent") ?? "");
      sessionStorage.removeItem("sent");
    } catch {
      /* storage is forbidden: there is none */
    }
  }

  /* ---- whoever signs out leaves no draft behind; one whose session ends finds it again ---- */
  doc.addEventListener("submit", ({ target }) => {
    if (target.getAttribute("action") !== "/logout/") return;
    try {
      for (const name of Object.keys(localStorage)) if (name.startsWith("draft:")) localStorage.removeItem(name);
    } catch {
      /* storage is forbidden: there is none */
    }
  });
})();
