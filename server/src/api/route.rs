//! What a row of the table of routes is made of.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use nexplane_core::actor::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::App;

/// Who gets past the guard of a route. What they may do there is decided by the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Public,
    SignedIn,
    Roles(&'static [Role]),
}

/// One row of the table.
pub struct Route {
    pub method: Method,
    /// Below `/api/v1`.
    pub path: &'static str,
    pub access: Access,
    pub summary: &'static str,
    pub request: Option<Shape>,
    pub answer: Option<Shape>,
    pub status: u16,
    pub secret_answer: bool,
    pub(super) handler: MethodRouter<App>,
}

/// A type's JSON Schema, made when the document is.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn row<H, T>(
    method: Method,
    path: &'static str,
    access: Access,
    handler: H,
    summary: &'static str,
) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route {
        method,
        path,
        access,
        summary,
        request: None,
        answer: None,
        status: 200,
        secret_answer: false,
        handler: on(filter, handler),
    }
}

macro_rules! methods {
    ($($name:ident => $method:ident),*) => {$(
        pub(super) fn $name<H, T>(path: &'static str, access: Access, handler: H, summary: &'static str) -> Route
        where
            H: Handler<T, App>,
            T: 'static,
        {
            row(Method::$method, path, access, handler, summary)
        }
    )*};
}

methods!(get => GET, post => POST, patch => PATCH, delete => DELETE);

impl Route {
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.request = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    pub(super) fn answers<T: JsonSchema>(mut self) -> Self {
        self.answer = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret_answer = true;
        self
    }
}
