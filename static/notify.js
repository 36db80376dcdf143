/* Asks, at a click, whether this browser may be notified, and keeps the answer; watch.js reads it. */
(() => {
  "use strict";
  const button = document.querySelector("[data-notify]");
  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("notify", value);
      return localStorage.getItem("notify") === "yes";
    } catch {
      return false; /* storage is forbidden: nobody is told */
    }
  };
  const isAsked = () => kept() && Notification.permission === "granted";
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
  label();
})();
