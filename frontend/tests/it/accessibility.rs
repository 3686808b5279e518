//! What axe-core finds on a page: rules of the WCAG 2.2, levels A and AA, that a machine can judge.
//!
//! <https://github.com/dequelabs/axe-core>, which `./setup` puts below `$HOME/.cache/nexplane`. What it calls
//! serious or critical fails the test. What takes a person to judge, it does not find.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::browser::Browser;

/// <https://github.com/dequelabs/axe-core/blob/develop/doc/API.md#axe-core-tags>
const TAGS: &str = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa']";

/// What depends on the colours, and not on what is on the page.
const COLOURS: &str = "['color-contrast']";

static AXE: LazyLock<String> = LazyLock::new(|| {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = home.join(".cache/nexplane/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("axe-core is there (./setup puts it there)")
});

/// All rules, or those of colours alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    All,
    Colours,
}

/// Fails when the page as it is now has a serious violation.
pub async fn check(browser: &Browser, name: &str, rules: Rules) {
    if browser.script("return typeof axe;").await != "\"object\"" {
        browser.script(&AXE).await;
    }
    let only = match rules {
        Rules::All => format!("{{ type: 'tag', values: {TAGS} }}"),
        Rules::Colours => format!("{{ type: 'rule', values: {COLOURS} }}"),
    };
    let found = browser
        .script(&format!(
            "return axe.run({{ runOnly: {only}, resultTypes: ['violations'] }}).then(({{ violations }}) => \
             violations.filter(({{ impact }}) => impact === 'serious' || impact === 'critical') \
             .map(({{ id, help, nodes }}) => ({{ id, help, nodes: nodes.slice(0, 5) \
             .map(({{ html, failureSummary }}) => html.slice(0, 300) + ' : ' + failureSummary) }})));"
        ))
        .await;
    assert_eq!(found, "[]", "{name}: axe-core found");
}
