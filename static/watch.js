/* Tells whoever looks elsewhere that a job has ended: by title, icon, and a notification where asked. */
(() => {
  "use strict";
  const doc = document;
  const { done, busy, many } = doc.currentScript.dataset;
  const icon = doc.querySelector("link[rel=icon]");
  const plain = icon.href;
  const watched = new Set();
  let finished = 0;

  const isAsked = () => {
    try {
      return localStorage.getItem("notify") === "yes" && Notification.permission === "granted";
    } catch {
      return false; /* storage is forbidden, or there are no notifications: nobody is told */
    }
  };
  const show = () => {
    const title = doc.title.replace(/^✓ (\d+ finished · )?/, "");
    doc.title = finished ? `✓ ${many ? `${finished} finished · ` : ""}${title}` : title;
    icon.href = !doc.hidden ? plain : finished ? done : watched.size ? busy : plain;
  };
  const tell = (row) => {
    if (doc.hidden) finished += 1;
    if (doc.hasFocus() || !isAsked()) return;
    /* in a list a link, on the page of a job its heading */
    const name = row.querySelector("a, h1");
    const badge = row.querySelector(".badge");
    const word = badge.title || badge.textContent.trim();
    const note = new Notification(`${word}: ${name.textContent}`, { tag: row.id, icon: plain });
    note.onclick = () => {
      window.focus();
      if (name.href) location.href = name.href;
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

  /* by then htmx has set the title of the answer as well */
  doc.addEventListener("htmx:finally:swap", look);
  doc.addEventListener("visibilitychange", () => {
    if (!doc.hidden) finished = 0;
    show();
  });
  look();
})();
