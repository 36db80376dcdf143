/* Sets the chosen theme before the first paint; loaded in <head> without defer, since CSP forbids inline script.
   The key and its values are Django admin's own ("auto" follows the system), so both sites change together. */
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  /* storage is forbidden in some private windows: the system's theme stays */
}
