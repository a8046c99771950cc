//! The Huffman code of field names and values (RFC 7541, appendix B, by way of RFC 9204, section 4.1.2).
//!
//! It is canonical: codes of one length follow one another in the order of their symbols, so the lengths alone say it all.

/// Bits of the code of each byte. The end of string, with 30 bits, must never be sent and is left out.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Shortest and longest code.
const BITS_MIN: usize = 5;
const BITS_MAX: usize = 30;

/// A string that is not in the code, or not padded as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Codes of one length.
#[derive(Clone, Copy, Debug)]
struct Rank {
    /// The first of them.
    first: u32,
    /// How many there are.
    count: u32,
    /// Where their symbols begin in [`Code::symbols`].
    offset: usize,
}

/// The code, ready to be read.
#[derive(Debug)]
struct Code {
    ranks: [Rank; BITS_MAX + 1],
    symbols: [u8; 256],
}

const CODE: Code = code();

#[expect(
    clippy::cast_possible_truncation,
    reason = "bytes are counted by usize in constant code"
)]
const fn code() -> Code {
    let none = Rank {
        first: 0,
        count: 0,
        offset: 0,
    };
    let mut code = Code {
        ranks: [none; BITS_MAX + 1],
        symbols: [0; 256],
    };
    let (mut next, mut filled, mut bits) = (0, 0, 1);
    while bits <= BITS_MAX {
        next <<= 1;
        let offset = filled;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == bits {
                code.symbols[filled] = symbol as u8;
                filled += 1;
            }
            symbol += 1;
        }
        let count = (filled - offset) as u32;
        code.ranks[bits] = Rank {
            first: next,
            count,
            offset,
        };
        next += count;
        bits += 1;
    }
    code
}

/// Reads a whole string. It grows by 8/5 at the most.
pub(super) fn decode(coded: &[u8]) -> Result<Vec<u8>, Invalid> {
    static READY: Code = CODE;

    let mut text = Vec::with_capacity(coded.len() * 8 / BITS_MIN);
    let (mut window, mut bits) = (0_u64, 0_usize);
    for byte in coded {
        window = window << 8 | u64::from(*byte);
        bits += 8;
        while let Some((symbol, taken)) = symbol(&READY, window, bits) {
            text.push(symbol);
            bits -= taken;
            window &= (1 << bits) - 1;
        }
        if bits >= BITS_MAX {
            return Err(Invalid);
        }
    }
    // Less than a byte of ones is left: the beginning of the end of string (RFC 7541, section 5.2).
    if bits < 8 && window == (1 << bits) - 1 {
        Ok(text)
    } else {
        Err(Invalid)
    }
}

/// The symbol at the front of the lowest `bits` bits of `window`, with the bits that it took; none if more are needed.
fn symbol(code: &Code, window: u64, bits: usize) -> Option<(u8, usize)> {
    for taken in BITS_MIN..=bits.min(BITS_MAX) {
        let front = u32::try_from(window >> (bits - taken)).ok()?;
        let rank = code.ranks[taken];
        if let Some(index) = front.checked_sub(rank.first)
            && index < rank.count
        {
            return Some((code.symbols[rank.offset + index as usize], taken));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn samples_of_the_rfc_decode() {
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ] {
            assert_eq!(decode(&hex(coded)).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn rare_bytes_have_long_codes() {
        // 0 has 13 bits, 255 has 26, 10 has 30; ones fill the last byte.
        assert_eq!(decode(&hex("ffc7")).unwrap(), [0]);
        assert_eq!(decode(&hex("fffffbbf")).unwrap(), hex("ff"));
        assert_eq!(decode(&hex("fffffff3")).unwrap(), b"\n");
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_are_refused() {
        // A whole byte of padding; zeros for padding; the end of string.
        for coded in [
            "f1e3c2e5f23a6ba0ab90f4ffff",
            "a8eb10649cb8",
            "fffffffc",
            "ffffffff",
            "00",
        ] {
            assert_eq!(decode(&hex(coded)), Err(Invalid), "{coded}");
        }
    }
}
