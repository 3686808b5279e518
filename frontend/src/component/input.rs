//! Labelled inputs.

use wasm_bindgen::JsCast as _;
use web_sys::{HtmlInputElement, HtmlSelectElement, HtmlTextAreaElement};
use yew::prelude::*;

/// What all inputs have in common: a label, help below it, an error in its place.
#[derive(Properties, PartialEq)]
pub struct FrameProps {
    /// Also the base of the ids of help and error.
    pub id: AttrValue,
    pub label: AttrValue,
    #[prop_or_default]
    pub help: Option<AttrValue>,
    #[prop_or_default]
    pub error: Option<AttrValue>,
    #[prop_or_default]
    pub optional: bool,
    pub children: Html,
}

#[component]
pub fn Frame(props: &FrameProps) -> Html {
    let FrameProps { id, label, help, error, optional, children } = props;
    html! {
        <div class={classes!("field", error.is_some().then_some("field-wrong"))}>
            <label for={id}>
                { label }
                if *optional {
                    <span class="optional">{ " optional" }</span>
                }
            </label>
            { children.clone() }
            if let Some(error) = error {
                <p class="field-error" id={format!("{id}-error")}>{ error }</p>
            }
            if let Some(help) = help.as_ref().filter(|help| !help.is_empty()) {
                <p class="field-help" id={format!("{id}-help")}>{ help }</p>
            }
        </div>
    }
}

/// The `aria-describedby` of an input inside a [`Frame`].
pub fn described_by(id: &str, help: bool, error: bool) -> Option<String> {
    let error = error.then(|| format!("{id}-error"));
    let help = help.then(|| format!("{id}-help"));
    let parts: Vec<String> = error.into_iter().chain(help).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[derive(Properties, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "attributes of an HTML element")]
pub struct TextInputProps {
    pub id: AttrValue,
    pub label: AttrValue,
    pub value: AttrValue,
    pub on_change: Callback<String>,
    #[prop_or(AttrValue::Static("text"))]
    pub kind: AttrValue,
    #[prop_or_default]
    pub help: Option<AttrValue>,
    #[prop_or_default]
    pub error: Option<AttrValue>,
    #[prop_or_default]
    pub optional: bool,
    #[prop_or_default]
    pub multiline: bool,
    /// For identifiers and file contents.
    #[prop_or_default]
    pub monospace: bool,
    #[prop_or_default]
    pub autofocus: bool,
    #[prop_or_default]
    pub disabled: bool,
    #[prop_or_default]
    pub autocomplete: Option<AttrValue>,
    #[prop_or_default]
    pub placeholder: Option<AttrValue>,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[component]
pub fn TextInput(props: &TextInputProps) -> Html {
    let node = use_node_ref();
    {
        let (node, wanted) = (node.clone(), props.autofocus);
        use_effect_with((), move |()| {
            if wanted && let Some(element) = node.cast::<web_sys::HtmlElement>() {
                // Dialogs go by the attribute; this is for pages. Fails only for what is not there.
                let _ = element.focus();
            }
        });
    }
    let p = props;
    let describedby =
        described_by(&p.id, p.help.as_ref().is_some_and(|h| !h.is_empty()), p.error.is_some());
    let class = classes!("input", p.monospace.then_some("mono"));
    let invalid = p.error.is_some().then_some("true");
    let input = if p.multiline {
        let oninput = p.on_change.reform(|event: InputEvent| {
            event.target_unchecked_into::<HtmlTextAreaElement>().value()
        });
        html! {
            <textarea ref={node} id={p.id.clone()} {class} value={p.value.clone()} {oninput} rows="4"
                placeholder={p.placeholder.clone()} disabled={p.disabled} spellcheck="false"
                autofocus={p.autofocus} aria-describedby={describedby} aria-invalid={invalid}
                data-testid={p.testid.clone()} />
        }
    } else {
        let oninput = p
            .on_change
            .reform(|event: InputEvent| event.target_unchecked_into::<HtmlInputElement>().value());
        html! {
            <input ref={node} id={p.id.clone()} type={p.kind.clone()} {class}
                value={p.value.clone()} {oninput} placeholder={p.placeholder.clone()}
                disabled={p.disabled} spellcheck="false" autocomplete={p.autocomplete.clone()}
                autofocus={p.autofocus}
                aria-describedby={describedby} aria-invalid={invalid}
                data-testid={p.testid.clone()} />
        }
    };
    html! {
        <Frame id={p.id.clone()} label={p.label.clone()} help={p.help.clone()}
            error={p.error.clone()} optional={p.optional}>
            { input }
        </Frame>
    }
}

/// Puts the cursor into the first input that is marked as wrong.
pub fn focus_first_wrong() {
    let found = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.query_selector("[aria-invalid='true']").ok()?)
        .and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(input) = found {
        // Fails only for what is not on the page.
        let _ = input.focus();
    }
}

#[derive(Properties, PartialEq)]
pub struct SelectProps {
    pub id: AttrValue,
    pub label: AttrValue,
    pub value: AttrValue,
    /// Value and text.
    pub options: Vec<(AttrValue, AttrValue)>,
    pub on_change: Callback<String>,
    #[prop_or_default]
    pub help: Option<AttrValue>,
    #[prop_or_default]
    pub error: Option<AttrValue>,
    #[prop_or_default]
    pub optional: bool,
    #[prop_or_default]
    pub disabled: bool,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[component]
pub fn Select(props: &SelectProps) -> Html {
    let p = props;
    let describedby =
        described_by(&p.id, p.help.as_ref().is_some_and(|h| !h.is_empty()), p.error.is_some());
    html! {
        <Frame id={p.id.clone()} label={p.label.clone()} help={p.help.clone()}
            error={p.error.clone()} optional={p.optional}>
            <select id={p.id.clone()} class="input" onchange={selected(&p.on_change)}
                disabled={p.disabled} aria-describedby={describedby}
                aria-invalid={p.error.is_some().then_some("true")} data-testid={p.testid.clone()}>
                { options(&p.options, &p.value) }
            </select>
        </Frame>
    }
}

#[derive(Properties, PartialEq)]
pub struct FilterSelectProps {
    /// Read out, not shown: the first option says it too.
    pub label: AttrValue,
    pub value: AttrValue,
    pub options: Vec<(AttrValue, AttrValue)>,
    pub on_change: Callback<String>,
    pub testid: AttrValue,
}

/// A choice in a list's filter bar.
#[component]
pub fn FilterSelect(props: &FilterSelectProps) -> Html {
    html! {
        <select class="input filter" aria-label={props.label.clone()}
            onchange={selected(&props.on_change)} data-testid={props.testid.clone()}>
            { options(&props.options, &props.value) }
        </select>
    }
}

fn selected(on_change: &Callback<String>) -> Callback<Event> {
    on_change.reform(|event: Event| {
        event
            .target()
            .and_then(|target| target.dyn_into::<HtmlSelectElement>().ok())
            .map(|select| select.value())
            .unwrap_or_default()
    })
}

fn options(options: &[(AttrValue, AttrValue)], chosen: &AttrValue) -> Html {
    options
        .iter()
        .map(|(value, text)| {
            html! {
                <option key={value.to_string()} value={value.clone()} selected={value == chosen}>
                    { text }
                </option>
            }
        })
        .collect()
}

#[derive(Properties, PartialEq)]
pub struct CheckboxProps {
    pub id: AttrValue,
    pub label: AttrValue,
    pub checked: bool,
    pub on_change: Callback<bool>,
    #[prop_or_default]
    pub help: Option<AttrValue>,
    #[prop_or_default]
    pub disabled: bool,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[component]
pub fn Checkbox(props: &CheckboxProps) -> Html {
    let p = props;
    let onchange = p.on_change.reform(|event: Event| {
        event
            .target()
            .and_then(|target| target.dyn_into::<HtmlInputElement>().ok())
            .is_some_and(|input| input.checked())
    });
    let help = p.help.as_ref().filter(|help| !help.is_empty());
    html! {
        <div class="field check">
            <label for={p.id.clone()}>
                <input id={p.id.clone()} type="checkbox" checked={p.checked} {onchange}
                    disabled={p.disabled} data-testid={p.testid.clone()}
                    aria-describedby={described_by(&p.id, help.is_some(), false)} />
                <span>{ &p.label }</span>
            </label>
            if let Some(help) = help {
                <p class="field-help" id={format!("{}-help", p.id)}>{ help }</p>
            }
        </div>
    }
}

#[derive(Properties, PartialEq)]
pub struct SearchInputProps {
    pub value: AttrValue,
    /// After a short pause in typing, so that not every letter asks the server.
    pub on_search: Callback<String>,
    pub placeholder: AttrValue,
    pub testid: AttrValue,
}

/// The search of a page; the key `/` goes to it.
#[component]
pub fn SearchInput(props: &SearchInputProps) -> Html {
    const PAUSE_MS: u32 = 250;
    let typed = use_state_eq(|| props.value.to_string());
    let timer = use_mut_ref(|| None::<gloo_timers::callback::Timeout>);
    {
        // An address with another query (back button) is shown too.
        let typed = typed.setter();
        use_effect_with(props.value.clone(), move |value| typed.set(value.to_string()));
    }
    let oninput = {
        let (typed, on_search) = (typed.setter(), props.on_search.clone());
        Callback::from(move |event: InputEvent| {
            let text = event.target_unchecked_into::<HtmlInputElement>().value();
            typed.set(text.clone());
            let on_search = on_search.clone();
            *timer.borrow_mut() = Some(gloo_timers::callback::Timeout::new(PAUSE_MS, move || {
                on_search.emit(text);
            }));
        })
    };
    html! {
        <div class="search">
            <super::icon::Icon glyph={super::icon::Glyph::Search} />
            <input type="search" class="input" value={(*typed).clone()} {oninput} data-search="page"
                placeholder={props.placeholder.clone()} aria-label={props.placeholder.clone()}
                data-testid={props.testid.clone()} autocomplete="off" spellcheck="false" />
            <kbd aria-hidden="true">{ "/" }</kbd>
        </div>
    }
}
