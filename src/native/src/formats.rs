//! The text formats of `tidegate.contracts.formats`, as far as they are surely what Python reads: the test
//! `tests/properties/test_native_formats.py` holds the two together.
#![forbid(unsafe_code)]

use crate::number;
use crate::scan::at;

/// The moments that a time may have, µs since 1970.
#[derive(Clone, Copy)]
pub struct Moments {
    pub first: i64,
    pub last: i64,
}

const fn nibbles() -> [u8; 256] {
    let mut table = [16; 256];
    let mut i = 0;
    while i < 10 {
        table[b'0' as usize + i] = i as u8;
        i += 1;
    }
    let mut i = 0;
    while i < 6 {
        table[b'a' as usize + i] = 10 + i as u8;
        table[b'A' as usize + i] = 10 + i as u8;
        i += 1;
    }
    table
}
const NIBBLE: [u8; 256] = nibbles();
pub const MAC_LENGTH: usize = 17;

/// A MAC in a usual spelling as 00:1a:2b:3c:4d:5e.
#[inline]
pub fn mac(s: &[u8]) -> Option<[u8; MAC_LENGTH]> {
    let every = match s.len() {
        17 if matches!(s[2], b':' | b'-') => 2,
        14 if s[4] == b'.' => 4,
        12 => 12,
        _ => return None,
    };
    let mut out = [b':'; MAC_LENGTH];
    let mut digits = 0;
    let separator = at(s, every);
    for (i, &c) in s.iter().enumerate() {
        if i % (every + 1) == every && every < 12 {
            if c != separator {
                return None;
            }
            continue;
        }
        let v = NIBBLE[usize::from(c)];
        if v > 15 {
            return None;
        }
        out[digits + digits / 2] = b"0123456789abcdef"[usize::from(v)];
        digits += 1;
    }
    (digits == 12).then_some(out)
}

#[inline]
fn two(s: &[u8], p: usize) -> Option<i64> {
    let (a, b) = (at(s, p).wrapping_sub(b'0'), at(s, p + 1).wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
}

/// Microseconds since 1970 of an ISO 8601 date and time to the second or up to six digits more, in UTC or
/// with an offset of hours and minutes.
pub fn time(s: &[u8], moments: Moments) -> Option<i64> {
    if s.len() < 19 || s[4] != b'-' || s[7] != b'-' || !matches!(s[10], b'T' | b' ') || s[13] != b':' || s[16] != b':' {
        return None;
    }
    let year = two(s, 0)? * 100 + two(s, 2)?;
    let (month, day) = (two(s, 5)?, two(s, 8)?);
    let (hour, minute, second) = (two(s, 11)?, two(s, 14)?, two(s, 17)?);
    if year < 1900 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day < 1 || day > length {
        return None;
    }
    let mut p = 19;
    let mut micros = 0;
    if at(s, p) == b'.' {
        let mut scale = 100_000;
        p += 1;
        while at(s, p).is_ascii_digit() {
            if scale == 0 {
                return None;
            }
            micros += i64::from(at(s, p) - b'0') * scale;
            scale /= 10;
            p += 1;
        }
        if scale == 100_000 {
            return None;
        }
    }
    let offset = match (at(s, p), s.len() - p) {
        (_, 0) => 0,
        (b'Z', 1) => 0,
        (sign @ (b'+' | b'-'), 6) if s[p + 3] == b':' => {
            let (hours, minutes) = (two(s, p + 1)?, two(s, p + 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    // days from civil (Howard Hinnant)
    let y = year - i64::from(month <= 2);
    let (era, of_era) = (y / 400, y % 400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let v = (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1_000_000 + micros;
    (moments.first..=moments.last).contains(&v).then_some(v)
}

/// MCC and MNC: five or six digits, the first three from 200 to 999 or 001.
pub fn mccmnc(s: &[u8]) -> bool {
    matches!(s.len(), 5 | 6) && s.iter().all(u8::is_ascii_digit) && (s[0] >= b'2' || s.starts_with(b"001"))
}

/// Decimal degrees in a text.
pub fn degrees(s: &[u8]) -> Option<f64> {
    number::real(s, 0, true).and_then(|(v, end)| (end == s.len()).then_some(v))
}
