/* A link's token travels in the fragment, which no log and no Referer ever holds: it is put into the form here. */
(() => {
  "use strict";
  const field = document.querySelector("input[data-from-fragment]");
  if (!field || location.hash.length < 2) return;
  field.value = location.hash.slice(1);
  field.closest("[data-paste]").hidden = true;
  history.replaceState(null, "", location.pathname + location.search);
})();
