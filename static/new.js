/* What only the new-job page needs: the draft, and editors of JSON. */
(() => {
  "use strict";
  const doc = document;
  const form = doc.getElementById("ask");
  if (!form) return;
  const byId = (id) => doc.getElementById(id);
  const changed = (el) => el.dispatchEvent(new Event("input", { bubbles: true }));

  const list = byId("files");

  /* ---- editors: numbered lines, marks where a problem is, Tab indents ---- */
  const checks = () => form.querySelectorAll("[data-check]");
  const unchecked = new Set();
  const number = (area) => {
    const gutter = area.closest(".code").querySelector("ol");
    const count = Math.min(area.value.split("\n").length, 3000);
    while (gutter.children.length > count) gutter.lastChild.remove();
    while (gutter.children.length < count) gutter.append(doc.createElement("li"));
    return gutter.children;
  };
  const mark = (check) => {
    const area = byId(check.dataset.check);
    const mended = check.querySelector("[data-mended]");
    if (mended) {
      mended.remove();
      area.focus();
      area.select();
      /* as if it were typed, so that it can be undone; a refusal leaves the plain way */
      if (!doc.execCommand("insertText", false, mended.value)) {
        area.value = mended.value;
        changed(area);
      }
    }
    const marks = check.dataset.marks.split(" ");
    [...number(area)].forEach((li, place) => li.classList.toggle("err", marks.includes(`${place + 1}`)));
    area.toggleAttribute("aria-invalid", marks[0] !== "");
  };
  const goTo = (area, line) => {
    const before = area.value.split("\n").slice(0, Math.max(line - 1, 0));
    const start = before.reduce((sum, text) => sum + text.length + 1, 0);
    const end = area.value.indexOf("\n", start);
    area.closest("details").open = true;
    area.focus();
    area.setSelectionRange(start, end < 0 ? area.value.length : end);
  };
  for (const check of checks()) {
    const area = byId(check.dataset.check);
    let leaves = false;
    area.addEventListener("keydown", (event) => {
      const tab = event.key === "Tab" && !event.shiftKey && !leaves;
      leaves = event.key === "Escape";
      if (!tab || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      doc.execCommand("insertText", false, "  ");
    });
    area.addEventListener("input", () => {
      unchecked.add(area.id);
      number(area);
    });
  }
  doc.addEventListener("htmx:after:swap", (event) => {
    const check = byId(event.detail.ctx.sourceElement?.closest?.("[data-check]")?.id ?? "");
    if (!check) return;
    unchecked.delete(check.dataset.check);
    mark(check);
  });

  form.addEventListener("click", (event) => {
    const el = event.target.closest("a[data-line]");
    if (!el) return;
    event.preventDefault();
    goTo(byId(el.hash.slice(1)), Number(el.dataset.line));
  });

  /* ---- the draft: kept in this browser for one person until the job is made (app.js removes it then) ---- */
  const key = form.dataset.draft;
  const saved = byId("saved");
  const OWN = ["csrfmiddlewaretoken", "submission_key", "files", "attachments", "efforts_of", "tools_of", "undocumented_for"];
  const SETTINGS = ["from", "project", "model", "effort", "mode", "max_output_tokens", "max_tool_calls", "tool"];
  let [timer, kept, isOurs] = [0, "", true];
  const written = () => {
    const fields = [...new FormData(form)].filter(([name]) => !OWN.includes(name));
    const files = [...list.children].flatMap((item) => {
      const value = item.querySelector("input")?.value;
      return value ? [[item.querySelector("b").textContent, item.querySelector("small").textContent, value]] : [];
    });
    return { fields, files };
  };
  const say = (at) => {
    const time = new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    saved.textContent = `Draft saved ${time}`;
  };
  const save = () => {
    clearTimeout(timer);
    timer = 0;
    const now = written();
    if (JSON.stringify(now) === kept) return;
    kept = JSON.stringify(now);
    try {
      if (!now.files.length && now.fields.every(([name, text]) => SETTINGS.includes(name) || !text.trim())) {
        localStorage.removeItem(key);
        saved.textContent = "";
      } else {
        localStorage.setItem(key, JSON.stringify({ at: Date.now(), search: location.search, ...now }));
        say(Date.now());
      }
    } catch {
      /* storage is forbidden or full: nothing is kept, and nothing is said to be */
      saved.textContent = "";
    }
  };
  const restore = () => {
    let draft;
    try {
      draft = JSON.parse(localStorage.getItem(key));
    } catch {
      return false;
    }
    if (!draft || (location.search && draft.search !== location.search)) return false;
    const held = new Map();
    for (const [name, value] of draft.fields) held.set(name, [...(held.get(name) ?? []), value]);
    for (const el of form.querySelectorAll("input, textarea, select")) {
      const values = held.get(el.name) ?? [];
      if (OWN.includes(el.name) || el.type === "file") continue;
      if (el.type === "checkbox") el.checked = values.includes(el.value);
      else if (el.type === "radio") el.checked ||= values.includes(el.value);
      else if (values.length && (el.type !== "select-one" || [...el.options].some((one) => one.value === values[0])))
        el.value = values[0];
      if (!SETTINGS.includes(el.name) && values[0]?.trim()) el.closest("details")?.setAttribute("open", "");
    }
    /* what the page has no field for yet: the estimate brings it, told by these */
    for (const name of ["from", "effort", "mode"]) {
      const value = held.get(name)?.[0];
      if (!value || [...form.querySelectorAll(`[name=${name}]`)].some((el) => el.checked || el.type === "hidden")) {
        const there = form.querySelector(`[name=${name}]:checked`);
        if (!value || !there || there.value === value) continue;
      }
      const field = Object.assign(doc.createElement("input"), { type: "hidden", name, value });
      byId(name === "from" ? "ask" : "settings").append(field);
    }
    for (const [name, facts, value] of draft.files) {
      const detail = [/\.pdf$/i.test(name) ? "file" : "image", name, facts];
      list.dispatchEvent(new CustomEvent("chip", { bubbles: true, detail }));
      const field = Object.assign(doc.createElement("input"), { type: "hidden", name: "attachments", value });
      list.lastElementChild.append(field);
    }
    kept = JSON.stringify(written());
    say(draft.at);
    return true;
  };
  const isRestored = "fresh" in form.dataset && restore();
  form.addEventListener("input", () => {
    if (!isOurs) return;
    clearTimeout(timer);
    timer = setTimeout(save, 250);
  });
  addEventListener("pagehide", () => timer && save());
  checks().forEach(mark);

  /* ---- sending: once, and not with a problem in sight ---- */
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (event.submitter?.name) return;
    const check = [...checks()].find((one) => one.dataset.marks && !unchecked.has(one.dataset.check));
    if (isSent || check) event.preventDefault();
    if (check) return goTo(byId(check.dataset.check), Number(check.dataset.marks.split(" ")[0]));
    isSent = true;
    try {
      sessionStorage.setItem("sent", key);
    } catch {
      /* storage is forbidden: there is no draft either */
    }
  });

  /* ---- what was typed before htmx listened, or brought back by the browser, is priced as well ---- */
  addEventListener("pageshow", () => {
    isSent = false;
    try {
      sessionStorage.removeItem("sent");
    } catch {
      /* as above */
    }
    const fields = [...form.querySelectorAll("textarea, input")];
    const typed = fields.find((el) => el.value !== el.defaultValue || el.checked !== el.defaultChecked);
    if (!typed && !isRestored) return;
    isOurs = false;
    for (const el of [typed ?? list, ...form.querySelectorAll(".code textarea")]) changed(el);
    isOurs = true;
  });
})();
