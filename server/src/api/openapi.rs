//! The OpenAPI 3.1 document, made from the table of routes, and a page to browse it without a
//! network.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use nexplane_core::api::Problem;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{Access, Route, routes};
use crate::app::App;

/// Where schemas are in an OpenAPI document.
const SCHEMAS: &str = "/components/schemas";

/// The document.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = SCHEMAS.into())
        .into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let operation = operation(&route, &mut generator, problem.as_value());
        let path = format!("/api/v1{}", route.path);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nexplane",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Typed infrastructure changes: planned, approved, executed, verified, and undone. Errors are application/problem+json (RFC 9457). Mutations take Idempotency-Key and If-Match; answers carry ETag and X-Position; reads take X-Min-Position.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": "nexplane_session" }
            }
        }
    })
}

fn operation(route: &Route, generator: &mut schemars::SchemaGenerator, problem: &Value) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".to_owned(), route.summary.into());
    let id = format!("{} {}", route.method, route.path)
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    operation.insert("operationId".to_owned(), id.into());
    match route.access {
        Access::Public => {}
        Access::SignedIn => {
            operation.insert("security".to_owned(), json!([{ "bearer": [] }, { "cookie": [] }]));
        }
        Access::Roles(roles) => {
            let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            operation.insert("security".to_owned(), json!([{ "bearer": [] }, { "cookie": [] }]));
            let text = format!("Needs the role {}.", names.join(" or "));
            operation.insert("description".to_owned(), text.into());
        }
    }
    let parameters: Vec<_> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(shape) = route.request {
        let schema = shape(generator);
        let body =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.insert("requestBody".to_owned(), body);
    }
    let mut done = json!({ "description": "Done" });
    if let (Some(shape), Value::Object(done)) = (route.answer, &mut done) {
        let schema = shape(generator);
        done.insert("content".to_owned(), json!({ "application/json": { "schema": schema } }));
    }
    let responses = json!({
        route.status.to_string(): done,
        "default": {
            "description": "A problem; detail says what to do",
            "content": { "application/problem+json": { "schema": problem } }
        }
    });
    operation.insert("responses".to_owned(), responses);
    Value::Object(operation)
}

pub fn router() -> Router<App> {
    let ui = SwaggerUi::new("/api/docs").config(Config::from("/api/openapi.json"));
    Router::new()
        .route(
            "/api/openapi.json",
            get(|| async {
                let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
                (headers, axum::Json(document())).into_response()
            }),
        )
        .merge(Router::<App>::from(ui))
}
