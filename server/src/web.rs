//! The dashboard: files made by `frontend/build`, inside the executable.
//!
//! Names of assets carry a hash of their content and are cached for ever; the page itself is not.
//! Every path that is not a file is the page: the dashboard has its own addresses.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::api::guard::is_secure;

#[derive(RustEmbed)]
#[folder = "../frontend/dist/"]
#[allow_missing = true]
struct Dist;

/// Nothing but our own files; WebAssembly may be compiled. No text becomes markup or a script, and no policy of
/// Trusted Types can be made that would let it.
const CSP: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; manifest-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";

pub fn router() -> Router {
    Router::new().fallback(file)
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    // The page of an asset has an address below /assets too; files have a dot in their name.
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let mut response = if is_file && path.starts_with("assets/") {
        match asset(path, &headers) {
            Some(response) => response,
            None => StatusCode::NOT_FOUND.into_response(),
        }
    } else {
        page()
    };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    response
}

/// What every answer says to browsers, those of the API too: it is what its type says, is in nobody's frame, is read
/// by no other site, shares its window with none, and, to whoever came over HTTPS, is never asked for without it.
pub async fn protect(request: Request, next: Next) -> Response {
    let secure = is_secure(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if secure {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

fn page() -> Response {
    let Some(page) = Dist::get("index.html") else {
        let text = "<!doctype html><title>Nexplane</title><p>This build has no dashboard. Run <code>just web</code> and build again; the API is at <a href=\"/api/docs\">/api/docs</a>.";
        return (StatusCode::NOT_FOUND, Html(text)).into_response();
    };
    let mut response = page.data.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn asset(path: &str, headers: &HeaderMap) -> Option<Response> {
    let brotli = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim().starts_with("br")));
    let compressed: Option<EmbeddedFile> =
        if brotli { Dist::get(&format!("{path}.br")) } else { None };
    let encoded = compressed.is_some();
    let file = compressed.or_else(|| Dist::get(path))?;
    let mut response = file.data.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, forever);
    if encoded {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    Some(response)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}
