//! Reading from the API into components: one row, or a list that grows page by page.
//!
//! While something is read again the old stays on the screen, so that nothing jumps.

use std::cmp::Ordering;
use std::rc::Rc;

use nexplane_core::api::Page;
use serde::de::DeserializeOwned;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::api::{self, ApiError};
use crate::query;

/// Something the API gives at a path.
pub struct Resource<T> {
    pub value: Option<Rc<T>>,
    pub error: Option<ApiError>,
    pub loading: bool,
    reload: Callback<Option<u64>>,
    replace: Callback<T>,
}

impl<T> Clone for Resource<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            error: self.error.clone(),
            loading: self.loading,
            reload: self.reload.clone(),
            replace: self.replace.clone(),
        }
    }
}

impl<T> Resource<T> {
    /// Reads again, at least as new as `position`.
    pub fn reload_at(&self, position: Option<u64>) {
        self.reload.emit(position);
    }

    pub fn reload(&self) {
        self.reload.emit(None);
    }

    /// Shows this instead: the answer of a mutation.
    pub fn set(&self, value: T) {
        self.replace.emit(value);
    }
}

struct State<T> {
    value: Option<Rc<T>>,
    error: Option<ApiError>,
    loading: bool,
    /// Number of the newest request; answers of older ones come too late.
    asked: u64,
}

enum Step<T> {
    Asked(u64),
    Answered(u64, Result<T, ApiError>),
    Replaced(T),
}

impl<T> Reducible for State<T> {
    type Action = Step<T>;

    fn reduce(self: Rc<Self>, step: Step<T>) -> Rc<Self> {
        let Self { value, error, loading, asked } = &*self;
        Rc::new(match step {
            Step::Asked(number) => {
                Self { value: value.clone(), error: error.clone(), loading: true, asked: number }
            }
            Step::Answered(number, _) if number < *asked => return self,
            Step::Answered(number, Ok(value)) => {
                Self { value: Some(Rc::new(value)), error: None, loading: false, asked: number }
            }
            Step::Answered(number, Err(error)) => {
                Self { value: value.clone(), error: Some(error), loading: false, asked: number }
            }
            Step::Replaced(value) => {
                Self { value: Some(Rc::new(value)), error: None, loading: *loading, asked: *asked }
            }
        })
    }
}

/// Reads `path` now and whenever it is another; nothing while it is `None`.
#[hook]
pub fn use_resource<T>(path: Option<String>) -> Resource<T>
where
    T: DeserializeOwned + 'static,
{
    let state =
        use_reducer(|| State::<T> { value: None, error: None, loading: path.is_some(), asked: 0 });
    let counter = use_mut_ref(|| 0_u64);
    let reload = use_callback(path.clone(), {
        let dispatcher = state.dispatcher();
        move |position: Option<u64>, path: &Option<String>| {
            let Some(path) = path.clone() else { return };
            let number = {
                let mut counter = counter.borrow_mut();
                *counter += 1;
                *counter
            };
            let dispatcher = dispatcher.clone();
            dispatcher.dispatch(Step::Asked(number));
            spawn_local(async move {
                let answer = api::get_at(&path, position).await;
                dispatcher.dispatch(Step::Answered(number, answer));
            });
        }
    });
    let replace = use_callback((), {
        let dispatcher = state.dispatcher();
        move |value, ()| dispatcher.dispatch(Step::Replaced(value))
    });
    {
        let reload = reload.clone();
        use_effect_with(path, move |_| reload.emit(None));
    }
    Resource {
        value: state.value.clone(),
        error: state.error.clone(),
        loading: state.loading,
        reload,
        replace,
    }
}

/// A list that the API gives page by page.
pub struct List<T> {
    /// `None` until the first page is there.
    pub items: Option<Rc<Vec<T>>>,
    pub more: bool,
    pub error: Option<ApiError>,
    pub loading: bool,
    act: Callback<ListAction<T>>,
}

type RowEdit<T> = Box<dyn FnOnce(&mut Vec<T>)>;
/// Which of two rows is further up: the greater one.
type Order<T> = fn(&T, &T) -> Ordering;

enum ListAction<T> {
    Reload(Option<u64>),
    Refresh(Option<u64>, Order<T>),
    More,
    Edit(RowEdit<T>),
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            more: self.more,
            error: self.error.clone(),
            loading: self.loading,
            act: self.act.clone(),
        }
    }
}

impl<T> List<T> {
    /// Reads the first page again.
    pub fn reload_at(&self, position: Option<u64>) {
        self.act.emit(ListAction::Reload(position));
    }

    pub fn reload(&self) {
        self.reload_at(None);
    }

    /// Reads the first page again and lays it over what is shown: rows of later pages stay where they are. The list
    /// falls along `order`, in which no two rows are equal.
    pub fn refresh_at(&self, position: Option<u64>, order: Order<T>) {
        self.act.emit(ListAction::Refresh(position, order));
    }

    pub fn load_more(&self) {
        self.act.emit(ListAction::More);
    }

    /// Changes the rows on the screen, without asking the server.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<T>) + 'static) {
        self.act.emit(ListAction::Edit(Box::new(edit)));
    }
}

struct ListState<T> {
    items: Option<Rc<Vec<T>>>,
    cursor: Option<String>,
    error: Option<ApiError>,
    loading: bool,
    asked: u64,
    /// Which path the rows are of.
    path: Option<String>,
}

enum ListStep<T> {
    Asked(u64, String),
    First(u64, Result<Page<T>, ApiError>),
    Next(u64, Result<Page<T>, ApiError>),
    Refreshed(String, Order<T>, Page<T>),
    Edited(RowEdit<T>),
}

/// A first page over rows that were read before, with the cursor that goes on after the last of them.
fn laid_over<T: Clone>(
    page: Page<T>,
    shown: &[T],
    cursor: Option<String>,
    order: Order<T>,
) -> (Vec<T>, Option<String>) {
    let Page { mut items, next_cursor } = page;
    let (Some(last), Some(_)) = (items.last(), &next_cursor) else {
        return (items, next_cursor);
    };
    let meets = shown.first().is_some_and(|row| order(row, last).is_ge());
    let older: Vec<T> = shown.iter().filter(|row| order(row, last).is_lt()).cloned().collect();
    if !meets || older.is_empty() {
        // Between both might be rows that nobody has read.
        return (items, next_cursor);
    }
    items.extend(older);
    (items, cursor)
}

impl<T: Clone> Reducible for ListState<T> {
    type Action = ListStep<T>;

    fn reduce(self: Rc<Self>, step: ListStep<T>) -> Rc<Self> {
        let keep = |asked: u64, loading: bool, error: Option<ApiError>| Self {
            items: self.items.clone(),
            cursor: self.cursor.clone(),
            error,
            loading,
            asked,
            path: self.path.clone(),
        };
        let ready = |asked: u64, items: Vec<T>, cursor: Option<String>| Self {
            items: Some(Rc::new(items)),
            cursor,
            error: None,
            loading: false,
            asked,
            path: self.path.clone(),
        };
        Rc::new(match step {
            ListStep::Asked(number, path) => {
                Self { path: Some(path), ..keep(number, true, self.error.clone()) }
            }
            ListStep::Refreshed(path, ..) if self.path.as_ref() != Some(&path) => return self,
            ListStep::Refreshed(_, order, page) => {
                let shown = self.items.as_deref().map(Vec::as_slice).unwrap_or_default();
                let (items, cursor) = laid_over(page, shown, self.cursor.clone(), order);
                Self { loading: self.loading, ..ready(self.asked, items, cursor) }
            }
            ListStep::First(number, _) | ListStep::Next(number, _) if number < self.asked => {
                return self;
            }
            ListStep::First(number, Ok(page)) => ready(number, page.items, page.next_cursor),
            ListStep::Next(number, Ok(page)) => {
                let mut items = self.items.as_deref().cloned().unwrap_or_default();
                items.extend(page.items);
                ready(number, items, page.next_cursor)
            }
            ListStep::First(number, Err(error)) | ListStep::Next(number, Err(error)) => {
                keep(number, false, Some(error))
            }
            ListStep::Edited(edit) => {
                let mut items = self.items.as_deref().cloned().unwrap_or_default();
                edit(&mut items);
                Self { items: Some(Rc::new(items)), ..keep(self.asked, self.loading, None) }
            }
        })
    }
}

/// Reads the list at `path` (with its filters) now and whenever it is another.
#[hook]
pub fn use_list<T>(path: Option<String>) -> List<T>
where
    T: Clone + DeserializeOwned + 'static,
{
    let state = use_reducer(|| ListState::<T> {
        items: None,
        cursor: None,
        error: None,
        loading: path.is_some(),
        asked: 0,
        path: None,
    });
    let counter = use_mut_ref(|| 0_u64);
    let act = {
        let dispatcher = state.dispatcher();
        let cursor = state.cursor.clone();
        use_callback((path.clone(), cursor), move |action: ListAction<T>, (path, cursor)| {
            let Some(path) = path.clone() else { return };
            let (position, cursor) = match action {
                ListAction::Edit(edit) => return dispatcher.dispatch(ListStep::Edited(edit)),
                ListAction::Refresh(position, order) => {
                    let dispatcher = dispatcher.clone();
                    spawn_local(async move {
                        // Rows that cannot be read stay as they were.
                        if let Ok(page) = api::get_at(&path, position).await {
                            dispatcher.dispatch(ListStep::Refreshed(path, order, page));
                        }
                    });
                    return;
                }
                ListAction::Reload(position) => (position, None),
                ListAction::More => match cursor {
                    Some(cursor) => (None, Some(cursor.clone())),
                    None => return,
                },
            };
            let number = {
                let mut counter = counter.borrow_mut();
                *counter += 1;
                *counter
            };
            let dispatcher = dispatcher.clone();
            dispatcher.dispatch(ListStep::Asked(number, path.clone()));
            spawn_local(async move {
                let address = query::with(&path, &[("cursor", cursor.as_deref().unwrap_or(""))]);
                let answer = api::get_at(&address, position).await;
                dispatcher.dispatch(match cursor {
                    None => ListStep::First(number, answer),
                    Some(_) => ListStep::Next(number, answer),
                });
            });
        })
    };
    {
        let act = act.clone();
        use_effect_with(path, move |_| act.emit(ListAction::Reload(None)));
    }
    List {
        items: state.items.clone(),
        more: state.cursor.is_some(),
        error: state.error.clone(),
        loading: state.loading,
        act,
    }
}

/// Something being done to the server, from one button.
#[derive(Clone, PartialEq)]
pub struct Mutation {
    busy: UseStateHandle<bool>,
    error: UseStateHandle<Option<ApiError>>,
}

impl Mutation {
    pub fn busy(&self) -> bool {
        *self.busy
    }

    pub fn error(&self) -> Option<&ApiError> {
        self.error.as_ref()
    }

    /// Does it, unless it is being done already.
    pub fn start<T: 'static>(
        &self,
        call: impl Future<Output = Result<T, ApiError>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        if *self.busy {
            return;
        }
        self.busy.set(true);
        let (busy, error) = (self.busy.setter(), self.error.setter());
        spawn_local(async move {
            let answer = call.await;
            busy.set(false);
            match answer {
                Ok(value) => {
                    error.set(None);
                    done(value);
                }
                Err(problem) => error.set(Some(problem)),
            }
        });
    }
}

#[hook]
pub fn use_mutation() -> Mutation {
    Mutation { busy: use_state_eq(|| false), error: use_state_eq(|| None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(items: &[u64], more: bool, shown: &[u64]) -> (Vec<u64>, Option<String>) {
        let next_cursor = more.then(|| "of the page".to_owned());
        let page = Page { items: items.to_vec(), next_cursor };
        laid_over(page, shown, Some("shown".to_owned()), Ord::cmp)
    }

    #[test]
    fn a_first_page_is_laid_over_what_was_read_without_a_hole() {
        let of_page = Some("of the page".to_owned());
        // New rows on top, and the pages that were read stay.
        assert_eq!(
            laid(&[6, 5, 4], true, &[5, 4, 3, 2, 1]),
            (vec![6, 5, 4, 3, 2, 1], Some("shown".to_owned()))
        );
        // Only one page was read.
        assert_eq!(laid(&[6, 5, 4], true, &[5, 4]), (vec![6, 5, 4], of_page.clone()));
        // So many are new that the rest is somewhere behind.
        assert_eq!(laid(&[9, 8, 7], true, &[3, 2, 1]), (vec![9, 8, 7], of_page.clone()));
        assert_eq!(laid(&[9, 8], true, &[]), (vec![9, 8], of_page));
        // The page is all there is.
        assert_eq!(laid(&[2, 1], false, &[9, 8]), (vec![2, 1], None));
        assert_eq!(laid(&[], false, &[1]), (vec![], None));
    }
}
