//! The values of options: sizes, times, shares, names.

/// Bytes.
const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Milliseconds. A bare number would leave the unit to luck.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Thousandths of a core.
const SHARES: &[(&str, u64)] = &[("", 1_000)];

/// A number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    amount(text, SIZES, "a size such as 4096, 512KiB, 1.5GiB or 20MB")
}

/// A time in milliseconds.
pub(crate) fn millis(text: &str) -> Result<u64, String> {
    amount(text, TIMES, "a time such as 500ms, 30s, 1.5m or 2h")
}

/// A share of the CPU in thousandths of a core.
pub(crate) fn cpu_milli(text: &str) -> Result<u64, String> {
    amount(text, SHARES, "a number of cores such as 0.5 or 2")
}

/// A number of things.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    amount(text, &[("", 1)], "a number such as 64")
}

/// Why something is done that should not be needed.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 1_024 || text.chars().any(char::is_control) {
        return Err("expected a reason of 1 to 1024 bytes, on one line".into());
    }
    Ok(text.to_owned())
}

/// The name of an agent: it names directories.
pub(crate) fn agent(text: &str) -> Result<String, String> {
    let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    if text.len() <= 63
        && bytes.next().is_some_and(small)
        && bytes.all(|byte| small(byte) || matches!(byte, b'-' | b'_'))
    {
        return Ok(text.to_owned());
    }
    Err(
        "expected 1 to 63 lower-case letters, digits, `-` and `_`, the first a letter or digit"
            .into(),
    )
}

/// A number of bytes, for people.
pub(crate) fn show_bytes(bytes: u64) -> String {
    show(
        bytes,
        &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
        "bytes",
    )
}

/// A time in milliseconds, for people.
pub(crate) fn show_millis(millis: u64) -> String {
    show(millis, &[("s", 1_000)], "ms")
}

/// In the largest unit that leaves no fraction.
fn show(amount: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let whole = units
        .iter()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{} {unit}", amount / factor),
        None => format!("{amount} {smallest}"),
    }
}

/// A positive amount: a decimal number and a unit.
fn amount(text: &str, units: &[(&str, u64)], expected: &str) -> Result<u64, String> {
    let wrong = || format!("expected {expected}");
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(wrong)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, part(fraction, *factor)),
        None => (number, Some(0)),
    };
    let whole = whole.parse::<u64>().ok();
    let amount = whole
        .and_then(|whole| whole.checked_mul(*factor))
        .and_then(|whole| whole.checked_add(fraction?));
    match amount {
        Some(0) => Err("it must be more than zero".into()),
        Some(amount) => Ok(amount),
        None => Err(wrong()),
    }
}

/// The decimal fraction of `factor`, rounded down; nothing when there is no half of the unit.
fn part(fraction: &str, factor: u64) -> Option<u64> {
    /// More could not change a result of any use.
    const MAX_DIGITS: usize = 9;
    let digits = fraction.len();
    if digits == 0 || digits > MAX_DIGITS || factor == 1 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(digits).ok()?);
    let product = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    u64::try_from(product / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        for (text, expected) in [
            ("1", 1),
            ("4096B", 4096),
            ("512KiB", 512 << 10),
            ("512kib", 512 << 10),
            ("1.5GiB", 3 << 29),
            ("20MB", 20_000_000),
            ("0.000001MB", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(millis("1.5m"), Ok(90_000));
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(cpu_milli("1.5"), Ok(1_500));
        assert_eq!(cpu_milli("0.25"), Ok(250));
    }

    #[test]
    fn everything_else_says_what_is_accepted() {
        for text in [
            "",
            "x",
            "MiB",
            "1TiB",
            "-1",
            "+1",
            "1 MiB",
            "1e3",
            "0x10",
            ".",
            "1.",
            ".5",
            "1..5",
            "1.5.5",
            "18446744073709551616",
            "18446744073709551615KiB",
            "1.0000000001GiB",
            "1.5",
            "1.5B",
            "1ö",
            "0.5GiBx",
            "１",
        ] {
            let error = bytes(text).unwrap_err();
            assert!(error.contains("512KiB"), "{text}: {error}");
        }
        for text in ["0", "0KiB", "0.0001KiB", "0.0KB"] {
            assert!(bytes(text).unwrap_err().contains("zero"), "{text}");
        }
        for text in ["30", "30S ", "1d", "s"] {
            assert!(millis(text).is_err(), "{text}");
        }
        for text in ["1.5", "1.0", "1k"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_without_loss() {
        assert_eq!(show_bytes(512 << 20), "512 MiB");
        assert_eq!(show_bytes(1 << 30), "1 GiB");
        assert_eq!(show_bytes(1_000_000), "1000000 bytes");
        assert_eq!(show_bytes(0), "0 bytes");
        assert_eq!(show_millis(60_000), "60 s");
        assert_eq!(show_millis(1_500), "1500 ms");
    }

    #[test]
    fn agent_names_name_directories_and_nothing_outside() {
        let root = tempfile::tempdir().unwrap();
        let state = casemate_store::StateDir::open(root.path()).unwrap();
        for good in ["a", "local", "a-b_c9", "9", &"x".repeat(63)] {
            assert_eq!(agent(good).as_deref(), Ok(good));
            assert!(state.agent(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "A",
            "-a",
            "_a",
            "a.b",
            "ä",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(agent(bad).is_err(), "{bad:?}");
            assert!(state.agent(bad).is_err(), "{bad:?}");
        }
    }
}
