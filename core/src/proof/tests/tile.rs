//! The examples of C2SP tlog-tiles, and what is not a tile.

use crate::proof::tile::*;
use crate::proof::tree::{EMPTY_ROOT, MAX_SIZE, Node, OutOfRange, leaf_hash, node_hash};

fn tile(level: u8, index: u64, width: u16) -> Tile {
    Tile::try_new(level, index, width).unwrap()
}

/// As (level, how many full ones, the widths of the partial ones).
fn summary(size: u64) -> Vec<(u8, usize, Vec<u16>)> {
    let all: Vec<_> = tiles(size).unwrap().collect();
    (0..8)
        .map(|level| {
            let of_level = || all.iter().filter(move |tile| tile.level() == level);
            let partial = of_level().filter(|tile| !tile.is_full()).map(|tile| tile.width());
            (level, of_level().filter(|tile| tile.is_full()).count(), partial.collect::<Vec<_>>())
        })
        .filter(|(_, full, partial)| *full > 0 || !partial.is_empty())
        .collect()
}

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(tile(0, 0, 256).to_string(), "tile/0/000");
    assert_eq!(tile(1, 1_234_067, 256).to_string(), "tile/1/x001/x234/067");
    assert_eq!(tile(0, 273, 112).to_string(), "tile/0/273.p/112");
    assert_eq!(tile(2, 1000, 1).to_string(), "tile/2/x001/000.p/1");
    assert_eq!("tile/1/x001/x234/067".parse(), Ok(tile(1, 1_234_067, 256)));
    assert_eq!("tile/0/273.p/112".parse(), Ok(tile(0, 273, 112)));
}

#[test]
fn other_forms_of_a_path_are_refused() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/00/000",
        "tile/+0/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/+00",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x001",
        "tile/0/X001/000",
        "tile/0/x01/000",
        "tile/0/1000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/65536",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/8/000",
        "tile/63/000",
        "tile/64/000",
        "tile/256/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x184/x467/x440/x737/x095/x516/16",
        "tile/entries/000",
        "tile/0/000\n",
        "tile/0/०००",
    ] {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
}

#[test]
fn tiles_of_a_tree_are_those_of_the_specification() {
    let expected = vec![(0, 273, vec![112]), (1, 1, vec![17]), (2, 0, vec![1])];
    assert_eq!(summary(70_000), expected);
    assert_eq!(summary(256), vec![(0, 1, vec![]), (1, 0, vec![1])]);
    assert_eq!(summary(255), vec![(0, 0, vec![255])]);
    assert_eq!(summary(0), vec![]);
    assert!(tiles(MAX_SIZE + 1).is_err());
}

#[test]
fn only_tiles_that_differ_are_written() {
    let paths =
        |old, new| -> Vec<_> { changed(old, new).unwrap().map(|tile| tile.to_string()).collect() };
    assert_eq!(paths(0, 0), [""; 0]);
    assert_eq!(paths(70_000, 70_000), [""; 0]);
    assert_eq!(paths(70_000, 70_001), ["tile/0/273.p/113"]);
    assert_eq!(paths(255, 256), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(256, 257), ["tile/0/001.p/1"]);
    let grown = ["tile/0/273", "tile/0/274.p/144", "tile/1/001.p/18"];
    assert_eq!(paths(70_000, 70_288), grown);
    let shorter = OutOfRange::Shorter { old: 2, new: 1 };
    assert_eq!(changed(2, 1).err(), Some(shorter));
}

#[test]
fn the_largest_tree_has_tiles() {
    let top = Tile::holding(Node { level: 63, index: 0 }, MAX_SIZE).unwrap();
    assert_eq!((top.level(), top.index(), top.width()), (7, 0, 128));
    let last = Tile::holding(Node::leaf(MAX_SIZE - 1), MAX_SIZE).unwrap();
    assert_eq!(last.to_string().parse(), Ok(last));
    assert!(last.is_full());
    assert!(Tile::try_new(0, last.index() + 1, 1).is_err());
    assert!(Tile::try_new(7, 0, 129).is_err());
    assert!(Tile::try_new(0, u64::MAX, 256).is_err());
    assert!(Tile::try_new(0, 0, 0).is_err());
    assert!(Tile::try_new(0, 0, 257).is_err());
    let all = changed(MAX_SIZE - 1, MAX_SIZE).unwrap();
    assert_eq!(all.map(Tile::level).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_full_tile_is_one_hash_of_the_level_above() {
    let hashes: Vec<_> = (0..=255_u8).map(|byte| leaf_hash(&[byte])).collect();
    let mut row = hashes.clone();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    assert_eq!(parent(&hashes), Ok(row[0]));
    assert_eq!(parent(&hashes[1..]), Err(BadTile::NotFull { found: 255 }));
    let bytes = hashes.concat();
    assert_eq!(tile(0, 5, 256).decode(&bytes), Ok(hashes.clone()));
    assert_eq!(tile(0, 5, 3).decode(&bytes[..96]), Ok(hashes[..3].to_vec()));
    for found in [0, 95, 97, 128] {
        let tile = tile(0, 5, 3);
        assert_eq!(tile.decode(&bytes[..found]), Err(BadTile::Length { tile, found }));
    }
}

#[test]
fn a_reader_says_what_it_could_not_read() {
    let node = Node { level: 1, index: 1 };
    let gone = |_: Tile| Err::<Vec<u8>, _>("gone");
    assert_eq!(reader(3, gone)(node), Err(Unread::Incomplete { node, size: 3 }));
    let expected = tile(0, 0, 4);
    let unfetched = Unread::Unfetched { tile: expected, source: "gone" };
    assert_eq!(reader(4, gone)(node), Err(unfetched));
    let short = |_: Tile| Ok::<_, &str>(EMPTY_ROOT);
    let length = BadTile::Length { tile: expected, found: 32 };
    assert_eq!(reader(4, short)(node), Err(Unread::Malformed(length)));
    assert_eq!(needed(&[node], 3), None);
    assert_eq!(needed(&[node, Node::leaf(2)], 4), Some(vec![expected]));
}
