/* What every form that asks a model shares: files, kept as chips, and values that a click fills in. */
(() => {
  "use strict";
  const doc = document;
  const changed = (el) => el.dispatchEvent(new Event("input", { bubbles: true }));

  /* ---- files: chosen, dropped or pasted, and sent one by one; each [data-drop] has a list of its own ---- */
  const within = (el, what) => el.closest("[data-drop]").querySelector(what);
  const chip = (list, kind, name, facts) => {
    const item = doc.getElementById(`chip-${kind}`).content.firstElementChild.cloneNode(true);
    item.querySelector("b").textContent = name;
    item.querySelector("small").textContent = facts;
    item.querySelector("button").setAttribute("aria-label", `Remove ${name}`);
    if (kind === "busy") item.querySelector("button").remove();
    list.append(item);
    return item;
  };
  /* by input: the file that is on its way, then those that wait, each with its chip */
  const queues = new WeakMap();
  const send = (input) => {
    const [file] = queues.get(input).keys();
    if (!file) return;
    const data = new DataTransfer();
    data.items.add(file);
    input.files = data.files;
    window.htmx?.trigger(input, "attach", {}, false);
  };
  const take = (input, files) => {
    const list = within(input, ".files");
    const most = Number(input.dataset.most);
    const queue = queues.get(input) ?? new Map();
    const isIdle = !queue.size;
    queues.set(input, queue);
    for (const one of files)
      if (one.size <= most) queue.set(one, chip(list, "busy", one.name, "Reading…"));
      else chip(list, "bad", one.name, `Too large: ${Math.ceil(one.size / 1e6)} MB, the limit is ${most / 1e6}.`);
    if (isIdle) send(input);
  };
  doc.addEventListener("change", ({ target }) => target.dataset.most && take(target, [...target.files]));
  doc.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
    const input = ctx.sourceElement;
    const queue = queues.get(input);
    if (!queue) return;
    const list = within(input, ".files");
    const [[file, item]] = queue;
    queue.delete(file);
    item.remove();
    if (!ctx.response || ctx.response.status >= 400) chip(list, "bad", file.name, "It did not arrive. Add it again.");
    input.value = "";
    /* its chip is swapped in before this is told */
    changed(list);
    send(input);
  });
  /* nothing is sent without a file that is on its way */
  const wait = (event) => {
    const inputs = [...event.target.querySelectorAll("[data-most]")];
    const busy = inputs.flatMap((input) => [...(queues.get(input)?.values() ?? [])]);
    for (const item of busy) item.querySelector("small").textContent = "Still reading. Send once it is here.";
    if (!busy.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  doc.addEventListener("submit", wait, true);
  for (const name of ["dragenter", "dragover", "dragleave", "drop"])
    doc.addEventListener(name, (event) => {
      const drop = event.target.closest?.("[data-drop]");
      const data = event.dataTransfer;
      if (!drop || !data?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop") take(within(drop, "[data-most]"), [...data.files]);
    });
  doc.addEventListener("paste", (event) => {
    /* a spreadsheet's cells come as text and as a picture of it: the text is meant */
    const data = event.clipboardData;
    if (!event.target.closest?.("[data-drop]") || !data.files.length || data.types.includes("text/plain")) return;
    event.preventDefault();
    take(within(event.target, "[data-most]"), [...data.files]);
  });
  /* those of a draft */
  doc.addEventListener("chip", ({ target, detail }) => chip(target, ...detail));

  /* ---- clicks: a file is removed, a choice made, a value filled in ---- */
  doc.addEventListener("click", (event) => {
    const el = event.target.closest("button");
    if (!el) return;
    if ("remove" in el.dataset) {
      const input = within(el, "[data-most]");
      el.closest("li").remove();
      input.focus();
      changed(input);
    }
    const target = doc.getElementById(el.dataset.choose ?? el.dataset.fill ?? "");
    if (!target) return;
    event.preventDefault();
    if ("choose" in el.dataset) target.checked = true;
    else target.value = Number(el.value).toLocaleString("en-US");
    changed(target);
    (target.type === "hidden" ? target.form.elements.prompt : target).focus();
  });
})();
