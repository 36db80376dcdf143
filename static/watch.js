/* Tells whoever looks elsewhere that a job of theirs has ended: by title, icon, and a notification where asked. */
(() => {
  "use strict";
  const doc = document;
  const button = doc.querySelector("[data-notify]");
  const icon = doc.querySelector("link[rel=icon]");
  const plain = icon.href;
  const watched = new Set();
  let finished = 0;

  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("notify", value);
      return localStorage.getItem("notify") === "yes";
    } catch {
      return false; /* storage is forbidden: nobody is told */
    }
  };
  const isAsked = () => kept() && Notification.permission === "granted";

  const show = () => {
    const title = doc.title.replace(/^✓ \d+ finished · /, "");
    doc.title = finished ? `✓ ${finished} finished · ${title}` : title;
    const { done, busy } = button.dataset;
    icon.href = !doc.hidden ? plain : finished ? done : watched.size ? busy : plain;
  };
  const tell = (row) => {
    if (doc.hidden) finished += 1;
    if (doc.hasFocus() || !("Notification" in window) || !isAsked()) return;
    const link = row.querySelector("a");
    const word = row.querySelector(".badge").title;
    const note = new Notification(`${word}: ${link.textContent}`, { tag: row.id, icon: plain });
    note.onclick = () => {
      window.focus();
      location.href = link.href;
    };
  };
  const look = () => {
    for (const el of doc.querySelectorAll("[data-watched]")) watched.add(el.dataset.watched);
    for (const id of watched) {
      const row = doc.getElementById(`row-${id}`);
      /* a card that only made room for newer ones is in no list of what has ended */
      if (!row || doc.getElementById(`card-${id}`)) continue;
      watched.delete(id);
      tell(row);
    }
    show();
  };

  const label = () => {
    button.hidden = !("Notification" in window) || Notification.permission === "denied";
    if (button.hidden) return;
    button.setAttribute("aria-pressed", isAsked());
    button.querySelector("span").textContent = isAsked() ? "Notifying you" : "Notify me";
  };
  button.addEventListener("click", async () => {
    if (isAsked()) kept("no");
    else kept((await Notification.requestPermission()) === "granted" ? "yes" : "no");
    label();
  });

  /* by then htmx has set the title of the answer as well */
  doc.addEventListener("htmx:finally:swap", look);
  doc.addEventListener("visibilitychange", () => {
    if (!doc.hidden) finished = 0;
    show();
  });
  label();
  look();
})();
