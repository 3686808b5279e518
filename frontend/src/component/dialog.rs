//! Dialogs and drawers: the browser's own `<dialog>`, which keeps the focus inside, closes with
//! Escape and gives the focus back.

use gloo_events::{EventListener, EventListenerOptions};
use wasm_bindgen::JsCast as _;
use web_sys::HtmlDialogElement;
use yew::prelude::*;

use super::icon::{Glyph, Icon};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Centre,
    /// Along the right edge, for a row's details.
    Drawer,
    /// Along the left edge, for the navigation on a phone.
    Menu,
    /// At the top, without a heading.
    Palette,
}

#[derive(Properties, PartialEq)]
pub struct DialogProps {
    pub title: AttrValue,
    /// Also called on Escape and on a click beside it.
    pub on_close: Callback<()>,
    #[prop_or_default]
    pub shape: Shape,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
    /// What is in it must not be lost by a stray key.
    #[prop_or_default]
    pub sticky: bool,
    pub children: Html,
}

/// Open while it is on the page.
#[component]
pub fn Dialog(props: &DialogProps) -> Html {
    let node = use_node_ref();
    let latest = use_mut_ref(|| (props.on_close.clone(), props.sticky));
    *latest.borrow_mut() = (props.on_close.clone(), props.sticky);
    {
        let node = node.clone();
        use_effect_with((), move |()| {
            let dialog = node.cast::<HtmlDialogElement>();
            let escape = dialog.as_ref().map(|dialog| {
                // Throws only when it is not in the document, or open already.
                let _ = dialog.show_modal();
                // `cancel` does not bubble, so the listener sits on the dialog itself.
                let options = EventListenerOptions::enable_prevent_default();
                EventListener::new_with_options(dialog, "cancel", options, move |event| {
                    event.prevent_default();
                    let (on_close, sticky) = latest.borrow().clone();
                    if !sticky {
                        on_close.emit(());
                    }
                })
            });
            move || {
                drop(escape);
                if let Some(dialog) = dialog {
                    dialog.close();
                }
            }
        });
    }
    let onclick = {
        let (on_close, sticky, node) = (props.on_close.clone(), props.sticky, node.clone());
        Callback::from(move |event: MouseEvent| {
            // The dialog itself is hit only beside its content: on the backdrop.
            let target = event.target().and_then(|target| target.dyn_into::<web_sys::Node>().ok());
            if !sticky && target.is_some() && target == node.get() {
                on_close.emit(());
            }
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    let class = match props.shape {
        Shape::Centre => "dialog",
        Shape::Drawer => "dialog drawer",
        Shape::Menu => "dialog menu",
        Shape::Palette => "dialog palette",
    };
    html! {
        <dialog ref={node} {class} aria-label={props.title.clone()} {onclick}
            data-testid={props.testid.clone()}>
            <div class="dialog-inner">
                if props.shape != Shape::Palette {
                    <header class="dialog-head">
                        <h2>{ &props.title }</h2>
                        if !props.sticky {
                            <button type="button" class="button quiet icon-only" aria-label="Close"
                                onclick={close} data-testid="dialog-close">
                                <Icon glyph={Glyph::Cross} />
                            </button>
                        }
                    </header>
                }
                <div class="dialog-body">{ props.children.clone() }</div>
            </div>
        </dialog>
    }
}
