//! `/saved-views`: sets of filters that somebody gave a name. They belong to the person and are no events.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use nexplane_core::api::{FieldError, Page, SaveViewsRequest, SavedView};

use super::guard::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};

/// More tabs than that are not read by anybody.
const AT_MOST: usize = 20;
/// Characters of a name.
const NAME: usize = 40;
/// Characters of a query.
const QUERY: usize = 1_000;

/// `GET /saved-views`
pub async fn list(State(app): State<App>, caller: Caller) -> ApiResult<Json<Page<SavedView>>> {
    let items = app.directory.views(caller.person).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// `POST /saved-views`: these instead of those that there were.
pub async fn save(
    State(app): State<App>,
    caller: Caller,
    JsonBody(body): JsonBody<SaveViewsRequest>,
) -> ApiResult<Json<Page<SavedView>>> {
    let items = checked(body.items).map_err(ApiError::invalid)?;
    if !app.directory.save_views(caller.person, &items).await? {
        return Err(ApiError::not_found("person"));
    }
    Ok(Json(Page { items, next_cursor: None }))
}

fn checked(views: Vec<SavedView>) -> Result<Vec<SavedView>, Vec<FieldError>> {
    let mut wrong = Vec::new();
    let mut no = |pointer: String, reason: String| wrong.push(FieldError { pointer, reason });
    if views.len() > AT_MOST {
        no("/items".to_owned(), format!("keep at most {AT_MOST} views; remove some first"));
    }
    let mut names = BTreeSet::new();
    let views: Vec<SavedView> = views
        .into_iter()
        .map(|view| SavedView { name: view.name.trim().to_owned(), query: view.query })
        .collect();
    for (index, view) in views.iter().enumerate() {
        let at = |field: &str| format!("/items/{index}/{field}");
        let length = view.name.chars().count();
        if length == 0 || length > NAME || view.name.chars().any(char::is_control) {
            no(at("name"), format!("give it 1 to {NAME} characters in one line"));
        } else if !names.insert(view.name.to_lowercase()) {
            no(at("name"), "another view has this name".to_owned());
        }
        let is_query =
            view.query.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%=&,+".contains(c));
        if view.query.len() > QUERY || !is_query {
            no(
                at("query"),
                format!(
                    "give what follows the ? of the list's address, at most {QUERY} characters"
                ),
            );
        }
    }
    if wrong.is_empty() { Ok(views) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, query: &str) -> SavedView {
        SavedView { name: name.to_owned(), query: query.to_owned() }
    }

    fn wrong(views: Vec<SavedView>) -> Vec<String> {
        checked(views).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_view_is_a_name_and_a_query() {
        let kept = checked(vec![view(" Prod ", "environment=prod&q=a%20b"), view("All", "")]);
        assert_eq!(kept.unwrap(), [view("Prod", "environment=prod&q=a%20b"), view("All", "")]);
        assert_eq!(wrong(vec![view("", ""), view("a\nb", "")]), ["/items/0/name", "/items/1/name"]);
        assert_eq!(wrong(vec![view("A", ""), view("a", "")]), ["/items/1/name"]);
        assert_eq!(
            wrong(vec![view("A", "q=<b>"), view("B", "#/x")]),
            ["/items/0/query", "/items/1/query"]
        );
        assert_eq!(wrong(vec![view("A", &"x".repeat(1_001))]), ["/items/0/query"]);
        let many = (0..21).map(|n| view(&n.to_string(), "")).collect();
        assert_eq!(wrong(many), ["/items"]);
    }
}
