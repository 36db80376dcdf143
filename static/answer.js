/* What only a page with an answer needs: formulas, places inside the answer, paths of a result. */
(() => {
  "use strict";
  const doc = document;
  const script = doc.currentScript;

  /* ---- maths: KaTeX is loaded only where an answer has any, and draws block by block near the viewport ---- */
  const OPTIONS = {
    throwOnError: false,
    errorColor: "currentColor",
    maxSize: 20,
    maxExpand: 500,
    strict: "ignore",
    trust: false,
  };
  /* these write to the console; a fresh copy each time, for \gdef writes into it */
  const SILENT = { "\\message": "#1", "\\errmessage": "#1", "\\show": "" };
  /* what is longer, or larger or deeper when drawn, stays TeX: 300 fractions in each other crash a tab */
  const LONGEST = 5000;
  const LARGEST = 10000;
  const DEEPEST = 200;
  const NESTED = 50;
  /* maxExpand counts uses of a macro, not what they grow to */
  const DEFINES = /\\([gex]?def|(re|provide)?newcommand|(future)?let)(?![a-z])/i;
  const LONGEST_DEFINING = 300;
  let katex;
  const loadKatex = () =>
    (katex ??= new Promise((resolve, reject) => {
      const sheet = Object.assign(doc.createElement("link"), {
        rel: "stylesheet",
        href: script.dataset.katexCss,
      });
      const code = Object.assign(doc.createElement("script"), { src: script.dataset.katex });
      /* without its sheet KaTeX shows every formula twice, so wait for both */
      const both = [sheet, code].map(
        (el) => new Promise((ok, no) => Object.assign(el, { onload: ok, onerror: no })),
      );
      Promise.all(both).then(() => resolve(window.katex), reject);
      doc.head.append(sheet, code);
    }));
  /* KaTeX writes a few styles as attributes, which the CSP forbids; through the CSSOM they are allowed */
  const withStyles = (work) => {
    const own = Element.prototype.setAttribute;
    Element.prototype.setAttribute = function (name, value) {
      if (name === "style") this.style.cssText = value;
      else own.call(this, name, value);
    };
    try {
      work();
    } finally {
      Element.prototype.setAttribute = own;
    }
  };
  const nesting = (tex) => {
    let [now, most] = [0, 0];
    for (const [sign] of tex.matchAll(/\\.|[{}]/gs)) {
      if (sign === "{") most = Math.max(most, ++now);
      else if (sign === "}") now--;
    }
    return most;
  };
  const isDrawn = (el) => el.querySelector(".katex, .katex-error") !== null;
  const isShallow = (el, left) => left > 0 && [...el.children].every((part) => isShallow(part, left - 1));
  const draw = (engine, el) => {
    const tex = el.textContent;
    const longest = DEFINES.test(tex) ? LONGEST_DEFINING : LONGEST;
    if (isDrawn(el) || tex.length > longest || nesting(tex) > NESTED) return;
    const box = doc.createElement("span");
    try {
      const displayMode = el.dataset.display === "block";
      withStyles(() => engine.render(tex, box, { ...OPTIONS, macros: { ...SILENT }, displayMode }));
    } catch {
      return; /* too deep for the stack */
    }
    if (box.querySelectorAll("*").length <= LARGEST && isShallow(box, DEEPEST))
      el.replaceChildren(...box.childNodes);
  };
  const whenIdle = window.requestIdleCallback ?? ((task) => setTimeout(task, 1));
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        loadKatex().then(
          (engine) => whenIdle(() => draw(engine, target)),
          () => {},
        );
      }
    },
    { rootMargin: "600px" },
  );
  const watchMaths = () => {
    const found = doc.querySelectorAll(".math");
    for (const el of found) if (!isDrawn(el)) near.observe(el);
    /* also for formulas far below: printing cannot wait for a script */
    if (found.length) whenIdle(() => loadKatex().catch(() => {}));
  };
  addEventListener("beforeprint", () => {
    const end = performance.now() + 5000; /* milliseconds: a print dialog must come */
    if (window.katex)
      for (const el of doc.querySelectorAll(".math")) if (performance.now() < end) draw(window.katex, el);
  });

  /* ---- places: #h-3 of an answer, #/items/2 of a result, also in what is folded or not shown yet ---- */
  let isAwaited = false;
  const goThere = () => {
    const id = location.hash.slice(1);
    if (!/^(h-\d+$|\/)/.test(id)) return;
    const place = doc.getElementById(id);
    if (!place) {
      const rest = doc.querySelector("#rest a");
      isAwaited = rest !== null;
      rest?.click();
      return;
    }
    let wasHidden = isAwaited;
    isAwaited = false;
    for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      wasHidden ||= !fold.open;
      fold.open = true;
    }
    /* to what was in sight the browser has gone by itself */
    if (wasHidden) place.scrollIntoView();
  };
  addEventListener("hashchange", goThere);
  /* not sooner: until then htmx would not take the click */
  doc.addEventListener("DOMContentLoaded", goThere);

  /* ---- paths: the value under the pointer or the focus says its own, with a button to copy it ---- */
  let told = null;
  const show = () => {
    const at = doc.getElementById("at");
    const place = told;
    told = null;
    if (!at || !place.isConnected) return;
    const path = decodeURIComponent(place.id);
    doc.getElementById("path").textContent = path;
    at.querySelector("button").dataset.copy = path;
    at.querySelector("a").href = `#${place.id}`;
    at.hidden = false;
    /* beside the row, not in it: what a fold is opened with may hold nothing else to press */
    place.after(at);
    at.style.top = `${place.offsetTop}px`;
  };
  const tell = (event) => {
    const place = event.target.closest?.(".tree [id]:not(#at)");
    if (!place || event.target.closest("#at")) return;
    if (!told) requestAnimationFrame(show);
    told = place;
  };
  doc.addEventListener("pointerover", tell);
  doc.addEventListener("focusin", tell);

  watchMaths();
  doc.addEventListener("htmx:after:swap", () => {
    watchMaths();
    if (isAwaited) goThere();
  });
})();
