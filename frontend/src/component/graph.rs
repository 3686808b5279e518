//! Assets and their relations as a drawing, with the same in words.
//!
//! Every box is a link. Where there is no room for the drawing, the list stands in its place.

use yew::prelude::*;

use super::icon::{Glyph, Icon, Sign};
use super::link::Link;
use crate::format;
use crate::graph::{BOX_HEIGHT, BOX_WIDTH, Drawing, Edge, Line, Node, Place, fitting, layout};
use crate::route::Route;

/// Letters of a name that fit into a box, and of the words below it.
const NAME_LETTERS: usize = 20;
const KIND_LETTERS: usize = 24;
const CRITICAL_LETTERS: usize = 13;

#[derive(Properties, PartialEq)]
pub struct GraphProps {
    /// What the drawing shows, for those who do not see it.
    pub label: AttrValue,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    /// What a band means.
    pub band: Callback<i32, AttrValue>,
    /// Everything that is drawn, and more, in words.
    pub list: Html,
    /// The list is open.
    #[prop_or_default]
    pub open: bool,
}

#[component]
pub fn Graph(props: &GraphProps) -> Html {
    let drawing =
        use_memo((props.nodes.clone(), props.edges.clone()), |(nodes, edges)| layout(nodes, edges));
    html! {
        <div class="graph" data-testid="graph">
            <div class="graph-frame">{ drawn(props, &drawing) }</div>
            <details class="graph-words" open={props.open}>
                <summary>{ "The same as a list" }</summary>
                { props.list.clone() }
            </details>
            <div class="graph-narrow">{ props.list.clone() }</div>
        </div>
    }
}

fn drawn(props: &GraphProps, drawing: &Drawing) -> Html {
    let (width, height) = (drawing.width.to_string(), drawing.height.to_string());
    html! {
        <svg viewBox={format!("0 0 {width} {height}")} {width} {height} role="group"
            aria-label={props.label.clone()}>
            { for drawing.lines.iter().map(line) }
            { for drawing.bands.iter().map(|band| html! {
                <text class="graph-band" x={(drawing.width / 2).to_string()} y={band.y.to_string()}
                    text-anchor="middle">{ props.band.emit(band.layer) }</text>
            }) }
            { for drawing.places.iter().filter_map(|place| {
                props.nodes.get(place.node).map(|node| boxed(node, *place))
            }) }
        </svg>
    }
}

fn line(line: &Line) -> Html {
    let ((x1, y1), (x2, y2)) = (line.from, line.to);
    let middle = u32::midpoint(y1, y2);
    html! {
        <path class="graph-line" d={format!("M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}")} fill="none"
            stroke="currentColor" />
    }
}

fn boxed(node: &Node, place: Place) -> Html {
    let Place { x, y, .. } = place;
    let kind = format::humanise(&node.kind);
    let spoken = if node.critical {
        format!("{}, {kind}, critical", node.name)
    } else {
        format!("{}, {kind}", node.name)
    };
    let letters = if node.critical { CRITICAL_LETTERS } else { KIND_LETTERS };
    let class = classes!("graph-node", (node.layer == 0).then_some("centre"));
    html! {
        <Link to={Route::Asset { id: node.id }} {class} testid="graph-node" key={node.id.to_string()}>
            <title>{ spoken }</title>
            <rect x={x.to_string()} y={y.to_string()} width={BOX_WIDTH.to_string()} height={BOX_HEIGHT.to_string()}
                rx="6" />
            <text class="graph-name" x={(x + 10).to_string()} y={(y + 18).to_string()}>
                { fitting(&node.name, NAME_LETTERS) }
            </text>
            <text class="graph-kind" x={(x + 10).to_string()} y={(y + 33).to_string()}>
                { fitting(&kind, letters) }
            </text>
            if node.critical {
                <g class="graph-critical">
                    <Sign glyph={Glyph::Warning} x={x + BOX_WIDTH - 70} y={y + 24} />
                    <text x={(x + BOX_WIDTH - 10).to_string()} y={(y + 33).to_string()} text-anchor="end">
                        { "critical" }
                    </text>
                </g>
            }
        </Link>
    }
}

/// The mark of an asset that operators call critical, in a line of text.
pub fn critical() -> Html {
    html! { <span class="tag strong critical"><Icon glyph={Glyph::Warning} />{ "critical" }</span> }
}
