//! Huffman tables (T.81 Annex C, F): tables of a file for reading, and a fixed one for writing, with a code for every
//! symbol.

use std::sync::Arc;

/// Bits per lookup.
const LOOK: u32 = 10;

/// The tables of T.81 Annex K.3 as a DHT segment, for streams without tables, such as frames of Motion JPEG.
#[rustfmt::skip]
pub const STANDARD: [u8; 420] = [
    0xff, 0xc4, 0x01, 0xa2,
    0x00,
    0x00, 0x01, 0x05, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
    0x10,
    0x00, 0x02, 0x01, 0x03, 0x03, 0x02, 0x04, 0x03, 0x05, 0x05, 0x04, 0x04, 0x00, 0x00, 0x01, 0x7d,
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08,
    0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6,
    0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    0x01,
    0x00, 0x03, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
    0x11,
    0x00, 0x02, 0x01, 0x02, 0x04, 0x04, 0x03, 0x04, 0x07, 0x05, 0x04, 0x04, 0x00, 0x01, 0x02, 0x77,
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91,
    0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4,
    0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

/// A code and its length in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// The code, right-aligned.
    pub bits: u16,
    /// 1–16; 0 for no code.
    pub len: u8,
}

/// Codes in the order of their symbols, from the number of codes of each length (T.81 Annex C). `None` if there are
/// more than their lengths allow.
fn codes(counts: &[u8; 16]) -> Option<Vec<Code>> {
    let mut codes = Vec::new();
    let mut next = 0u32;
    for (len, count) in (1u8..).zip(counts) {
        for _ in 0..*count {
            codes.push(Code {
                bits: u16::try_from(next).ok()?,
                len,
            });
            next += 1;
        }
        if next > 1 << len {
            return None;
        }
        next <<= 1;
    }
    Some(codes)
}

/// A table for decoding.
#[derive(Clone, Debug)]
pub struct HuffmanTable {
    /// By the next [`LOOK`] bits: length and symbol, or 0 if the code is longer.
    quick: Box<[u16; 1 << LOOK]>,
    /// For each length, the end of its codes, left-aligned in 17 bits, and the offset from a code to the index of its
    /// symbol.
    long: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Reads one table: its class and number (0–3), and the rest of the segment. `None` if it is invalid or has a
    /// difference category above `most`.
    pub fn parse(segment: &[u8], most: u8) -> Option<(bool, u8, HuffmanTable, &[u8])> {
        let (name, rest) = segment.split_first()?;
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let (class, number) = (name >> 4, name & 15);
        let direct = class == 0;
        let valid = class < 2 && number < 4 && total <= 256 && !(direct && symbols.iter().any(|s| *s > most));
        valid.then_some(())?;
        Some((direct, number, HuffmanTable::new(counts, symbols)?, rest))
    }

    /// Builds a table from the number of codes of each length and the symbols in the order of their codes.
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<HuffmanTable> {
        let codes = codes(counts)?;
        let mut quick = Box::new([0u16; 1 << LOOK]);
        for (code, symbol) in codes.iter().zip(symbols) {
            let Some(spare) = LOOK.checked_sub(code.len.into()) else {
                continue;
            };
            let first = usize::from(code.bits) << spare;
            let fill = quick.get_mut(first..first + (1 << spare))?;
            fill.fill(u16::from(code.len) << 8 | u16::from(*symbol));
        }
        let mut long = [(0, 0); 17];
        let (mut next, mut place) = (0u32, 0i32);
        for ((len, count), long) in (1u32..).zip(counts).zip(long.iter_mut().skip(1)) {
            let first = next;
            next += u32::from(*count);
            *long = (next << (17 - len), place - i32::try_from(first).ok()?);
            place += i32::from(*count);
            next <<= 1;
        }
        Some(HuffmanTable {
            quick,
            long,
            symbols: symbols.into(),
        })
    }

    /// The length of the code at the start of `bits` (left-aligned), and its symbol. An invalid code counts as 17
    /// bits with symbol 0, as in other decoders.
    #[inline]
    pub fn look(&self, bits: u64) -> (u32, u8) {
        let index = usize::try_from(bits >> (64 - LOOK)).unwrap_or(0);
        let found = self.quick.get(index).copied().unwrap_or(0);
        if found != 0 {
            let [len, symbol] = found.to_be_bytes();
            return (len.into(), symbol);
        }
        self.search(bits)
    }

    #[cold]
    fn search(&self, bits: u64) -> (u32, u8) {
        let code = u32::try_from(bits >> 47).unwrap_or(0);
        for (len, (end, add)) in (0u32..).zip(&self.long).skip(1) {
            if code < *end {
                let place = i32::try_from(code >> (17 - len)).unwrap_or(-1) + add;
                let symbol = usize::try_from(place)
                    .ok()
                    .and_then(|place| self.symbols.get(place));
                return (len, symbol.copied().unwrap_or(0));
            }
        }
        (17, 0)
    }
}

/// The tables of a file by class, DC and AC, and number.
pub type HuffmanTables = [[Option<Arc<HuffmanTable>>; 4]; 2];

/// Reads the tables of a DHT segment, whose difference categories are at most `most`; `None` if they are invalid.
pub fn define(mut segment: &[u8], tables: &mut HuffmanTables, most: u8) -> Option<()> {
    while !segment.is_empty() {
        let (direct, number, table, more) = HuffmanTable::parse(segment, most)?;
        let class = tables.get_mut(usize::from(!direct))?;
        *class.get_mut(usize::from(number))? = Some(Arc::new(table));
        segment = more;
    }
    Some(())
}

/// The table for writing small streams: 16 sizes of DC differences, all with 4 or 5 bits.
pub const DC_COUNTS: [u8; 16] = [0, 0, 0, 15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Code lengths for AC: frequent symbols as short as in T.81 Table K.5, all others with 14 bits.
pub const AC_COUNTS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 0, 0, 0, 0, 0, 238, 0, 0];

/// The frequent symbols: EOB, and runs and sizes in the order of Table K.5.
const FREQUENT: [u8; 18] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22,
    0x71,
];

/// Tables for encoding.
#[derive(Clone, Debug)]
pub struct WriteTables {
    /// Codes of sizes 0–15.
    pub dc: [Code; 16],
    /// Codes of all 256 pairs of run and size.
    pub ac: Box<[Code; 256]>,
    /// The DHT segment.
    pub segment: Vec<u8>,
}

impl WriteTables {
    /// Builds the tables.
    pub fn new() -> WriteTables {
        let sizes: Vec<u8> = (0..16).collect();
        let others = (0..=u8::MAX).filter(|symbol| !FREQUENT.contains(symbol));
        let pairs: Vec<u8> = FREQUENT.into_iter().chain(others).collect();
        let mut own = WriteTables {
            dc: [Code::default(); 16],
            ac: Box::new([Code::default(); 256]),
            segment: Vec::new(),
        };
        fill(&DC_COUNTS, &sizes, &mut own.dc);
        fill(&AC_COUNTS, &pairs, &mut *own.ac);
        let mut tables = Vec::new();
        for (name, counts, symbols) in [(0x00, &DC_COUNTS, &sizes), (0x10, &AC_COUNTS, &pairs)] {
            tables.push(name);
            tables.extend_from_slice(counts);
            tables.extend_from_slice(symbols);
        }
        let len = u16::try_from(tables.len() + 2).unwrap_or(u16::MAX);
        own.segment = [&[0xff, 0xc4][..], &len.to_be_bytes(), &tables].concat();
        own
    }
}

fn fill(counts: &[u8; 16], symbols: &[u8], to: &mut [Code]) {
    for (code, symbol) in codes(counts).unwrap_or_default().into_iter().zip(symbols) {
        if let Some(to) = to.get_mut(usize::from(*symbol)) {
            *to = code;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tables_have_a_code_for_everything_and_are_read_back() {
        let own = WriteTables::new();
        let segment = own.segment.get(4..).unwrap();
        let (direct, _, dc, rest) = HuffmanTable::parse(segment, 15).unwrap();
        assert!(direct);
        let (direct, _, ac, rest) = HuffmanTable::parse(rest, 15).unwrap();
        assert!(!direct && rest.is_empty());
        for (table, codes) in [(dc, &own.dc[..]), (ac, &own.ac[..])] {
            for (symbol, code) in (0..=255u8).zip(codes) {
                assert!(code.len > 0);
                let bits = u64::from(code.bits) << (64 - u32::from(code.len));
                let ones = u64::MAX >> code.len;
                for bits in [bits, bits | ones] {
                    assert_eq!(table.look(bits), (code.len.into(), symbol));
                }
            }
            // the code of all ones is reserved (T.81 Annex C)
            assert_eq!(table.look(u64::MAX), (17, 0));
        }
    }

    #[test]
    fn the_standard_tables_are_four() {
        let mut rest = STANDARD.get(4..).unwrap();
        let mut names = Vec::new();
        while !rest.is_empty() {
            let (direct, number, table, more) = HuffmanTable::parse(rest, 15).unwrap();
            names.push((direct, number, table.symbols.len()));
            rest = more;
        }
        names.sort_unstable();
        assert_eq!(
            names,
            [(false, 0, 162), (false, 1, 162), (true, 0, 12), (true, 1, 12)]
        );
    }

    #[test]
    fn tables_that_contradict_themselves_are_refused() {
        let table = |name: u8, counts: [u8; 16], symbols: &[u8]| {
            let segment = [&[name][..], &counts, symbols].concat();
            HuffmanTable::parse(&segment, 15).is_some()
        };
        let mut counts = [0; 16];
        counts[1] = 2;
        assert!(table(0x01, counts, &[3, 15]));
        assert!(!table(0x01, counts, &[3, 16]));
        assert!(table(0x11, counts, &[3, 16]));
        assert!(!table(0x11, counts, &[3]));
        assert!(!table(0x14, counts, &[3, 4]) && !table(0x21, counts, &[3, 4]));
        counts[0] = 3;
        assert!(!table(0x11, counts, &[1, 2, 3, 4, 5]));
        assert!(HuffmanTable::parse(&[0, 1], 15).is_none());
    }
}
