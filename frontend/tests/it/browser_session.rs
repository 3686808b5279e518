//! What a page does when its token has expired, its session is over or its line is cut; and that it
//! asks the server nothing by itself.

use crate::browser::Browser;
use crate::browser_page::{PAGES, signed_in};
use crate::sandbox::Sandbox;

/// Runs before the page: counts calls, keeps sockets and timers, and can answer like the server does
/// to an expired token, until the page has renewed it.
const PROBE: &str = r#"
(() => {
  const probe = (window.__probe = { calls: [], open: 0, sockets: [], expired: false });
  const fetched = window.fetch.bind(window);
  const expired = JSON.stringify({
    type: "about:blank", title: "Unauthorized", status: 401, detail: "The session token has expired.",
    instance: "", code: "auth.expired", trace_id: "00000000-0000-0000-0000-000000000000",
  });
  window.fetch = async (request) => {
    if (!(request instanceof Request)) return fetched(request); // the program itself
    const path = new URL(request.url).pathname.replace("/api/v1", "");
    probe.calls.push(`${request.method} ${path}`);
    if (probe.expired && path !== "/auth/refresh") {
      const headers = { "content-type": "application/problem+json" };
      return new Response(expired, { status: 401, headers });
    }
    probe.open += 1;
    try {
      const answer = await fetched(request);
      if (path === "/auth/refresh" && answer.ok) probe.expired = false;
      return answer;
    } finally {
      probe.open -= 1;
    }
  };
  window.WebSocket = class extends window.WebSocket {
    constructor(address) {
      super(address);
      probe.sockets.push(this);
    }
  };
  const timers = new Map();
  for (const kind of ["Timeout", "Interval"]) {
    const [set, clear] = [window[`set${kind}`].bind(window), window[`clear${kind}`].bind(window)];
    window[`set${kind}`] = (call, wait) => {
      const ring = () => {
        if (kind === "Timeout") {
          clear(id);
          timers.delete(id);
        }
        call();
      };
      const id = set(ring, wait);
      timers.set(id, ring);
      return id;
    };
    window[`clear${kind}`] = (id) => {
      timers.delete(id);
      clear(id);
    };
  }
  probe.ring = () => [...timers.values()].forEach((ring) => ring());
})();
"#;

const CALLS: &str = "return window.__probe.calls.length;";
const QUIET: &str = "return window.__probe.open === 0;";

async fn probed(server: &Sandbox, name: &str) -> Browser {
    let (email, password) = server.person(name);
    let browser = Browser::open(&server.base).await;
    browser.before_every_page(PROBE).await;
    browser.goto("/changes").await;
    browser.sign_in(&email, &password).await;
    browser.see_with("live-state", "data-state", "live").await;
    browser
}

pub async fn an_expired_token_is_renewed_once_and_the_call_repeated(server: &Sandbox) {
    let olivia = probed(server, "olivia").await;
    olivia.see("change-list").await;
    olivia.script_says(QUIET, "true").await;
    olivia.script("window.__probe.calls = []; window.__probe.expired = true;").await;
    // This page reads two things at once; both find the token expired.
    olivia.click("change-link").await;
    olivia.see("change").await;
    olivia.see("event").await;
    let refreshes = "return window.__probe.calls.filter(c => c === 'POST /auth/refresh').length;";
    assert_eq!(olivia.script(refreshes).await, "1");
    assert!(olivia.path().await.starts_with("/changes/"));

    // Something done happens all the same, once.
    olivia.goto("/assets?q=reporting").await;
    olivia.click("asset-link").await;
    olivia.fill("asset-owner", "Team Reports").await;
    olivia.script_says(QUIET, "true").await;
    olivia.script("window.__probe.calls = []; window.__probe.expired = true;").await;
    olivia.click("asset-save").await;
    olivia.see("toast").await;
    assert_eq!(olivia.script(refreshes).await, "1");
    let patches = "return window.__probe.calls.filter(c => c.startsWith('PATCH')).length;";
    assert_eq!(olivia.script(patches).await, "2", "refused, then repeated");
    olivia.end().await;
}

pub async fn a_line_that_was_cut_comes_back_with_a_renewed_token(server: &Sandbox) {
    let olivia = probed(server, "olivia").await;
    olivia.see("change-list").await;
    olivia.script_says(QUIET, "true").await;
    // Without its cookie, the line is refused as it is with an expired one.
    let cookie = olivia.take_cookie().await;
    olivia.script("window.__probe.calls = []; window.__probe.expired = true;").await;
    olivia.script("window.__probe.sockets.at(-1).close();").await;
    olivia.see("offline-banner").await;
    olivia.give_cookie(&cookie).await;
    olivia.see_with("live-state", "data-state", "live").await;
    olivia.gone("offline-banner").await;
    // It is the same page, and it follows again.
    olivia.script_says("return window.__probe.sockets.length > 1;", "true").await;
    olivia.script_says(QUIET, "true").await;
    let before = olivia.script(CALLS).await;
    olivia.script(&notice("changes")).await;
    olivia.script_says(&format!("return window.__probe.calls.length > {before};"), "true").await;
    olivia.end().await;
}

pub async fn a_session_that_is_over_leads_to_the_sign_in_form_and_back(server: &Sandbox) {
    let (email, password) = server.person("olivia");
    let olivia = signed_in(server, "olivia").await;
    olivia.see("change-list").await;
    // Signed out elsewhere: the token is still in this browser, and worth nothing.
    let cookie = olivia.take_cookie().await;
    olivia.give_cookie(&cookie).await;
    olivia.script("return fetch('/api/v1/auth/logout', { method: 'POST' });").await;
    olivia.give_cookie(&cookie).await;
    olivia.click("nav-assets").await;
    olivia.see("login-email").await;
    assert_eq!(olivia.path().await, "/login?next=%2Fassets");
    olivia.sign_in(&email, &password).await;
    olivia.see("asset-list").await;
    assert_eq!(olivia.path().await, "/assets");

    // The same without any token.
    olivia.take_cookie().await;
    olivia.click("nav-risk").await;
    olivia.sign_in(&email, &password).await;
    olivia.see("risk-counts").await;
    assert_eq!(olivia.path().await, "/risk");
    olivia.end().await;
}

pub async fn pages_follow_notices_and_ask_nothing_by_themselves(server: &Sandbox) {
    let ada = probed(server, "ada").await;
    for (path, testid) in PAGES {
        ada.goto(path).await;
        ada.see(testid).await;
        ada.see_with("live-state", "data-state", "live").await;
        ada.script_says(QUIET, "true").await;
        let before = ada.script(CALLS).await;
        // Every timer of the page, three times over, and what follows from it.
        for _ in 0..3 {
            ada.script("window.__probe.ring(); return new Promise(requestAnimationFrame);").await;
        }
        assert_eq!(ada.script(CALLS).await, before, "{path} asks by itself");

        let Some(topic) = topic(path) else { continue };
        ada.script(&notice(topic)).await;
        let asked = format!("return window.__probe.calls.length > {before};");
        ada.script_says(&asked, "true").await;
    }
    ada.end().await;
}

/// What the page at this address follows.
fn topic(path: &str) -> Option<&'static str> {
    match path {
        "/changes" | "/approvals" | "/risk" => Some("changes"),
        "/assets" => Some("assets"),
        "/connections" => Some("connections"),
        "/hosts" => Some("hosts"),
        "/operations" => Some("projections"),
        // Forms, and what only administrators change.
        _ => None,
    }
}

/// Lets the page hear that something of this topic changed.
fn notice(topic: &str) -> String {
    format!(
        r#"const data = JSON.stringify({{ topic: "{topic}", position: 1, changed: {{}} }});
           window.__probe.sockets.at(-1).dispatchEvent(new MessageEvent("message", {{ data }}));"#
    )
}
