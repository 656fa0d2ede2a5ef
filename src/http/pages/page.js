"use strict";

{
  // The header keeps the browser's own sign-in box from opening at a 401, which the page then shows instead. Browsers
  // send Sec-Fetch-Mode, which would do the same, only over HTTPS and to localhost.
  const send = window.fetch;
  window.fetch = (resource, options = {}) => {
    const sent = resource instanceof Request ? resource.headers : undefined;
    const headers = new Headers(options.headers ?? sent);
    headers.set("X-Requested-With", "XMLHttpRequest");
    return send(resource, { ...options, headers });
  };

  // Swagger UI 5 focuses the last field of its Authorize dialog, ignores Escape, and lets Tab leave the dialog.
  const dialog = () => document.querySelector(".dialog-ux .modal-ux");
  const controls = (element) =>
    [...element.querySelectorAll("a[href], button, input, select, textarea")].filter((control) => control.offsetParent);
  let open = null;
  let opener = null;

  new MutationObserver(() => {
    const found = dialog();
    if (found === open) return;
    open = found;
    if (!found) return opener?.focus();
    found.setAttribute("role", "dialog");
    found.setAttribute("aria-modal", "true");
    (found.querySelector("input") ?? controls(found).at(-1))?.focus();
    found.querySelector(".modal-ux-content")?.scrollTo(0, 0);
  }).observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element && target.closest("button.authorize, .authorization__btn");
    if (button && !dialog()) opener = button;
  }, true);

  document.addEventListener("keydown", (event) => {
    const shown = dialog();
    if (!shown) return;
    if (event.key === "Escape") shown.querySelector(".close-modal")?.click();
    if (event.key !== "Tab") return;
    const all = controls(shown);
    const [from, to] = event.shiftKey ? [all.at(0), all.at(-1)] : [all.at(-1), all.at(0)];
    if (document.activeElement === from || !shown.contains(document.activeElement)) {
      event.preventDefault();
      to?.focus();
    }
  });
}
