//! One browser window, in the words of the tests.

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::error::WebDriverResult;
use thirtyfour::prelude::*;

use crate::accessibility::{self, Rules};
use crate::chromedriver::Chromedriver;

/// The longest that anything may take to appear on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

const WIDTH: u32 = 1280;
const LEAST_HEIGHT: u32 = 900;
const MOST_HEIGHT: u32 = 6000;
/// Of finding how high a page is, while parts of it open and close.
const MOST_TRIES: usize = 5;
const HEIGHT: &str = "return Math.ceil(document.documentElement.scrollHeight);";
const OVERFLOW: &str = "return document.documentElement.scrollWidth - window.innerWidth;";

const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

pub struct Browser {
    /// Never dropped: dropping it would ask the browser to quit, and wait two minutes for an answer
    /// that a test which failed keeps from coming.
    driver: ManuallyDrop<WebDriver>,
    base: String,
    // In this order: the browser ends before its profile goes.
    _chromedriver: Chromedriver,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A fresh browser that knows nobody, for the dashboard at `base`.
    pub async fn open(base: &str) -> Self {
        // Every connection to come is plain HTTP, and reqwest asks for a provider all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chromedriver = Chromedriver::start();
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            wanted.add_arg(argument).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        let driver = WebDriver::new(&chromedriver.url, wanted).await.expect("chromium starts");
        let driver = ManuallyDrop::new(driver);
        Self { driver, base: base.to_owned(), _chromedriver: chromedriver, _profile: profile }
    }

    pub async fn goto(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.unwrap();
    }

    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    /// Path and query of the address.
    pub async fn path(&self) -> String {
        let url = self.driver.current_url().await.unwrap();
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }

    /// A screen of this size. A window of headless Chromium has a least width, a screen has none.
    pub async fn resize(&self, width: u32, height: u32) {
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Light or dark, as the system of the person at the screen would ask for it.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Runs this script in every page to come, before the page's own.
    pub async fn before_every_page(&self, script: &str) {
        let script = json!({ "source": script });
        self.devtools("Page.addScriptToEvaluateOnNewDocument", script).await;
    }

    /// Takes the session's cookie away, and gives what it was.
    pub async fn take_cookie(&self) -> Value {
        let address = json!({ "urls": [format!("{}/api/v1", self.base)] });
        let mut cookies = self.devtools("Network.getCookies", address).await;
        self.devtools("Network.clearBrowserCookies", json!({})).await;
        cookies["cookies"][0].take()
    }

    pub async fn give_cookie(&self, cookie: &Value) {
        let cookie = json!({
            "url": format!("{}/api/v1", self.base), "name": cookie["name"], "value": cookie["value"],
            "path": cookie["path"], "httpOnly": true, "sameSite": "Strict",
        });
        self.devtools("Network.setCookie", cookie).await;
    }

    /// Turns the wheel of a mouse that is here.
    pub async fn wheel(&self, x: u32, y: u32, pixels: i32) {
        let turned = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": pixels });
        self.devtools("Input.dispatchMouseEvent", turned).await;
    }

    /// Bytes that the page uses: objects of JavaScript and of the browser, and the memory of WebAssembly.
    pub async fn heap(&self) -> Value {
        self.devtools("HeapProfiler.collectGarbage", json!({})).await;
        let used = self.devtools("Runtime.getHeapUsage", json!({})).await;
        let bytes = |name: &str| used[name].as_f64().unwrap_or(0.0);
        let parts = ["usedSize", "embedderHeapUsedSize"].map(bytes);
        // Its memory is none of the buffers that the heap counts.
        let kind = json!({ "expression": "WebAssembly.Memory.prototype" });
        let kind = self.devtools("Runtime.evaluate", kind).await;
        let all = json!({ "prototypeObjectId": kind["result"]["objectId"] });
        let all = self.devtools("Runtime.queryObjects", all).await;
        let sum = json!({
            "objectId": all["objects"]["objectId"], "returnByValue": true,
            "functionDeclaration":
                "function () { return this.reduce((sum, memory) => sum + memory.buffer.byteLength, 0); }",
        });
        let sum = self.devtools("Runtime.callFunctionOn", sum).await;
        let wasm = sum["result"]["value"].as_f64().expect("the dashboard is WebAssembly");
        let total = parts.iter().sum::<f64>() + wasm;
        json!({ "total": total, "script": parts[0], "page": parts[1], "wasm": wasm })
    }

    /// A command of the protocol of the developer tools.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Saves what is on the screen now as `target/screens/<name>.png`, from top to end.
    pub async fn picture(&self, name: &str, width: u32) {
        let mut shown = LEAST_HEIGHT;
        for _ in 0..MOST_TRIES {
            let height: u32 = self.script(HEIGHT).await.parse().unwrap();
            let height = height.clamp(LEAST_HEIGHT, MOST_HEIGHT);
            if height == shown {
                break;
            }
            self.resize(width, height).await;
            shown = height;
        }
        let png = self.driver.screenshot_as_png().await.unwrap();
        std::fs::write(screens().join(format!("{name}.png")), png).unwrap();
        self.resize(width, LEAST_HEIGHT).await;
    }

    /// Pictures of a page on a desk and on a phone, light and dark. What is on the page has to fit, also on the
    /// smallest phone, and to be accessible.
    pub async fn pictures(&self, name: &str) {
        for (screen, width) in [("wide", 1440), ("narrow", 390)] {
            self.resize(width, LEAST_HEIGHT).await;
            for (scheme, rules) in [("light", Rules::All), ("dark", Rules::Colours)] {
                self.prefer(scheme).await;
                let name = format!("{name}-{screen}-{scheme}");
                self.picture(&name, width).await;
                accessibility::check(self, &name, rules).await;
            }
        }
        for width in [1440, 390, 360] {
            self.resize(width, LEAST_HEIGHT).await;
            let overflow: i64 = self.script(OVERFLOW).await.parse().unwrap();
            assert!(overflow <= 0, "{name} is {overflow} pixels too wide at {width}");
        }
        self.prefer("light").await;
        self.resize(WIDTH, LEAST_HEIGHT).await;
    }

    /// Waits until an element with this test id can be seen, and gives it.
    pub async fn see(&self, testid: &str) -> WebElement {
        self.see_css(&format!("[data-testid='{testid}']")).await
    }

    /// The same for the element that also has this attribute, such as `data-state=complete`.
    pub async fn see_with(&self, testid: &str, attribute: &str, value: &str) -> WebElement {
        self.see_css(&format!("[data-testid='{testid}'][{attribute}='{value}']")).await
    }

    pub async fn see_css(&self, css: &str) -> WebElement {
        let found = until(async || {
            for element in self.driver.find_all(By::Css(css)).await? {
                if element.is_displayed().await? {
                    return Ok(Some(element));
                }
            }
            Ok(None)
        });
        match found.await {
            Some(element) => element,
            None => panic!("{css} did not appear.\n{}", self.describe().await),
        }
    }

    /// All that can be seen now.
    pub async fn all(&self, testid: &str) -> Vec<WebElement> {
        let css = format!("[data-testid='{testid}']");
        let mut shown = Vec::new();
        for element in self.driver.find_all(By::Css(&css)).await.unwrap() {
            if element.is_displayed().await.unwrap_or(false) {
                shown.push(element);
            }
        }
        shown
    }

    /// Waits until no element with this test id is left.
    pub async fn gone(&self, testid: &str) {
        let css = format!("[data-testid='{testid}']");
        let gone = until(async || {
            let none = self.driver.find_all(By::Css(&css)).await?.is_empty();
            Ok(none.then_some(()))
        });
        assert!(gone.await.is_some(), "{testid} did not go.\n{}", self.describe().await);
    }

    /// Clicks on it once it can be clicked.
    pub async fn click(&self, testid: &str) {
        self.click_css(&format!("[data-testid='{testid}']")).await;
    }

    pub async fn click_css(&self, css: &str) {
        let clicked = until(async || {
            let element = self.see_css(css).await;
            if !element.is_enabled().await? {
                return Ok(None);
            }
            element.scroll_into_view().await?;
            element.click().await?;
            Ok(Some(()))
        });
        assert!(clicked.await.is_some(), "{css} could not be clicked.\n{}", self.describe().await);
    }

    /// Types into an input, in the place of what is in it. With keys only: a page does not hear of what a driver
    /// clears, and shows it again as soon as it shows anything.
    pub async fn fill(&self, testid: &str, text: &str) {
        let input = self.see(testid).await;
        input.send_keys(Key::Control + "a").await.unwrap();
        match text {
            "" => input.send_keys(Key::Delete + "").await.unwrap(),
            text => input.send_keys(text).await.unwrap(),
        }
    }

    /// Chooses in a select by the text that people read.
    pub async fn choose(&self, testid: &str, text: &str) {
        let chosen = until(async || {
            let select = self.see(testid).await;
            for option in select.find_all(By::Tag("option")).await? {
                if option.text().await?.contains(text) {
                    option.click().await?;
                    return Ok(Some(()));
                }
            }
            Ok(None)
        });
        assert!(chosen.await.is_some(), "{testid} has no {text}.\n{}", self.describe().await);
    }

    /// Presses keys wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let focus = self.driver.active_element().await.unwrap();
        focus.send_keys(keys).await.unwrap();
    }

    pub async fn text(&self, testid: &str) -> String {
        self.see(testid).await.text().await.unwrap()
    }

    pub async fn attribute(&self, testid: &str, name: &str) -> Option<String> {
        self.see(testid).await.attr(name).await.unwrap()
    }

    /// Waits until the text of an element contains this.
    pub async fn reads(&self, testid: &str, part: &str) {
        let read = until(async || {
            let text = self.see(testid).await.text().await?;
            Ok(text.contains(part).then_some(()))
        });
        assert!(read.await.is_some(), "{testid} does not read {part}.\n{}", self.describe().await);
    }

    /// Runs a script and gives what it returns, as text.
    pub async fn script(&self, script: &str) -> String {
        let arguments: Vec<Value> = Vec::new();
        self.driver.execute(script, arguments).await.unwrap().json().to_string()
    }

    /// Waits until a script returns this.
    pub async fn script_says(&self, script: &str, wanted: &str) {
        let said = until(async || Ok((self.script(script).await == wanted).then_some(())));
        assert!(said.await.is_some(), "{script} is not {wanted}.\n{}", self.describe().await);
    }

    /// What went wrong on this page since it was loaded.
    pub async fn errors(&self) -> String {
        self.script("return window.__errors;").await
    }

    pub async fn sign_in(&self, email: &str, password: &str) {
        self.fill("login-email", email).await;
        self.fill("login-password", password).await;
        self.click("login-submit").await;
        self.see("account-name").await;
    }

    /// Ends the browser; fails when the last page had errors.
    pub async fn end(self) {
        let errors = self.errors().await;
        WebDriver::clone(&self.driver).quit().await.unwrap();
        assert_eq!(errors, "[]", "errors on the page");
    }

    /// For the message of a test that failed: where it was and what could be read.
    async fn describe(&self) -> String {
        let path = self.path().await;
        let text = self.script("return document.body.innerText.slice(0, 3000);").await;
        format!("At {path}, errors {}:\n{}", self.errors().await, text.replace("\\n", "\n"))
    }
}

/// `target/screens`, wherever `target` is: the test runs from `target/<profile>/deps`.
fn screens() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let folder = target.join("screens");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Tries until there is something, or patience ends. An element that just went is looked for again.
async fn until<T>(mut attempt: impl AsyncFnMut() -> WebDriverResult<Option<T>>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok(Some(found)) = attempt().await {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
