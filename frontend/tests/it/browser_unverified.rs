//! Green is a promise: somebody read the target and found what was intended. On an installation where no change was
//! ever verified, whatever became of them, no page shows it.

use std::time::{Duration, Instant};

use nexplane_core::api::ChangeState;
use nexplane_server::config::Options;
use nexplane_server::open::open;
use nexplane_store::testing::TestDatabase;
use serde_json::Value;

use crate::browser::Browser;
use crate::browser_host::api;
use crate::browser_page::PAGES;
use crate::sandbox::Sandbox;

#[allow(dead_code, reason = "it makes more than this test looks at")]
#[path = "../../../server/tests/it/large.rs"]
mod large;

/// For those of ten thousand events.
const READ_MODELS: Duration = Duration::from_mins(3);
/// Enough for two of every state.
const CHANGES: usize = 400;

/// What can be seen in the colour of success: as text, ground, line or shape.
const GREEN: &str = "\
    const probe = document.body.appendChild(document.createElement('i'));\
    const greens = ['--green', '--green-soft'].map((name) => {\
        probe.style.color = `var(${name})`;\
        return getComputedStyle(probe).color;\
    });\
    probe.remove();\
    const parts = ['color', 'backgroundColor', 'fill', 'stroke', 'borderTopColor', 'borderLeftColor'];\
    const is = (element, pseudo) => {\
        const style = getComputedStyle(element, pseudo);\
        return parts.some((part) => greens.includes(style[part]));\
    };\
    return [...document.body.querySelectorAll('*')]\
        .filter((element) => element.checkVisibility())\
        .filter((element) => [undefined, '::before', '::after'].some((pseudo) => is(element, pseudo)))\
        .map((element) => element.outerHTML.slice(0, 200));";

/// What of this page is green.
async fn green(browser: &Browser) -> Vec<String> {
    serde_json::from_str(&browser.script(GREEN).await).unwrap()
}

#[tokio::test]
async fn browser_nothing_is_green_where_nothing_was_verified() {
    let database = TestDatabase::empty().await;
    let (server, made) = Sandbox::of(&database, async |url, data_dir| {
        let options = Options { data_dir: Some(data_dir), database_url: Some(url), config: None };
        let opened = open(&options).await.unwrap();
        let size = large::Size { goes_well: false, ..large::Size::of(CHANGES) };
        let made = large::make(&opened.log, &opened.directory, size).await;
        large::is_over(&opened.pool, made.events).await;
        opened.close().await.unwrap();
        made
    })
    .await;
    let ada = Browser::open(&server.base).await;
    ada.goto("/changes").await;
    ada.sign_in(large::ADMIN, large::PASSWORD).await;
    ada.see("change-list").await;
    let end = Instant::now() + READ_MODELS;
    while behind(&ada).await {
        assert!(Instant::now() < end, "the read models are behind");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // Whatever became of a change, its pages say it in other colours.
    let mut states = Vec::new();
    for state in ChangeState::ALL {
        let path = format!("/change-requests?state={}&limit=2", state.as_str());
        let page = api(&ada, "GET", &path, &Value::Null).await;
        for change in page["items"].as_array().unwrap() {
            assert!(state != ChangeState::Complete || change["settled"].is_object(), "{change:#}");
            states.push(state);
            let id = change["id"].as_str().unwrap();
            for (page, testid) in
                [("", "change-title"), ("/approve", "change-state"), ("/report", "report-state")]
            {
                looks(&ada, &format!("/changes/{id}{page}"), testid).await;
            }
        }
    }
    states.dedup();
    use ChangeState as S;
    for state in [
        S::Draft,
        S::Submitted,
        S::Scheduled,
        S::Executing,
        S::Complete,
        S::Failed,
        S::OutcomeUnknown,
        S::Rejected,
        S::Cancelled,
        S::Expired,
    ] {
        assert!(states.contains(&state), "{state:?} is not among {states:?}");
    }
    for (path, testid) in PAGES.into_iter().filter(|(path, _)| *path != "/audit/0") {
        // Here there are some.
        let testid = if testid == "schedules-none" { "schedule-list" } else { testid };
        looks(&ada, path, testid).await;
    }
    let (asset, host) = (made.asset.unwrap(), made.host.unwrap());
    looks(&ada, &format!("/assets/{asset}"), "asset-name").await;
    looks(&ada, &format!("/hosts/{host}"), "host-name").await;

    // The log itself is proven by the page that shows an event of it.
    ada.goto("/audit/0").await;
    ada.reads("proof-verdict", "Verified").await;
    assert!(!green(&ada).await.is_empty());
    ada.end().await;
}

/// Whether something is not in the read models yet, or not sealed.
async fn behind(browser: &Browser) -> bool {
    let models = api(browser, "GET", "/projections", &Value::Null).await;
    let view = api(browser, "GET", "/operations", &Value::Null).await;
    let models = models["items"].as_array().unwrap();
    view["seal"]["unsealed"] != 0 || models.iter().any(|model| model["lag"] != 0)
}

/// Opens a page and finds nothing green on it.
async fn looks(browser: &Browser, path: &str, testid: &str) {
    browser.goto(path).await;
    browser.see(testid).await;
    browser.gone("skeleton").await;
    assert_eq!(green(browser).await, [""; 0], "{path}");
    assert_eq!(browser.errors().await, "[]", "{path}");
}
