"use strict";

{
  // The header keeps the browser's own sign-in box from opening at a 401, which the page then shows instead. Browsers
  // send Sec-Fetch-Mode, which would do the same, only over HTTPS and to localhost.
  const send = window.fetch;
  window.fetch = async (resource, options = {}) => {
    const sent = resource instanceof Request ? resource.headers : undefined;
    const headers = new Headers(options.headers ?? sent);
    headers.set("X-Requested-With", "XMLHttpRequest");
    // The token endpoint has to challenge whoever asks, so there the browser is told to stay out of it.
    const { pathname } = new URL(resource instanceof Request ? resource.url : resource, location.href);
    const credentials = REGISTRIES.test(pathname) ? "omit" : options.credentials;
    const response = await send(resource, { ...options, headers, credentials });
    return response.ok && DOCUMENT.test(new URL(response.url).pathname) ? servedHere(response) : response;
  };

  const REGISTRIES = /\/(token|v2\/[a-z]+)$/;

  // A document names its servers below the public URL. The page sends credentials to where it came from itself, whatever
  // prefix a proxy adds, and whether or not that is the public URL.
  const DOCUMENT = /\/openapi(\/[^/]+)?\.json$/;
  const base = new URL("..", location.href).href.replace(/\/$/, "");
  const servedHere = async (response) => {
    const document = await response.json();
    const own = document.servers[0].url.replace(/\/$/, "");
    for (const server of document.servers) server.url = base + server.url.slice(own.length).replace(/\/$/, "");
    return new Response(JSON.stringify(document), { headers: response.headers });
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
