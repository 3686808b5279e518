use crate::proof::bundle::*;

fn bundle(index: u64, width: u16) -> Bundle {
    Bundle::try_new(index, width).unwrap()
}

#[test]
fn paths_stand_beside_those_of_tiles() {
    assert_eq!(bundle(0, 256).path(Format::Entries), "tile/entries/000");
    assert_eq!(bundle(1_234_067, 3).path(Format::Records), "tile/records/x001/x234/067.p/3");
    for format in [Format::Entries, Format::Records] {
        for bundle in [bundle(0, 1), bundle(999, 256), bundle(1000, 255)] {
            assert_eq!(Bundle::parse(&bundle.path(format), format), Ok(bundle));
        }
    }
    for path in [
        "tile/entries/0",
        "tile/entries/x000/000",
        "tile/entries/000.p/256",
        "tile/entries/000.p/0",
        "tile/records/000",
        "tile/0/000",
    ] {
        assert!(Bundle::parse(path, Format::Entries).is_err(), "{path}");
    }
    assert_eq!(bundle(2, 3).positions(), 512..515);
    let grown: Vec<_> = changed(257, 513).unwrap().collect();
    assert_eq!(grown, [bundle(1, 256), bundle(2, 1)]);
}

#[test]
fn entry_bundles_are_those_of_the_specification() {
    let long = vec![b'x'; 65_535];
    let records: [&[u8]; 4] = [b"ab", b"", b"c\nd", &long];
    let file = bundle(0, 4).encode(Format::Entries, &records).unwrap();
    assert_eq!(&file[..13], b"\0\x02ab\0\0\0\x03c\nd\xff\xff");
    assert_eq!(bundle(0, 4).decode(Format::Entries, &file), Ok(records.to_vec()));
    let too_long = Err(BadBundle::TooLong { place: 0, length: 65_536 });
    assert_eq!(bundle(0, 1).encode(Format::Entries, &[vec![0; 65_536]]), too_long);
}

#[test]
fn records_are_lines_of_any_length() {
    let long = vec![b'x'; 256 * 1024];
    let records: [&[u8]; 2] = [b"{}", &long];
    let file = bundle(7, 2).encode(Format::Records, &records).unwrap();
    assert_eq!(&file[..4], b"{}\nx");
    assert_eq!(bundle(7, 2).decode(Format::Records, &file), Ok(records.to_vec()));
    for record in ["", "a\nb", "a\n"] {
        let answer = bundle(7, 2).encode(Format::Records, &["a", record]);
        assert_eq!(answer, Err(BadBundle::NotALine { place: 1 }));
    }
}

#[test]
fn malformed_bundles_are_refused() {
    let of_two = bundle(0, 2);
    let lines = |file: &str| of_two.decode(Format::Records, file.as_bytes()).map(|_| ());
    assert_eq!(lines("a\nb\n"), Ok(()));
    assert_eq!(lines(""), Err(BadBundle::Count { width: 2, found: 0 }));
    assert_eq!(lines("a\n"), Err(BadBundle::Count { width: 2, found: 1 }));
    assert_eq!(lines("a\nb\nc\nd\n"), Err(BadBundle::Count { width: 2, found: 3 }));
    assert_eq!(lines("a\nb"), Err(BadBundle::Truncated));
    assert_eq!(lines("a\n\n"), Err(BadBundle::NotALine { place: 1 }));
    let entries = |file: &[u8]| of_two.decode(Format::Entries, file).map(|_| ());
    assert_eq!(entries(b"\0\x01a\0\0"), Ok(()));
    assert_eq!(entries(b"\0\x01a\0"), Err(BadBundle::Truncated));
    assert_eq!(entries(b"\0\x01a\0\x02b"), Err(BadBundle::Truncated));
    assert_eq!(entries(b"\0\x01a"), Err(BadBundle::Count { width: 2, found: 1 }));
    assert_eq!(entries(b"\0\0\0\0\0\0\0\0"), Err(BadBundle::Count { width: 2, found: 3 }));
}
