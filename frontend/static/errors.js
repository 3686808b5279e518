// Keeps what went wrong on this page, so that a test can read it. Loaded before everything else.
window.__errors = [];
window.addEventListener("error", (event) => {
  window.__errors.push(String(event.message || (event.target && event.target.src) || event.type));
}, true);
window.addEventListener("unhandledrejection", (event) => {
  window.__errors.push(String(event.reason));
});
window.addEventListener("securitypolicyviolation", (event) => {
  window.__errors.push(`content security policy: ${event.violatedDirective} ${event.blockedURI}`);
});
