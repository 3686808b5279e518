//! Grey bars that keep the place of what is being read.

use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct SkeletonProps {
    /// As many lines as are usually there.
    #[prop_or(8)]
    pub lines: usize,
}

#[component]
pub fn Skeleton(props: &SkeletonProps) -> Html {
    html! {
        <div class="skeleton" role="status" aria-label="Reading" data-testid="skeleton">
            { for (0..props.lines).map(|line| html! {
                <div class={classes!("skeleton-line", format!("skeleton-{}", line % 4))}></div>
            }) }
        </div>
    }
}
