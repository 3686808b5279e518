//! The parts that pages are made of.

pub mod asset_picker;
pub mod badge;
pub mod change_table;
pub mod copy;
pub mod dialog;
pub mod diff;
pub mod empty;
pub mod event_list;
pub mod fields;
pub mod head;
pub mod icon;
pub mod inbox;
pub mod input;
pub mod link;
pub mod palette;
pub mod problem;
pub mod rights;
pub mod risk;
pub mod schema_form;
pub mod shell;
pub mod skeleton;
pub mod time;
pub mod toast;
pub mod tour;
