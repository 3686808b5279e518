//! Where the boxes of a small graph go: in bands, by how far they are from the centre.
//!
//! Pure: the same graph is always drawn in the same way. No box overlaps another, and the drawing is never wider than
//! four boxes. What does not fit is counted, and said in words next to it.

use std::collections::BTreeMap;

use nexplane_core::id::AssetId;

/// Boxes in a row.
const COLUMNS: usize = 4;
/// Boxes that are drawn, at most: more is a list and no picture.
pub const MOST: usize = 28;

/// All in the units of the drawing, which are pixels.
pub const BOX_WIDTH: u32 = 164;
pub const BOX_HEIGHT: u32 = 42;
const GAP_X: u32 = 14;
const GAP_Y: u32 = 16;
/// Above the rows of a band, for its name.
const BAND_NAME: u32 = 24;
/// Between bands, for the lines.
const BAND_GAP: u32 = 22;
/// Around everything, for outlines.
const EDGE: u32 = 3;

/// An asset in a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: AssetId,
    pub name: String,
    /// What kind of thing it is.
    pub kind: String,
    pub critical: bool,
    /// Its band: 0 is the centre, others are above (negative) or below.
    pub layer: i32,
}

/// A relation between two nodes, whichever way it points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: AssetId,
    pub to: AssetId,
}

/// A node and its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the node.
    pub node: usize,
    pub x: u32,
    pub y: u32,
}

/// The base line of a band's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    pub layer: i32,
    pub y: u32,
}

/// From the lower side of a box to the upper side of one in a band further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub from: (u32, u32),
    pub to: (u32, u32),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    pub places: Vec<Place>,
    pub bands: Vec<Band>,
    pub lines: Vec<Line>,
    pub width: u32,
    pub height: u32,
    /// Nodes that are not drawn.
    pub left_out: usize,
}

/// Nodes stay in the order in which they come, within their band. Nodes that come twice are drawn once.
pub fn layout(nodes: &[Node], edges: &[Edge]) -> Drawing {
    let chosen = choose(nodes);
    let mut bands: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for index in &chosen {
        if let Some(node) = nodes.get(*index) {
            bands.entry(node.layer).or_default().push(*index);
        }
    }
    let widest = bands.values().map(Vec::len).max().unwrap_or(0).min(COLUMNS);
    let width = columns(widest) + 2 * EDGE;
    let mut drawing =
        Drawing { width, left_out: distinct(nodes).len() - chosen.len(), ..Drawing::default() };
    let mut y = EDGE;
    for (layer, members) in bands {
        drawing.bands.push(Band { layer, y: y + BAND_NAME - 8 });
        y += BAND_NAME;
        for row in members.chunks(COLUMNS) {
            // Rows that are not full are in the middle.
            let mut x = (width - columns(row.len())) / 2;
            for node in row {
                drawing.places.push(Place { node: *node, x, y });
                x += BOX_WIDTH + GAP_X;
            }
            y += BOX_HEIGHT + GAP_Y;
        }
        y += BAND_GAP - GAP_Y;
    }
    drawing.height = (y + EDGE).saturating_sub(BAND_GAP);
    drawing.lines = lines(nodes, edges, &drawing.places);
    drawing
}

/// The width of so many boxes next to each other.
fn columns(count: usize) -> u32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    (count * (BOX_WIDTH + GAP_X)).saturating_sub(GAP_X)
}

/// Indices of the first of each asset.
fn distinct(nodes: &[Node]) -> Vec<usize> {
    let mut seen = std::collections::BTreeSet::new();
    nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| seen.insert(node.id))
        .map(|(index, _)| index)
        .collect()
}

/// Those that are drawn: the nearest first, and of those as far away as each other, the bands take turns.
fn choose(nodes: &[Node]) -> Vec<usize> {
    let mut turn: BTreeMap<i32, usize> = BTreeMap::new();
    let mut order: Vec<(u32, usize, usize)> = distinct(nodes)
        .into_iter()
        .filter_map(|index| {
            let layer = nodes.get(index)?.layer;
            let turn = turn.entry(layer).or_default();
            *turn += 1;
            Some((layer.unsigned_abs(), *turn, index))
        })
        .collect();
    order.sort_unstable();
    let mut chosen: Vec<usize> = order.into_iter().take(MOST).map(|(.., index)| index).collect();
    chosen.sort_unstable();
    chosen
}

fn lines(nodes: &[Node], edges: &[Edge], places: &[Place]) -> Vec<Line> {
    let at: BTreeMap<AssetId, (i32, Place)> = places
        .iter()
        .filter_map(|place| nodes.get(place.node).map(|node| (node.id, (node.layer, *place))))
        .collect();
    let mut lines: Vec<Line> = edges
        .iter()
        .filter_map(|edge| {
            let ends = (at.get(&edge.from)?, at.get(&edge.to)?);
            let (upper, lower) = match ends {
                (one, other) if one.0 < other.0 => (one.1, other.1),
                (one, other) if one.0 > other.0 => (other.1, one.1),
                // Within a band there is no room for a line; the list says it.
                _ => return None,
            };
            Some(Line {
                from: (upper.x + BOX_WIDTH / 2, upper.y + BOX_HEIGHT),
                to: (lower.x + BOX_WIDTH / 2, lower.y),
            })
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// A name that fits into a box.
pub fn fitting(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> AssetId {
        AssetId(Uuid::from_u128(number))
    }

    fn node(number: u128, layer: i32) -> Node {
        let (name, kind) = (format!("asset {number}"), "host".to_owned());
        Node { id: id(number), name, kind, critical: false, layer }
    }

    /// A graph of some size with bands on both sides.
    fn graph(count: u128) -> (Vec<Node>, Vec<Edge>) {
        let layer = |n: u128| i32::try_from(n % 7).unwrap() - 3;
        let nodes = (0..count).map(|n| node(n, layer(n))).collect();
        let edges = (1..count).map(|n| Edge { from: id(n), to: id(n / 2) }).collect();
        (nodes, edges)
    }

    #[test]
    fn nothing_overlaps_and_nothing_is_outside() {
        for count in [0, 1, 2, 5, 13, 28, 29, 400] {
            let (nodes, edges) = graph(count);
            let drawing = layout(&nodes, &edges);
            let all = usize::try_from(count).unwrap();
            assert_eq!(drawing.places.len(), all.min(MOST), "{count}");
            assert_eq!(drawing.left_out, all.saturating_sub(MOST), "{count}");
            for (index, one) in drawing.places.iter().enumerate() {
                assert!(one.x >= EDGE && one.x + BOX_WIDTH + EDGE <= drawing.width, "{count}");
                assert!(one.y >= EDGE && one.y + BOX_HEIGHT + EDGE <= drawing.height, "{count}");
                for other in &drawing.places[index + 1..] {
                    let beside = one.x.abs_diff(other.x) >= BOX_WIDTH;
                    let above = one.y.abs_diff(other.y) >= BOX_HEIGHT;
                    assert!(beside || above, "{count}: {one:?} and {other:?}");
                }
            }
            for band in &drawing.bands {
                let hidden = drawing
                    .places
                    .iter()
                    .any(|place| (place.y..place.y + BOX_HEIGHT).contains(&band.y));
                assert!(!hidden, "{count}: the name of band {} is behind a box", band.layer);
            }
        }
    }

    #[test]
    fn the_size_is_bounded() {
        let (nodes, edges) = graph(5_000);
        let drawing = layout(&nodes, &edges);
        assert!(drawing.width <= 4 * (BOX_WIDTH + GAP_X) + 2 * EDGE);
        let rows = u32::try_from(MOST).unwrap();
        assert!(drawing.height <= rows * (BOX_HEIGHT + GAP_Y + BAND_NAME + BAND_GAP));
    }

    #[test]
    fn the_same_graph_is_drawn_the_same() {
        let (nodes, edges) = graph(40);
        assert_eq!(layout(&nodes, &edges), layout(&nodes, &edges));
        let mut other = edges.clone();
        other.reverse();
        assert_eq!(
            layout(&nodes, &edges),
            layout(&nodes, &other),
            "lines have an order of their own"
        );
    }

    #[test]
    fn the_nearest_are_drawn_and_sides_take_turns() {
        let mut nodes = vec![node(0, 0)];
        nodes.extend((1..=100).map(|n| node(n, 1)));
        nodes.extend((101..=120).map(|n| node(n, -1)));
        nodes.extend((201..=210).map(|n| node(n, 2)));
        let drawing = layout(&nodes, &[]);
        let layer = |place: &Place| nodes[place.node].layer;
        let drawn = |wanted| drawing.places.iter().filter(|place| layer(place) == wanted).count();
        assert_eq!((drawn(0), drawn(1), drawn(-1), drawn(2)), (1, 14, 13, 0));
        // Above is above.
        let y = |wanted| drawing.places.iter().find(|place| layer(place) == wanted).unwrap().y;
        assert!(y(-1) < y(0) && y(0) < y(1));
    }

    #[test]
    fn a_line_leads_down_from_one_band_to_another() {
        let nodes = [node(1, 0), node(2, 1), node(3, 1)];
        let edge = |from, to| Edge { from: id(from), to: id(to) };
        // Both directions of one relation are one line; within a band and to nowhere there is none.
        let edges = [edge(2, 1), edge(1, 2), edge(2, 3), edge(1, 9)];
        let drawing = layout(&nodes, &edges);
        let [line] = drawing.lines[..] else { panic!("{:?}", drawing.lines) };
        assert!(line.from.1 < line.to.1);
        let first = drawing.places[0];
        assert_eq!(line.from, (first.x + BOX_WIDTH / 2, first.y + BOX_HEIGHT));
    }

    #[test]
    fn what_comes_twice_is_drawn_once() {
        let drawing = layout(&[node(1, 0), node(1, 1), node(2, 1)], &[]);
        assert_eq!((drawing.places.len(), drawing.left_out), (2, 0));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(fitting("app_orders", 10), "app_orders");
        assert_eq!(fitting("app_orders_eu", 10), "app_order…");
        assert_eq!(fitting("äöü", 2), "ä…");
    }
}
