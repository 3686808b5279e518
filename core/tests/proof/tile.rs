use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::proof::tile::*;
use nexplane_core::proof::tree::*;
use nexplane_core::proof::{bundle, tree};
use proptest::prelude::*;

use crate::{Tree, cases, leaf};

/// The files that a log of this size has written while it grew, with steps of these sizes.
fn written(steps: &[u64]) -> (BTreeMap<String, Vec<u8>>, u64) {
    let mut files = BTreeMap::new();
    let mut rows: BTreeMap<(u8, u64), Vec<Hash>> = BTreeMap::new();
    let mut frontier = Frontier::new();
    for step in steps {
        let old = frontier.size();
        for index in old..old + step {
            let store = |node: Node, hash| {
                if node.level.is_multiple_of(HEIGHT) {
                    let place = (node.level / HEIGHT, node.index / u64::from(WIDTH));
                    rows.entry(place).or_default().push(hash);
                }
            };
            frontier.append_each(leaf(index), store).unwrap();
        }
        for tile in changed(old, old + step).unwrap() {
            let row = &rows[&(tile.level(), tile.index())];
            files.insert(tile.to_string(), row[..usize::from(tile.width())].concat());
        }
    }
    (files, frontier.size())
}

fn fetch(files: &BTreeMap<String, Vec<u8>>) -> impl FnMut(Tile) -> Result<Vec<u8>, String> {
    |tile| files.get(&tile.to_string()).cloned().ok_or_else(|| tile.to_string())
}

#[test]
fn proofs_from_tiles_of_three_levels_are_those_from_leaves() {
    let (files, size) = written(&[70_000]);
    assert_eq!(files.len(), 273 + 1 + 1 + 1 + 1);
    assert_eq!(files["tile/2/000.p/1"].len(), 32);
    let tree = Tree::of_size(size);
    let head = root(size, |node| tree.read(node)).unwrap();
    assert_eq!(root(size, reader(size, fetch(&files))), Ok(head));
    for other in [0, 255, 256, 65_535, 65_536, 69_888, 69_999] {
        let proof = inclusion_proof(other, size, reader(size, fetch(&files))).unwrap();
        assert_eq!(verify_inclusion(other, size, &leaf(other), &proof, &head), Ok(()));
        assert_eq!(Ok(proof), inclusion_proof(other, size, |node| tree.read(node)));
        let proof = consistency_proof(other, size, reader(size, fetch(&files))).unwrap();
        assert_eq!(Ok(proof), consistency_proof(other, size, |node| tree.read(node)));
    }
    // From the top down, every hash of a tile is the one over the full tile below.
    for tile in tiles(size).unwrap().filter(|tile| tile.level() > 0) {
        for (node, hash) in tile.nodes().zip(tile.decode(&files[&tile.to_string()]).unwrap()) {
            let below = Tile::try_new(tile.level() - 1, node.index, WIDTH).unwrap();
            let hashes = below.decode(&files[&below.to_string()]).unwrap();
            assert_eq!(parent(&hashes), Ok(hash));
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    /// A log that grows in steps can prove everything about every size at which it stopped.
    #[test]
    fn proofs_from_tiles_are_those_from_leaves(
        steps in prop::collection::vec(1..300_u64, 1..6),
        place: prop::sample::Index,
    ) {
        let (files, size) = written(&steps);
        let tree = Tree::of_size(size);
        let sizes = steps.iter().scan(0, |size, step| { *size += step; Some(*size) });
        for size in sizes {
            let read = || reader(size, fetch(&files));
            let other = place.index(usize::try_from(size).unwrap()) as u64;
            prop_assert_eq!(root(size, read()), Ok(tree::root(size, |node| tree.read(node)).unwrap()));
            let proof = inclusion_proof(other, size, read()).unwrap();
            prop_assert_eq!(Ok(proof), inclusion_proof(other, size, |node| tree.read(node)));
            let proof = consistency_proof(other, size, read()).unwrap();
            prop_assert_eq!(Ok(proof), consistency_proof(other, size, |node| tree.read(node)));
            // What is said to be needed is all that is fetched.
            let nodes = inclusion_nodes(other, size).unwrap();
            let needed: BTreeSet<_> = needed(&nodes, size).unwrap().into_iter().collect();
            let mut fetched = BTreeSet::new();
            let mut from = fetch(&files);
            let read = reader(size, |tile| { fetched.insert(tile); from(tile) });
            inclusion_proof(other, size, read).unwrap();
            prop_assert_eq!(fetched, needed);
        }
    }

    #[test]
    fn a_changed_tile_leads_to_another_root(
        size in 1..600_u64,
        place: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let (mut files, _) = written(&[size]);
        let head = root(size, reader(size, fetch(&files))).unwrap();
        let index = place.index(usize::try_from(size).unwrap()) as u64;
        let proof = inclusion_proof(index, size, reader(size, fetch(&files))).unwrap();
        let tile = Tile::holding(Node::leaf(index), size).unwrap();
        let file = files.get_mut(&tile.to_string()).unwrap();
        // A neighbour's hash, so that the proof is made from it; alone in a tree there is none.
        let neighbour = usize::try_from((index ^ 1) % u64::from(WIDTH)).unwrap();
        let Some(byte) = file.get_mut(neighbour * 32 + 7) else { return Ok(()) };
        *byte ^= 1 << bit;
        let changed = inclusion_proof(index, size, reader(size, fetch(&files))).unwrap();
        prop_assert_ne!(&changed, &proof);
        prop_assert!(verify_inclusion(index, size, &leaf(index), &changed, &head).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf(index), &proof, &head).is_ok());
    }

    #[test]
    fn changed_tiles_are_the_difference(old in 0..140_000_u64, more in 0..70_000_u64) {
        let new = old + more;
        let all = |size| tiles(size).unwrap().collect::<BTreeSet<_>>();
        let added: Vec<_> = changed(old, new).unwrap().collect();
        let expected: Vec<_> = all(new).difference(&all(old)).copied().collect();
        prop_assert_eq!(&added, &expected);
        // The definition in tlog-tiles: floor(s / 256^l) hashes of level l.
        for level in 0..8 {
            let hashes: u64 = all(new)
                .iter()
                .filter(|tile| tile.level() == level)
                .map(|tile| u64::from(tile.width()))
                .sum();
            prop_assert_eq!(hashes, new / 256_u64.pow(level.into()));
        }
        let bundles: Vec<_> =
            bundle::changed(old, new).unwrap().map(|bundle| (bundle.index(), bundle.width())).collect();
        let leaves = expected.iter().filter(|tile| tile.level() == 0);
        prop_assert_eq!(bundles, leaves.map(|tile| (tile.index(), tile.width())).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn paths_are_read_as_they_are_written(
        level in 0..9_u8,
        index: u64,
        shift in 0..64_u32,
        width in 0..=257_u16,
    ) {
        if let Ok(tile) = Tile::try_new(level, index >> shift, width) {
            let path = tile.to_string();
            prop_assert_eq!(path.parse(), Ok(tile));
            prop_assert_eq!(tile.nodes().count(), usize::from(width));
            let last = tile.nodes().last().unwrap();
            prop_assert!(last.complete_from().is_some());
            prop_assert_eq!(Tile::holding(last, last.complete_from().unwrap()), Some(tile));
        }
    }

    #[test]
    fn only_written_paths_are_read(
        path in "tile/([0-8]{1,2}|entries|records)/(x?[0-9]{1,3}/){0,7}x?[0-9]{2,4}(\\.p/[0-9]{1,3})?/?",
    ) {
        if let Ok(tile) = path.parse::<Tile>() {
            prop_assert_eq!(tile.to_string(), path.clone());
        }
        for format in [bundle::Format::Entries, bundle::Format::Records] {
            if let Ok(bundle) = bundle::Bundle::parse(&path, format) {
                prop_assert_eq!(bundle.path(format), path.clone());
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(50))]

    #[test]
    fn bundles_are_read_as_they_are_written(
        records in prop::collection::vec("[^\n]{1,20}", 1..=256),
        junk in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        use bundle::{Bundle, Format};
        let of = |width: usize| Bundle::try_new(3, u16::try_from(width).unwrap()).unwrap();
        let width = records.len();
        for format in [Format::Entries, Format::Records] {
            let file = of(width).encode(format, &records).unwrap();
            let again = of(width).decode(format, &file).unwrap();
            prop_assert!(again.iter().eq(&records.iter().map(String::as_bytes).collect::<Vec<_>>()));
            prop_assert!(of(width).decode(format, &file[..file.len() - 1]).is_err());
            prop_assert!(of(width % 256 + 1).decode(format, &file).is_err());
            // Whatever is read is what would be written.
            if let Ok(read) = of(2).decode(format, &junk) {
                prop_assert_eq!(of(2).encode(format, &read), Ok(junk.clone()));
            }
        }
    }
}
