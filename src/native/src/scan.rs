//! JSON strings and blanks.
#![forbid(unsafe_code)]

/// The byte at `p`, NUL behind the end: no rule of JSON allows a raw NUL.
#[inline(always)]
pub fn at(b: &[u8], p: usize) -> u8 {
    b.get(p).copied().unwrap_or(0)
}

/// Skips what may stand between tokens of one line.
#[inline(always)]
pub fn blank(b: &[u8], mut p: usize) -> usize {
    while matches!(at(b, p), b' ' | b'\t' | b'\r') {
        p += 1;
    }
    p
}

#[inline(always)]
fn each(byte: u8) -> u64 {
    u64::from(byte) * 0x0101_0101_0101_0101
}

const HIGH: u64 = 0x8080_8080_8080_8080;

/// The bit 7 of each zero byte of `v`; above the lowest zero byte others may be marked too.
#[inline(always)]
fn zeros(v: u64) -> u64 {
    v.wrapping_sub(each(1)) & !v & HIGH
}

/// From behind an opening quote to the first quote or backslash, and whether what lies between is not all
/// ASCII. None at a control character and where the string does not end.
#[inline(always)]
pub fn plain_end(b: &[u8], mut p: usize) -> Option<(usize, bool)> {
    let mut high = 0;
    while let Some(chunk) = b.get(p..).and_then(|rest| rest.first_chunk::<8>()) {
        let v = u64::from_le_bytes(*chunk);
        let low = v.wrapping_sub(each(0x20)) & !v & HIGH;
        let stop = zeros(v ^ each(b'"')) | zeros(v ^ each(b'\\')) | low;
        if stop != 0 {
            let i = (stop.trailing_zeros() / 8) as usize;
            let before = (1u64 << (8 * i)) - 1;
            high |= v & before & HIGH;
            return (chunk[i] >= 0x20).then_some((p + i, high != 0));
        }
        high |= v & HIGH;
        p += 8;
    }
    loop {
        let c = at(b, p);
        if c < 0x20 {
            return None;
        }
        if c == b'"' || c == b'\\' {
            return Some((p, high != 0));
        }
        high |= u64::from(c & 0x80);
        p += 1;
    }
}

fn hex4(b: &[u8], p: usize) -> Option<u32> {
    let mut v = 0;
    for &c in b.get(p..p.checked_add(4)?)? {
        v = v << 4 | char::from(c).to_digit(16)?;
    }
    Some(v)
}

/// Unescapes a string from behind its opening quote onto the end of `out`; where it ends, behind its closing
/// quote. None where it is not JSON, not UTF-8, or holds half of a surrogate pair.
pub fn unescape(b: &[u8], mut p: usize, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        let (stop, wide) = plain_end(b, p)?;
        let piece = b.get(p..stop)?;
        if wide {
            std::str::from_utf8(piece).ok()?; // an escape cannot stand within a character
        }
        out.extend_from_slice(piece);
        p = stop;
        if at(b, p) == b'"' {
            return Some(p + 1);
        }
        let plain = match at(b, p + 1) {
            c @ (b'"' | b'\\' | b'/') => c,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = hex4(b, p + 2)?;
                p += 6;
                if (0xD800..0xDC00).contains(&code) && at(b, p) == b'\\' && at(b, p + 1) == b'u' {
                    let second = hex4(b, p + 2)?;
                    if !(0xDC00..0xE000).contains(&second) {
                        return None;
                    }
                    code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
                    p += 6;
                }
                let mut room = [0; 4];
                let c = char::from_u32(code)?; // None for what is left of a surrogate pair
                out.extend_from_slice(c.encode_utf8(&mut room).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(plain);
        p += 2;
    }
}
