//! The fields of an asset that belong to operators, which discovery never touches.
//!
//! While somebody types, others may save: what was not touched here follows them, and where both changed the same
//! field, both are shown and nothing is lost.

use std::rc::Rc;

use nexplane_core::api::{AssetView, EditAssetRequest};
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use crate::component::choice::{Choices, Row};
use crate::component::input::{Checkbox, Select, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::toast::use_toaster;
use crate::merge::{Side, Three};
use crate::resource::use_mutation;
use crate::{api, words};

const ENVIRONMENTS: [Environment; 3] = [Environment::Prod, Environment::Staging, Environment::Dev];

/// The four fields, as they are typed and saved.
#[derive(Clone, PartialEq)]
struct Fields {
    owner: Three<String>,
    tags: Three<String>,
    critical: Three<bool>,
    environment: Three<Environment>,
}

impl Fields {
    fn of(asset: &AssetView) -> Self {
        fn same<T: Clone>(value: T) -> Three<T> {
            Three { base: value.clone(), mine: value.clone(), theirs: value }
        }
        Self {
            owner: same(asset.owner.clone().unwrap_or_default()),
            tags: same(asset.tags.join(", ")),
            critical: same(asset.critical),
            environment: same(asset.environment),
        }
    }

    /// What is saved now is this.
    fn saved(mut self, asset: &AssetView) -> Self {
        let saved = Self::of(asset);
        self.owner.theirs = saved.owner.theirs;
        self.tags.theirs = saved.tags.theirs;
        self.critical.theirs = saved.critical.theirs;
        self.environment.theirs = saved.environment.theirs;
        self.owner.follow();
        self.tags.follow();
        self.critical.follow();
        self.environment.follow();
        self
    }

    fn request(&self) -> EditAssetRequest {
        let tags = split_tags(&self.tags.mine);
        EditAssetRequest {
            owner: Some(self.owner.mine.trim().to_owned())
                .filter(|owner| *owner != self.owner.theirs),
            tags: (tags != split_tags(&self.tags.theirs)).then_some(tags),
            critical: self.critical.to_save(),
            environment: self.environment.to_save(),
        }
    }

    fn conflicts(&self) -> Vec<Row> {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let row =
            |name, label, base, mine, theirs| Row { name, label, base, mine, theirs, chosen: None };
        let Self { owner, tags, critical, environment } = self;
        let mut rows = Vec::new();
        if owner.conflicts() {
            let Three { base, mine, theirs } = owner.clone();
            rows.push(row("owner", "Owner", base, mine, theirs));
        }
        if tags.conflicts() {
            let Three { base, mine, theirs } = tags.clone();
            rows.push(row("tags", "Tags", base, mine, theirs));
        }
        if environment.conflicts() {
            let word = |one: Environment| one.as_str().to_owned();
            let Three { base, mine, theirs } = environment;
            rows.push(row("environment", "Environment", word(*base), word(*mine), word(*theirs)));
        }
        if critical.conflicts() {
            let Three { base, mine, theirs } = critical;
            rows.push(row("critical", "Critical", yes(*base), yes(*mine), yes(*theirs)));
        }
        rows
    }

    fn choose(mut self, field: &str, side: Side) -> Self {
        match field {
            "owner" => self.owner.choose(side),
            "tags" => self.tags.choose(side),
            "environment" => self.environment.choose(side),
            "critical" => self.critical.choose(side),
            _ => {}
        }
        self
    }
}

/// What happens to the form; in the order in which it happens.
enum Step {
    Typed(Box<dyn FnOnce(&mut Fields)>),
    Saved(Rc<AssetView>),
    Chosen(&'static str, Side),
}

impl Reducible for Fields {
    type Action = Step;

    fn reduce(self: Rc<Self>, step: Step) -> Rc<Self> {
        let mut fields = (*self).clone();
        Rc::new(match step {
            Step::Typed(edit) => {
                edit(&mut fields);
                fields
            }
            Step::Saved(asset) => fields.saved(&asset),
            Step::Chosen(field, side) => fields.choose(field, side),
        })
    }
}

#[derive(Properties, PartialEq)]
pub struct OwnedProps {
    pub asset: Rc<AssetView>,
    /// Who saved these fields last, and when.
    pub who: Option<(String, Timestamp)>,
    pub on_saved: Callback<AssetView>,
    /// It is not what it was: read it again.
    pub on_stale: Callback<()>,
}

#[component]
pub fn Owned(props: &OwnedProps) -> Html {
    let asset = &props.asset;
    let fields = use_reducer(|| Fields::of(asset));
    let save = use_mutation();
    let toaster = use_toaster();
    {
        let fields = fields.dispatcher();
        use_effect_with(Rc::clone(asset), move |asset| {
            fields.dispatch(Step::Saved(Rc::clone(asset)));
        });
    }
    let stale = save.error().and_then(api::ApiError::code) == Some("conflict.version");
    {
        let on_stale = props.on_stale.clone();
        use_effect_with(save.error().cloned(), move |_| {
            if stale {
                on_stale.emit(());
            }
        });
    }
    let typed = |edit: fn(&mut Fields, String)| {
        let fields = fields.dispatcher();
        Callback::from(move |text: String| {
            fields.dispatch(Step::Typed(Box::new(move |fields| edit(fields, text))));
        })
    };
    let conflicts = fields.conflicts();
    let request = fields.request();
    let unchanged = request == EditAssetRequest::default();
    let onsubmit = {
        let (save, on_saved) = (save.clone(), props.on_saved.clone());
        let (id, version) = (asset.id, asset.version);
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (request, on_saved, toaster) = (request.clone(), on_saved.clone(), toaster.clone());
            save.start(
                async move { api::patch(&format!("/assets/{id}"), &request, Some(version)).await },
                move |saved| {
                    toaster.say("Saved.");
                    on_saved.emit(saved);
                },
            );
        })
    };
    let on_critical = {
        let fields = fields.dispatcher();
        move |on: bool| {
            fields.dispatch(Step::Typed(Box::new(move |fields| fields.critical.mine = on)));
        }
    };
    let on_choose = {
        let fields = fields.dispatcher();
        Callback::from(move |(field, side)| fields.dispatch(Step::Chosen(field, side)))
    };
    html! {
        <section class="panel" aria-labelledby="owned-title">
            <h2 id="owned-title">{ "Yours to say" }</h2>
            <form {onsubmit} class="form tight">
                <TextInput id="owner" label="Owner" value={fields.owner.mine.clone()} optional=true testid="asset-owner"
                    on_change={typed(|fields, text| fields.owner.mine = text)} />
                <TextInput id="tags" label="Tags" value={fields.tags.mine.clone()} optional=true help="Separated by commas."
                    on_change={typed(|fields, text| fields.tags.mine = text)} testid="asset-tags" />
                <Select id="environment" label="Environment" value={fields.environment.mine.as_str()}
                    options={ENVIRONMENTS.map(|one| (one.as_str().into(), words::environment(one).into())).to_vec()}
                    on_change={typed(|fields, word| {
                        if let Some(one) = ENVIRONMENTS.into_iter().find(|one| one.as_str() == word) {
                            fields.environment.mine = one;
                        }
                    })} testid="asset-environment" />
                <Checkbox id="critical" label="Critical" checked={fields.critical.mine} testid="asset-critical"
                    on_change={on_critical}
                    help="Weighs more in the risk of changes to what it depends on." />
                if !conflicts.is_empty() {
                    <Choices rows={conflicts.clone()} who={props.who.clone()} {on_choose} />
                } else if let Some(error) = save.error().filter(|_| !(stale && unchanged)) {
                    <ProblemNote error={error.clone()} />
                    if stale {
                        <p class="small">{ "It was read again, and what you typed is still here. Save it again." }</p>
                    }
                }
                <div class="actions">
                    <button class="button" disabled={unchanged || save.busy() || !conflicts.is_empty()}
                        data-testid="asset-save">{ "Save" }</button>
                </div>
            </form>
        </section>
    }
}

fn split_tags(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_trimmed() {
        assert_eq!(split_tags(" a, b,, c "), ["a", "b", "c"]);
        assert!(split_tags(" ").is_empty());
    }
}
