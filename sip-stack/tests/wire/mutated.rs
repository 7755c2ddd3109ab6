//! 100,000 damaged messages, always the same ones: read or refused, never a panic; what is read is
//! written and reads the same, and framing and parser agree about where it ends.

use std::path::Path;

use super::properties::everything;

const MESSAGES: usize = 100_000;

const PIECES: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b"\0",
    b"%00",
    b"\xff",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"=",
    b":",
    b"@",
    b" ",
    b"\t",
    b"[::",
    b"-1",
    b"4294967296",
    b"99999999999999999999",
    b"\r\nContent-Length: 5\r\n",
    b"\r\nl: 0\r\n",
    b"\r\nTo: <sip:x>;tag=\r\n",
    b"\r\nVia: SIP/2.0/UDP x\r\n",
    b"SIP/2.0",
    b";tag=",
    b"--b\r\n",
];

#[test]
fn a_hundred_thousand_damaged_messages_are_read_or_refused() {
    let mut seeds = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(folder);
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        seeds.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
    }
    assert_eq!(seeds.len(), 62);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MESSAGES {
        let mut text = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(5) {
            let at = dice.below(text.len() + 1);
            let end = (at + dice.below(30)).min(text.len());
            let piece = PIECES[dice.below(PIECES.len())];
            match dice.below(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, piece.iter().copied())),
                2 => drop(text.splice(at..end, piece.iter().copied())),
                _ => {
                    let copy = text[at..end].repeat(1 + dice.below(3));
                    drop(text.splice(at..at, copy));
                }
            }
        }
        everything(&text);
    }
}

/// Reproducible numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
