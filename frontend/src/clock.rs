//! The browser's clock and time zone: the only place that reads them.

use nexplane_core::time::Timestamp;
use wasm_bindgen::JsValue;

pub fn now() -> Timestamp {
    from_millis(js_sys::Date::now())
}

/// Minutes east of UTC at that moment, where the viewer is.
pub fn offset_minutes(at: Timestamp) -> i32 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any calendar fit 53 bits")]
    let millis = (at.as_micros() / 1_000) as f64;
    let west = js_sys::Date::new(&JsValue::from_f64(millis)).get_timezone_offset();
    #[expect(clippy::cast_possible_truncation, reason = "a time zone is within 24 hours of UTC")]
    let west = west as i32;
    -west
}

/// What a `datetime-local` input holds (`2026-11-23T15:00`, the viewer's zone) as a moment.
pub fn from_local_input(text: &str) -> Option<Timestamp> {
    let millis = js_sys::Date::parse(text);
    millis.is_finite().then(|| from_millis(millis))
}

/// IANA name of the viewer's time zone; `UTC` when the browser does not say.
pub fn zone() -> String {
    let format = js_sys::Intl::DateTimeFormat::new(&js_sys::Array::new(), &js_sys::Object::new());
    js_sys::Reflect::get(&format.resolved_options(), &JsValue::from_str("timeZone"))
        .ok()
        .and_then(|zone| zone.as_string())
        .unwrap_or_else(|| "UTC".to_owned())
}

fn from_millis(millis: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "browsers' dates end in the year 275760")]
    let millis = millis as i64;
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

/// A number in [0, 1).
pub fn random() -> f64 {
    js_sys::Math::random()
}
