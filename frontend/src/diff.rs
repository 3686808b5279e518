//! What exactly changes, line by line.

use nexplane_core::plan::DiffLine;
use serde_json::Value;

use crate::format;

/// All diff lines of one target, in the plan's order.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetDiff {
    pub target: String,
    pub fields: Vec<FieldDiff>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldDiff {
    pub field: String,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Same(String),
    Removed(String),
    Added(String),
    /// That many unchanged lines are left out.
    Skipped(usize),
    /// That many lines follow that are not shown here.
    More(usize),
}

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Above this many comparisons the middle is shown as removed and added as a whole.
const COMPARISONS: usize = 1_000_000;

pub fn by_target(diff: &[DiffLine]) -> Vec<TargetDiff> {
    let mut targets: Vec<TargetDiff> = Vec::new();
    for line in diff {
        let field =
            FieldDiff { field: line.field.clone(), lines: values(&line.before, &line.after) };
        match targets.iter_mut().find(|target| target.target == line.target) {
            Some(target) => target.fields.push(field),
            None => targets.push(TargetDiff { target: line.target.clone(), fields: vec![field] }),
        }
    }
    targets
}

/// Two values as lines; `null` is "absent" and gives no line of its own.
pub fn values(before: &Value, after: &Value) -> Vec<Line> {
    let text = |value: &Value| (!value.is_null()).then(|| format::json(value));
    match (text(before), text(after)) {
        (None, None) => Vec::new(),
        (Some(before), None) => before.lines().map(removed).collect(),
        (None, Some(after)) if after.is_empty() => vec![added("(empty)")],
        (None, Some(after)) => after.lines().map(added).collect(),
        (Some(before), Some(after)) => texts(&before, &after),
    }
}

/// Two texts, line by line.
pub fn texts(before: &str, after: &str) -> Vec<Line> {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(start..).unwrap_or(&[]), new.get(start..).unwrap_or(&[]));
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let old_middle = old_rest.get(..old_rest.len() - end).unwrap_or(&[]);
    let new_middle = new_rest.get(..new_rest.len() - end).unwrap_or(&[]);

    let mut lines: Vec<Line> = old.iter().take(start).map(|line| same(line)).collect();
    if old_middle.len().saturating_mul(new_middle.len()) > COMPARISONS {
        lines.extend(old_middle.iter().map(|line| removed(line)));
        lines.extend(new_middle.iter().map(|line| added(line)));
    } else {
        longest_common(old_middle, new_middle, &mut lines);
    }
    lines.extend(old_rest.iter().skip(old_middle.len()).map(|line| same(line)));
    shorten(lines)
}

/// The middle by the longest common subsequence, removed lines before added ones.
fn longest_common(old: &[&str], new: &[&str], lines: &mut Vec<Line>) {
    let width = new.len() + 1;
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    let at = |lengths: &[u32], i: usize, j: usize| lengths.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let length = if a == b {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(cell) = lengths.get_mut(i * width + j) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(same(a));
                i += 1;
                j += 1;
            }
            (Some(a), b) if b.is_none() || at(&lengths, i + 1, j) >= at(&lengths, i, j + 1) => {
                lines.push(removed(a));
                i += 1;
            }
            (_, Some(b)) => {
                lines.push(added(b));
                j += 1;
            }
            (_, None) => break,
        }
    }
}

/// Shows the first `limit` lines, not counting unchanged ones at the start.
pub fn cut(lines: &mut Vec<Line>, limit: usize) {
    let start = lines
        .iter()
        .take_while(|line| matches!(line, Line::Same(_) | Line::Skipped(_)))
        .count()
        .min(lines.len());
    lines.drain(..start);
    if lines.len() > limit {
        let hidden = lines.len() - limit;
        lines.truncate(limit);
        lines.push(Line::More(hidden));
    }
}

/// Leaves out unchanged lines that are far from any change.
fn shorten(lines: Vec<Line>) -> Vec<Line> {
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(index, _)| index)
        .collect();
    let near = |index: usize| {
        // The changes are sorted: only the neighbours of this place can be the nearest.
        let next = changed.partition_point(|change| *change < index);
        [next.checked_sub(1), Some(next)]
            .into_iter()
            .flatten()
            .filter_map(|place| changed.get(place))
            .any(|change| change.abs_diff(index) <= CONTEXT)
    };
    let mut shown = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        if near(index) {
            shown.push(line);
        } else if let Some(Line::Skipped(count)) = shown.last_mut() {
            *count += 1;
        } else {
            shown.push(Line::Skipped(1));
        }
    }
    shown
}

fn same(line: &str) -> Line {
    Line::Same(line.to_owned())
}

fn removed(line: &str) -> Line {
    Line::Removed(line.to_owned())
}

fn added(line: &str) -> Line {
    Line::Added(line.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signs(lines: &[Line]) -> String {
        lines
            .iter()
            .map(|line| match line {
                Line::Same(text) => format!(" {text}"),
                Line::Removed(text) => format!("-{text}"),
                Line::Added(text) => format!("+{text}"),
                Line::Skipped(count) => format!("~{count}"),
                Line::More(count) => format!(">{count}"),
            })
            .collect::<Vec<_>>()
            .join("|")
    }

    #[test]
    fn one_value_becomes_two_lines() {
        assert_eq!(signs(&values(&json!(true), &json!(false))), "-yes|+no");
        assert_eq!(signs(&values(&json!(null), &json!("new"))), "+new");
        assert_eq!(signs(&values(&json!("old"), &json!(null))), "-old");
        assert_eq!(signs(&values(&json!(null), &json!(""))), "+(empty)");
        assert_eq!(signs(&values(&json!(null), &json!(null))), "");
    }

    #[test]
    fn lists_are_compared_item_by_item() {
        assert_eq!(signs(&values(&json!(["a", "b"]), &json!(["a", "c", "b"]))), " a|+c| b");
    }

    #[test]
    fn far_lines_are_left_out() {
        let old: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[9] = "ten".to_owned();
        assert_eq!(
            signs(&values(&json!(old.join("\n")), &json!(new.join("\n")))),
            "~6| 7| 8| 9|-10|+ten| 11| 12| 13|~7"
        );
    }

    #[test]
    fn a_cut_starts_at_the_change() {
        let mut lines = texts("a\nb\nc\nd", "a\nx\ny\nz");
        cut(&mut lines, 3);
        assert_eq!(signs(&lines), "-b|-c|-d|>3");
        let mut short = texts("a", "b");
        cut(&mut short, 3);
        assert_eq!(signs(&short), "-a|+b");
    }

    #[test]
    fn moved_lines_keep_their_common_part() {
        assert_eq!(signs(&texts("a\nb\nc\nd", "b\nc\nx\nd\ne")), "-a| b| c|+x| d|+e");
        assert_eq!(signs(&texts("", "a")), "+a");
        assert_eq!(signs(&texts("a\nb", "")), "-a|-b");
    }

    #[test]
    fn huge_texts_do_not_hang() {
        let old = (0..1_500).map(|n| format!("old {n}")).collect::<Vec<_>>().join("\n");
        let new = (0..1_500).map(|n| format!("new {n}")).collect::<Vec<_>>().join("\n");
        assert_eq!(texts(&old, &new).len(), 3_000);
    }

    #[test]
    fn lines_are_grouped_by_target() {
        let line = |target: &str, field: &str| DiffLine {
            target: target.to_owned(),
            field: field.to_owned(),
            before: json!(1),
            after: json!(2),
        };
        let targets = by_target(&[line("a", "x"), line("b", "x"), line("a", "y")]);
        assert_eq!(targets.len(), 2);
        assert_eq!(targets[0].fields.len(), 2);
    }
}
