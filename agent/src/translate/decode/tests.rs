use super::*;

const PAGE: &[u8] = include_bytes!("../fixtures/page.html");

const ENCODED: [(Coding, &[u8]); 6] = [
    (Coding::Identity, PAGE),
    (Coding::Gzip, include_bytes!("../fixtures/page.html.gz")),
    (
        Coding::Deflate,
        include_bytes!("../fixtures/page.html.zlib"),
    ),
    (
        Coding::Deflate,
        include_bytes!("../fixtures/page.html.deflate"),
    ),
    (Coding::Brotli, include_bytes!("../fixtures/page.html.br")),
    (
        Coding::Zstandard,
        include_bytes!("../fixtures/page.html.zst"),
    ),
];

fn decoded(coding: Coding, encoded: &[u8], piece_bytes: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding);
    let (mut out, mut buffer) = (Vec::new(), [0; 1000]);
    for piece in encoded.chunks(piece_bytes) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            let read = decoder.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            out.extend_from_slice(&buffer[..read]);
        }
    }
    decoder.end()?;
    Ok(out)
}

#[test]
fn bodies_are_read_however_they_are_cut() {
    for (coding, encoded) in ENCODED {
        for piece_bytes in [1, 2, 3, 7, 100, encoded.len()] {
            let got = decoded(coding, encoded, piece_bytes);
            assert!(got.as_deref() == Ok(PAGE), "{coding:?} by {piece_bytes}");
        }
    }
}

#[test]
fn a_body_of_several_parts_is_one() {
    for (coding, encoded) in ENCODED {
        if matches!(coding, Coding::Gzip | Coding::Zstandard) {
            let twice = encoded.repeat(2);
            let got = decoded(coding, &twice, 100).unwrap();
            assert!(got == PAGE.repeat(2), "{coding:?}");
        }
    }
    let with_padding = [ENCODED[1].1, &[0; 20]].concat();
    assert!(decoded(Coding::Gzip, &with_padding, 9).as_deref() == Ok(PAGE));
}

#[test]
fn a_body_that_ends_early_is_never_taken_for_a_whole_one() {
    for (coding, encoded) in ENCODED {
        if coding == Coding::Identity {
            continue;
        }
        for length in 0..encoded.len() {
            let got = decoded(coding, &encoded[..length], 64);
            assert!(got.is_err(), "{coding:?} cut at {length}");
        }
    }
}

#[test]
fn what_is_something_else_is_found_out() {
    for coding in [
        Coding::Gzip,
        Coding::Deflate,
        Coding::Brotli,
        Coding::Zstandard,
    ] {
        assert!(
            decoded(coding, b"<!DOCTYPE html><html>", 5).is_err(),
            "{coding:?}"
        );
    }
    let mut changed = ENCODED[1].1.to_vec();
    let checksum = changed.len() - 5;
    changed[checksum] ^= 1;
    assert_eq!(
        decoded(Coding::Gzip, &changed, 100),
        Err(DecodeError::Corrupt("gzip"))
    );
    // A window of 2 GiB.
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0];
    assert_eq!(
        decoded(Coding::Zstandard, &wide, 100),
        Err(DecodeError::Corrupt("zstandard"))
    );
}

#[test]
fn no_more_is_unfolded_than_was_asked_for() {
    // Each block of four bytes says 128 KiB of the same byte: 4 GiB in all.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    for _ in 0..32 * 1024 {
        bomb.extend_from_slice(&[0x02, 0x00, 0x10, b'A']);
    }
    let mut decoder = Decoder::new(Coding::Zstandard);
    decoder.push(bomb.into());
    let mut buffer = [0; 32 * 1024];
    for _ in 0..64 {
        assert!(decoder.read(&mut buffer).unwrap() > 0);
        assert!(buffer.iter().all(|byte| *byte == b'A' || *byte == 0));
    }
    let Decoder::Zstandard(zstandard) = decoder else {
        panic!("another decoder");
    };
    assert!(zstandard.waiting_bytes() > 120 * 1024);
}

#[test]
fn codings_are_known_by_name() {
    for (value, want) in [
        ("gzip", Some(Coding::Gzip)),
        (" X-GZIP ", Some(Coding::Gzip)),
        ("br", Some(Coding::Brotli)),
        ("zstd", Some(Coding::Zstandard)),
        ("deflate", Some(Coding::Deflate)),
        ("identity", Some(Coding::Identity)),
        ("gzip, br", None),
        ("compress", None),
        ("dcb", None),
    ] {
        assert_eq!(Coding::parse(value), want, "{value}");
    }
}

#[test]
fn members_with_nothing_in_them_are_passed_over() {
    const EMPTY: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let encoded = [&EMPTY.repeat(20), ENCODED[1].1, EMPTY].concat();
    for piece_bytes in [1, 7, 100, encoded.len()] {
        let got = decoded(Coding::Gzip, &encoded, piece_bytes);
        assert!(got.as_deref() == Ok(PAGE), "by {piece_bytes}");
    }
}
