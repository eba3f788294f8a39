//! Numbers, as far as they are surely what Python reads.
#![forbid(unsafe_code)]

use crate::scan::at;

const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
const EXACT: u64 = 1 << 53; // whole numbers up to this are doubles

#[inline(always)]
fn digit(b: &[u8], p: usize) -> Option<u64> {
    let d = at(b, p).wrapping_sub(b'0');
    (d < 10).then_some(u64::from(d))
}

/// A JSON whole number of at most 18 digits: its value and where it ends. Not -0, no fraction, no exponent.
#[inline(always)]
pub fn whole(b: &[u8], mut p: usize) -> Option<(i64, usize)> {
    let minus = at(b, p) == b'-';
    p += usize::from(minus);
    let begin = p;
    let mut v = 0u64;
    while let Some(d) = digit(b, p) {
        v = v * 10 + d;
        p += 1;
        if p - begin > 18 {
            return None;
        }
    }
    let leading_zero = at(b, begin) == b'0' && (p - begin > 1 || minus);
    if p == begin || leading_zero || matches!(at(b, p), b'.' | b'e' | b'E') {
        return None;
    }
    let v = i64::try_from(v).ok()?;
    Some((if minus { -v } else { v }, p))
}

/// A number with or without a fraction, none with an exponent: its nearest double and where it ends.
///
/// As JSON has it: no leading zero, and -0 with a fraction only. `degrees`: a text, which may have a plus, leading zeros,
/// one to three digits before the point and 20 behind it.
#[inline(always)]
pub fn real(b: &[u8], mut p: usize, degrees: bool) -> Option<(f64, usize)> {
    let minus = at(b, p) == b'-';
    if minus || (degrees && at(b, p) == b'+') {
        p += 1;
    }
    let begin = p;
    let mut v = 0u64;
    while let Some(d) = digit(b, p) {
        v = v * 10 + d;
        p += 1;
        if p - begin > 18 {
            return None;
        }
    }
    let before = p - begin;
    if before == 0 || (degrees && before > 3) || (!degrees && before > 1 && at(b, begin) == b'0') {
        return None;
    }
    let mut fraction = 0;
    if at(b, p) == b'.' {
        p += 1;
        while let Some(d) = digit(b, p) {
            p += 1;
            fraction += 1;
            if before + fraction > 18 {
                return None;
            }
            v = v * 10 + d;
        }
        if fraction == 0 {
            return None;
        }
    }
    if matches!(at(b, p), b'e' | b'E') || (!degrees && minus && v == 0 && fraction == 0) {
        return None;
    }
    if v > EXACT {
        if fraction == 0 {
            return None;
        }
        let text = std::str::from_utf8(b.get(begin..p)?).ok()?;
        let d: f64 = text.parse().ok()?;
        return Some((if minus { -d } else { d }, p));
    }
    let d = v as f64 / TENS.get(fraction)?;
    Some((if minus { -d } else { d }, p))
}
