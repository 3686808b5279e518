//! Checked-in documents that are generated: `NEXPLANE_BLESS=1` writes them anew.

use std::path::Path;

#[test]
fn the_openapi_document_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/openapi.json");
    let mut made = serde_json::to_string_pretty(&nexplane_server::api::document()).unwrap();
    made.push('\n');
    if std::env::var_os("NEXPLANE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "schema/openapi.json is not what the routes say. If the change is meant, run 'just bless' \
         and tell the readers of the API what changed."
    );
}
