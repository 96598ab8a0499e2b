//! The one way an unsigned 64-bit integer is read from text: path segments, query parameters, JSON and CSV.

/// Why a text is not an unsigned 64-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotU64 {
    #[error("is empty")]
    Empty,
    #[error("is negative")]
    Negative,
    #[error("has a fraction or an exponent")]
    NotInteger,
    #[error("is not made of decimal digits alone")]
    NotDigits,
    #[error("is above 18446744073709551615")]
    TooLarge,
}

/// Reads decimal digits, and nothing else: no sign, space, fraction, exponent or separator. Leading zeros are
/// allowed, as they change no value.
pub(crate) fn parse_u64(text: &str) -> Result<u64, NotU64> {
    if text.is_empty() {
        return Err(NotU64::Empty);
    }
    let mut number = 0_u64;
    // So many digits always fit: they are read and checked in one pass.
    let (first, rest) = text.as_bytes().split_at(text.len().min(DIGITS_THAT_FIT));
    for byte in first {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(reason(text));
        }
        number = number * 10 + u64::from(digit);
    }
    if rest.is_empty() {
        return Ok(number);
    }
    if !rest.iter().all(u8::is_ascii_digit) {
        return Err(reason(text));
    }
    text.parse().map_err(|_| NotU64::TooLarge)
}

/// Every number of so many decimal digits is below 2^64.
const DIGITS_THAT_FIT: usize = 19;

fn reason(text: &str) -> NotU64 {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let numeric = digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    match (numeric, digits.len() < text.len()) {
        (true, true) => NotU64::Negative,
        (true, false) => NotU64::NotInteger,
        (false, _) => NotU64::NotDigits,
    }
}

/// How many decimal digits a number has.
pub(crate) fn u64_len(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Writes a number as decimal digits.
pub(crate) fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = at;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 12345, u64::MAX / 10, u64::MAX] {
            let mut text = Vec::new();
            write_u64(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
            assert_eq!(u64_len(number), text.len());
        }
    }

    #[test]
    fn only_digits_in_range_are_numbers() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("007", Ok(7)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("00018446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(NotU64::TooLarge)),
            ("99999999999999999999999999", Err(NotU64::TooLarge)),
            ("", Err(NotU64::Empty)),
            ("-1", Err(NotU64::Negative)),
            ("-0", Err(NotU64::Negative)),
            ("-1.5", Err(NotU64::Negative)),
            ("1.0", Err(NotU64::NotInteger)),
            ("1e3", Err(NotU64::NotInteger)),
            ("+1", Err(NotU64::NotDigits)),
            (" 1", Err(NotU64::NotDigits)),
            ("1 ", Err(NotU64::NotDigits)),
            ("0x10", Err(NotU64::NotDigits)),
            ("1_000", Err(NotU64::NotDigits)),
            ("abc", Err(NotU64::NotDigits)),
            ("-", Err(NotU64::NotDigits)),
            ("١", Err(NotU64::NotDigits)),
        ] {
            assert_eq!(parse_u64(text), expected, "{text:?}");
        }
    }
}
